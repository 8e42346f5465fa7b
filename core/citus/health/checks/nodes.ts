/** Nodes as the cluster knows them: whether they answer, their certificates, their Citus. */
import { X509Certificate } from "node:crypto";
import { explainFailedJob } from "../../rebalance/jobTasks.ts";
import { explainReference } from "../../references.ts";
import { describeApart } from "../../versions.ts";
import type { Danger, Finding } from "../read/finding.ts";
import { type HealthCheck, ofNodes } from "./check.ts";
import type { NodeHealth } from "./view.ts";

const UP = "npm run pulumi -- up";

const STATES: Readonly<Record<Exclude<NodeHealth["state"], "ready">, { danger: Danger; mend: string | null }>> = {
    // the reason says what to do: what runs the node was asked
    unreachable: { danger: "danger", mend: null },
    inactive: { danger: "danger", mend: UP },
    unsynced: { danger: "mend", mend: UP },
    unfinished: { danger: "mend", mend: null },
    leaving: { danger: "mend", mend: UP },
    unregistered: { danger: "mend", mend: UP },
};

export const nodeState: HealthCheck = {
    id: "node-state",
    title: "every node answers, is registered and active, and has its metadata in sync",
    asks: "health",
    judge: ({ nodes }) =>
        nodes.flatMap(({ name, state, reason }): Finding[] => {
            if (state === "ready") return [];
            const { danger, mend } = STATES[state];
            const why = reason === undefined ? "" : mend === null ? `: ${reason}` : ` (${reason})`;
            return [
                {
                    check: "node-state",
                    danger,
                    node: name,
                    object: null,
                    says: `${name} is ${state}${why}`,
                    mend,
                    on: null,
                    ...(state === "unsynced" ? { fix: { kind: "activate" as const, node: name } } : {}),
                },
            ];
        }),
};

export const nodeCertificates: HealthCheck = {
    id: "node-certificates",
    title: "no node's certificate ends soon",
    asks: "health",
    silent: ({ nodes }) =>
        nodes
            .filter(({ state, certificateDays }) => state === "ready" && certificateDays === undefined)
            .map(({ name }) => name),
    judge: ({ nodes }, { certificateDays: least }) =>
        nodes.flatMap(({ name, certificateDays: days }): Finding[] =>
            days === undefined || days >= least
                ? []
                : [
                      {
                          check: "node-certificates",
                          danger: days < 7 ? "danger" : "mend",
                          node: name,
                          object: null,
                          says: `${name}'s certificate ends in ${days} days. The next up renews it`,
                          mend: UP,
                          on: null,
                      },
                  ],
        ),
};

const DAY = 86_400_000;

export const caCertificate = ofNodes<{ readonly pem: string; readonly now: number }>({
    id: "ca-certificate",
    title: "the CA's certificate does not end soon",
    sql: `jsonb_build_object('pem', pg_catalog.pg_read_file(current_setting('ssl_ca_file')), 'now', extract(epoch FROM clock_timestamp()))`,
    judge: (answers, { caDays }) => {
        const ends = answers.map(({ node, answer: { pem, now } }) => {
            const until = new X509Certificate(pem).validTo;
            return { node, until, days: Math.floor((Date.parse(until) - now * 1000) / DAY) };
        });
        const soon = ends.filter(({ days }) => days < caDays);
        const [first] = [...soon].sort((a, b) => a.days - b.days);
        if (first === undefined) return [];
        return [
            {
                check: "ca-certificate",
                danger: first.days < 30 ? "danger" : "mend",
                node: null,
                object: "ca.crt",
                says: `the certificate of the cluster's CA ends in ${first.days} days, on ${first.until}. It is on ${soon.map(({ node }) => node).join(", ")}. From then on no node trusts another. docs/security.md says how certificates are made`,
                mend: null,
                on: null,
            },
        ];
    },
});

export const citusExtension: HealthCheck = {
    id: "citus-extension",
    title: "each database's Citus extension is of its library's version",
    asks: "health",
    judge: ({ versions }) => {
        const apart = describeApart(versions);
        if (apart === undefined) return [];
        return [
            {
                check: "citus-extension",
                danger: "danger",
                node: null,
                object: "citus",
                says: apart,
                mend: null,
                on: null,
            },
        ];
    },
};

export const failedRebalance: HealthCheck = {
    id: "failed-rebalance",
    title: "the last rebalance was not given up",
    asks: "health",
    // where nothing is left to move, nothing is missing
    judge: ({ failed, movesLeft }) =>
        failed === undefined || movesLeft === 0
            ? []
            : [
                  {
                      check: "failed-rebalance",
                      danger: "mend",
                      node: null,
                      object: `job ${failed.jobId}`,
                      says: explainFailedJob(failed, movesLeft),
                      mend: UP,
                      on: null,
                  },
              ],
};

export const referenceTables: HealthCheck = {
    id: "reference-tables",
    title: "no reference table is large or written often",
    asks: "health",
    judge: ({ references }) =>
        references.flatMap((use) =>
            explainReference(use).map(
                (says): Finding => ({
                    check: "reference-tables",
                    danger: "note",
                    node: null,
                    object: use.table,
                    says,
                    mend: null,
                    on: null,
                }),
            ),
        ),
};
