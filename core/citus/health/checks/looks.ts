/** What nobody declared and what grows on a node, as its script look.sh says, and what it means. */
import { OWNED } from "../../../node/settings.ts";
import { COORDINATOR } from "../../../node/topology.ts";
import type { NodeFindings, Scoped } from "../../../reach/nodeFindings.ts";
import { begunBy } from "../../../sql/gid.ts";
import { identifier, literal } from "../../../sql/quote.ts";
import { describeAge } from "../../../util/age.ts";
import { describeBytes } from "../../../util/bytes.ts";
import { type Finding, needsAttention, sentence } from "../read/finding.ts";
import type { LookCheck, NodeLook } from "./check.ts";
import { LIMITS } from "./limits.ts";

/** Of a setting whose value may be of use to a role or a database: OWNED says so. */
const FREE_ELSEWHERE = new Set(["timezone", "synchronous_commit"]);
/** A user's prepared transaction; those of Citus are told of with what was decided about them (transactions.ts). */
const PREPARED_SECONDS = 3600;
/** A consumer that restarts is away for some minutes, in which this much WAL is nothing. */
const SLOT_SECONDS = 600;
const SLOT_BYTES = 64 * 1024 ** 2;

const UP = "npm run pulumi -- up --refresh";

const ownedBy = ({ owned }: NodeFindings) => {
    const names = new Set([...owned, ...Object.keys(OWNED)]);
    return (name: string) => names.has(name);
};

const passwordDiffers: LookCheck = {
    id: "superuser-password",
    title: "the superuser's password is the stack's",
    asks: "look",
    judge: ({ node, found }) =>
        found.passwordDiffers
            ? [
                  {
                      check: "superuser-password",
                      danger: "mend",
                      node,
                      object: "postgres",
                      says: `${node}: the superuser's password on the node is not the stack's. npm run pulumi -- stack output password --show-secrets prints the stack's. To put that back`,
                      mend: UP,
                      on: null,
                      up: true,
                  },
              ]
            : [],
};

const alteredSettings: LookCheck = {
    id: "altered-settings",
    title: "ALTER SYSTEM sets nothing",
    asks: "look",
    judge: ({ node, found }) => {
        const isOwned = ownedBy(found);
        const says = (configured: string | null) =>
            configured === null ? "nothing about it" : JSON.stringify(configured);
        return (
            found.altered
                // while a cluster is restored they are off by this very means, and their own line says so
                .filter(({ name }) => !found.repairs.includes(name))
                .map(({ name, value, configured }): Finding => {
                    const set = `${node}: ALTER SYSTEM set ${name} to ${JSON.stringify(value)}`;
                    const reset = `ALTER SYSTEM RESET ${name}`;
                    const reload = "SELECT pg_reload_conf()";
                    return {
                        check: "altered-settings",
                        node,
                        object: name,
                        ...(isOwned(name)
                            ? {
                                  danger: "mend",
                                  says: `${set}, and the stack says ${says(configured)}. ${UP} takes it back, as this does on ${node}`,
                                  up: true,
                              }
                            : {
                                  danger: "note",
                                  says: `${set}; the configuration file says ${says(configured)}. To take it back, on ${node}`,
                              }),
                        mend: `${reset}; ${reload}`,
                        on: node,
                        fix: { kind: "sql", node, statements: [reset, reload] },
                    };
                })
        );
    },
};

const refusedConfiguration: LookCheck = {
    id: "refused-configuration",
    title: "PostgreSQL runs with the configuration that was put in place last",
    asks: "look",
    judge: ({ node, found }) =>
        found.refused === null || found.refused.trim() === ""
            ? []
            : [
                  {
                      check: "refused-configuration",
                      danger: "mend",
                      node,
                      object: null,
                      says: `${node}: PostgreSQL refused the configuration that was put in place last, and the one before it is in use: ${found.refused.trim()}`,
                      mend: null,
                      on: null,
                      up: true,
                  },
              ],
};

const citusRepairs: LookCheck = {
    id: "citus-repairs",
    title: "Citus' own repairs run",
    asks: "look",
    judge: ({ node, found: { repairs } }) => {
        if (repairs.length === 0) return [];
        const statements = [...repairs.map((name) => `ALTER SYSTEM RESET ${name}`), "SELECT pg_reload_conf()"];
        return [
            {
                check: "citus-repairs",
                danger: "danger",
                node,
                object: repairs.join(", "),
                says: `${node}: Citus' own repairs are off (${repairs.join(", ")}): transactions in doubt, deadlocks between nodes, old copies of shards and waiting moves are left as they are. A restore that has not ended leaves them so. If none is under way, on ${node}`,
                mend: statements.join("; "),
                on: node,
            },
        ];
    },
};

function scopedFinding(node: string, { database, role, name, value }: Scoped): Finding {
    const of = [
        ...(role === null ? [] : [`role ${identifier(role)}`]),
        ...(database === null ? [] : [`database ${identifier(database)}`]),
    ].join(" in ");
    // on a worker Citus would refuse it, since it is the coordinator's to send
    const alone = node === COORDINATOR ? "" : "SET citus.enable_ddl_propagation = off; ";
    const reset =
        role === null
            ? `ALTER DATABASE ${identifier(database ?? "")} RESET ${name}`
            : `ALTER ROLE ${identifier(role)}${database === null ? "" : ` IN DATABASE ${identifier(database)}`} RESET ${name}`;
    return {
        check: "scoped-settings",
        danger: "mend",
        node,
        object: name,
        says: `${node}: ${name} is ${JSON.stringify(value)} for ${of}, and its value is the stack's (${OWNED[name] ?? "citus:settings has it"})`,
        mend: `${alone}${reset}`,
        on: node,
    };
}

const scopedSettings: LookCheck = {
    id: "scoped-settings",
    title: "no role and no database has a value of its own where the stack's holds",
    asks: "look",
    judge: ({ node, found }) => {
        const isOwned = ownedBy(found);
        return found.scoped
            .filter(({ name }) => isOwned(name) && !FREE_ELSEWHERE.has(name.toLowerCase()))
            .map((scoped) => scopedFinding(node, scoped));
    },
};

/** Days until what is free is used up, at the rate since the earlier look; undefined where it does not shrink or none is known. */
export function daysLeft({ found, before }: Pick<NodeLook, "found" | "before">): number | undefined {
    if (before === undefined || before.seconds <= 0) return undefined;
    const used = before.free - found.free;
    return used <= 0 ? undefined : (found.free / used) * (before.seconds / 86_400);
}

const describeDays = (days: number) => (days < 2 ? `${Math.round(days * 24)} h` : `${Math.round(days)} days`);

const idleSlots: LookCheck = {
    id: "idle-slots",
    title: "no replication slot without a reader keeps WAL",
    asks: "look",
    judge: (look) => {
        const { node, found } = look;
        const full = daysLeft(look);
        return found.slots.flatMap(({ name, bytes, seconds }): Finding[] => {
            // a healthy node recycles this much, so what is beyond it only grows
            const grows = bytes > found.walLimit;
            if (!grows && bytes <= SLOT_BYTES && (seconds ?? SLOT_SECONDS) < SLOT_SECONDS) return [];
            const since = seconds === null ? "" : ` for ${describeAge(seconds)}`;
            const until = grows && full !== undefined ? `; the disk is full in about ${describeDays(full)}` : "";
            return [
                {
                    check: "idle-slots",
                    danger: grows ? "danger" : "note",
                    node,
                    object: name,
                    says: `${node}: the replication slot ${name} has no reader${since} and keeps ${describeBytes(bytes)} of WAL on the volume${until}. Start its reader, or drop it on ${node}`,
                    mend: `SELECT pg_drop_replication_slot(${literal(name)})`,
                    on: node,
                },
            ];
        });
    },
};

const preparedByHand: LookCheck = {
    id: "prepared-by-hand",
    title: "no application's prepared transaction is open for long",
    asks: "look",
    judge: ({ node, found }) =>
        found.prepared
            .filter(({ gid, seconds }) => seconds > PREPARED_SECONDS && begunBy(gid) === undefined)
            .map(({ gid, seconds, owner, database }) => ({
                check: "prepared-by-hand",
                danger: "danger",
                node,
                object: gid,
                says: `${node}: the prepared transaction ${literal(gid)} of ${owner} in ${database} has been open for ${describeAge(seconds)}. It holds its locks and keeps dead rows. Whoever prepared it knows whether it is COMMIT PREPARED or, on ${node}`,
                mend: `ROLLBACK PREPARED ${literal(gid)}`,
                on: node,
            })),
};

const idleTransactions: LookCheck = {
    id: "idle-transactions",
    title: "no transaction is idle for an hour",
    asks: "look",
    judge: ({ node, found }) =>
        found.idle.map(({ pid, role, application, database, seconds }) => ({
            check: "idle-transactions",
            danger: "mend",
            node,
            object: `process ${pid}`,
            says: `${node}: a transaction of ${role ?? "?"} (${application || "no application name"}, process ${pid}, database ${database ?? "?"}) began ${describeAge(seconds)} ago and is idle. It holds its locks and keeps dead rows`,
            mend: `SELECT pg_terminate_backend(${pid})`,
            on: node,
        })),
};

const disk: LookCheck = {
    id: "disk",
    title: "each node's disk has room, and has it for long at the present rate",
    asks: "look",
    judge: (look, limits) => {
        const { node, found } = look;
        const level = `${describeBytes(found.free)} of ${describeBytes(found.size)} are free on its volume`;
        const grow =
            "Delete what is not needed, add a worker (citus:workers), or on aws grow the volume (citus:worker.volumeSize)";
        const finding = (danger: Finding["danger"], says: string): Finding => ({
            check: "disk",
            danger,
            node,
            object: null,
            says: `${node}: ${says}. A volume that is full stops the server. ${grow}`,
            mend: null,
            on: null,
        });
        const days = daysLeft(look);
        const rate =
            days === undefined || look.before === undefined
                ? ""
                : `, and ${describeBytes(look.before.free - found.free)} were used in the last ${describeAge(look.before.seconds)}: it is full in about ${describeDays(days)}`;
        if (found.free < Math.max(2 * found.walLimit, found.size * limits.diskFree))
            return [finding("danger", `${level}${rate}`)];
        if (days === undefined || days > limits.diskDays) return [];
        return [finding(days < limits.diskDaysDanger ? "danger" : "mend", `${level}${rate}`)];
    },
};

export const LOOKS: readonly LookCheck[] = [
    passwordDiffers,
    refusedConfiguration,
    citusRepairs,
    alteredSettings,
    scopedSettings,
    idleSlots,
    preparedByHand,
    idleTransactions,
    disk,
];

export interface Explained {
    /** What the next `up` puts right. */
    readonly mended: readonly string[];
    /** What somebody has to look at. */
    readonly problems: readonly string[];
    /** What is worth knowing. */
    readonly notes: readonly string[];
}

/** What a preview says of one node. Pure. */
export function explainFindings(node: string, found: NodeFindings): Explained {
    const findings = LOOKS.flatMap((check) => check.judge({ node, found }, LIMITS));
    const said = (which: (finding: Finding) => boolean) => findings.filter(which).map(sentence);
    return {
        mended: said(({ up }) => up === true),
        problems: said((finding) => finding.up !== true && needsAttention(finding)),
        notes: said((finding) => finding.up !== true && !needsAttention(finding)),
    };
}
