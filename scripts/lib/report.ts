/** The status table, for `npm start` and `npm run status`. */
import { table } from "table";
import { type ClusterHealth, type HealthOptions, readHealth } from "../../core/citus/health/health.ts";
import type { NodeArchive } from "../../core/citus/health/read/archive.ts";
import { ANSWERS_WITHIN } from "../../core/citus/silent.ts";
import { COORDINATOR } from "../../core/node/topology.ts";
import { readFindings } from "../../core/reach/nodeFindings.ts";
import { explainSilence, readNodeState } from "../../core/reach/nodeState.ts";
import { saidBy } from "../../core/reach/said.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { describeAge } from "../../core/util/age.ts";
import { describeBytes } from "../../core/util/bytes.ts";
import { nodesOf } from "./nodes.ts";
import type { StateResource } from "./resources.ts";
import { wrapped } from "./screen.ts";

/**
 * Hands on a connection to the coordinator of the selected stack, and how its nodes are asked. All of it is closed at the end.
 * @throws Error where the coordinator does not answer
 */
export async function withCluster<T>(
    resources: readonly StateResource[],
    use: (coordinator: Session, options: HealthOptions) => Promise<T>,
): Promise<T> {
    const open = new Map<string, Promise<Session | Error>>();
    const nodes = nodesOf(resources);
    const first = nodes.get(COORDINATOR)?.access;
    if (!first) throw new Error("coordinator\nis not in this stack's state: run npm start");
    const coordinator = await connect(first, COORDINATOR, { nodeTimeout: ANSWERS_WITHIN }).catch(
        async (error: Error) => {
            const state = await readNodeState(nodes.get(COORDINATOR)?.shell);
            throw new Error(`${COORDINATOR} does not answer: ${explainSilence(saidBy(error), state)}`);
        },
    );
    const connectTo = async (name: string): Promise<Session | Error> => {
        const access = nodes.get(name)?.access;
        if (access === undefined) return new Error("it is not part of this stack");
        return connect(access, name, { timeout: ANSWERS_WITHIN }).catch(async (error: Error) => {
            const state = await readNodeState(nodes.get(name)?.shell);
            return new Error(explainSilence(saidBy(error), state));
        });
    };
    try {
        return await use(coordinator, {
            look: async (name) => {
                const shell = nodes.get(name)?.shell;
                return shell && readFindings(shell);
            },
            expected: [...nodes.keys()].filter((name) => name !== COORDINATOR),
            open: (name) => {
                const session = open.get(name) ?? connectTo(name);
                open.set(name, session);
                return session;
            },
        });
    } finally {
        for (const session of open.values()) {
            const opened = await session;
            if (!(opened instanceof Error)) await opened.close().catch(() => undefined);
        }
        await coordinator.close().catch(() => undefined);
    }
}

/** Looks at every node of the selected stack. */
export const readClusterHealth = (resources: readonly StateResource[]): Promise<ClusterHealth> =>
    withCluster(resources, readHealth);

export function isHealthy(health: ClusterHealth): boolean {
    return health.problems.length === 0;
}

function archiveCell(archive: NodeArchive | undefined): string {
    if (!archive) return "?";
    if (!archive.on) return "off";
    if (archive.failing !== undefined) return `FAILS, ${archive.waiting} wait`;
    return archive.age === undefined ? "none yet" : `${describeAge(archive.age)} ago`;
}

/** Columns with spaces between them and no lines. */
export function plainTable(
    head: readonly string[],
    rows: readonly (readonly string[])[],
    right: readonly number[] = [],
    gap = 3,
): string {
    const text = table([[...head], ...rows.map((row) => [...row])], {
        border: { ...EMPTY },
        drawHorizontalLine: () => false,
        columnDefault: { paddingLeft: 0, paddingRight: gap },
        columns: Object.fromEntries(right.map((column) => [column, { alignment: "right" as const }])),
    });
    return text.trimEnd().replace(/ +$/gm, "");
}

export interface Columns {
    readonly head: readonly string[];
    readonly rows: readonly (readonly string[])[];
    /** Numbers of columns that are aligned to the right. */
    readonly right?: readonly number[];
    /** Names of columns that can be done without, the first of them first. */
    readonly spare: readonly string[];
}

/**
 * A table that fits: columns move together, then those that can be done without go, and a last line names them. Pure.
 * @param width columns of the terminal; undefined for all there is
 */
export function fittedTable({ head, rows, right = [], spare }: Columns, width: number | undefined): string {
    const all = plainTable(head, rows, right);
    const fits = (text: string) => width === undefined || text.split("\n").every((line) => line.length <= width);
    if (fits(all)) return all;
    for (let gone = 0; ; gone++) {
        const kept = head.map((_, i) => i).filter((i) => !spare.slice(0, gone).includes(head[i] ?? ""));
        const pick = (cells: readonly string[]) => kept.map((i) => cells[i] ?? "");
        const aligned = kept.flatMap((from, to) => (right.includes(from) ? [to] : []));
        const text = plainTable(pick(head), rows.map(pick), aligned, 2);
        const left = gone === 0 ? "" : `\nnot shown at this width, but by --json: ${spare.slice(0, gone).join(", ")}`;
        if (fits(text) || gone === spare.length) return `${text}${left}`;
    }
}

/**
 * @param cluster its name
 * @param width columns that there are; undefined for as many as it takes
 */
export function renderStatus(cluster: string, health: ClusterHealth, width?: number): string {
    const point = health.archive?.pointAge;
    const head = [
        cluster,
        `PostgreSQL ${health.postgres} · Citus ${health.citus}`,
        isHealthy(health) ? "healthy" : "needs attention",
        health.rebalance
            ? "moving shards"
            : health.movesLeft === undefined
              ? "balance not known"
              : health.movesLeft === 0
                ? "balanced"
                : `not balanced: ${health.movesLeft} shards would move (npm run pulumi -- up)`,
        ...(point === undefined
            ? []
            : [
                  health.archive.nodes.some(({ hole }) => hole !== undefined)
                      ? `the newest restore point (${describeAge(point)} ago) can't be restored`
                      : `last restore point ${describeAge(point)} ago`,
              ]),
    ];
    const rows = health.nodes.map((node) => [
        node.name,
        node.state,
        node.name === "coordinator" && node.shards === 0 ? "–" : String(node.shards),
        node.bytes === undefined ? "?" : describeBytes(node.bytes),
        node.connections === undefined ? "?" : `${node.connections} / ${node.maxConnections}`,
        node.certificateDays === undefined ? "?" : `${node.certificateDays} days`,
    ]);
    const archive = new Map(health.archive?.nodes.map((node) => [node.node, node]));
    const text = plainTable(
        ["node", "state", "shards", "size", "connections", "archive", "certificate"],
        rows.map(([name = "", ...cells]) => [
            name,
            ...cells.slice(0, 4),
            archiveCell(archive.get(name)),
            cells[4] ?? "",
        ]),
        [2, 3, 4, 5, 6],
    );
    return [
        wrapped(head, { between: " · ", width }),
        "",
        text,
        ...(health.rebalance ? ["", `rebalance   ${health.rebalance}`] : []),
        ...(health.archive.notHeld ?? []).map(
            ({ name, why }) => `\n${name} was not held at the newest restore point: ${why}`,
        ),
        ...(health.leftovers > 0 ? ["", `${health.leftovers} old copies of moved shards wait to be dropped`] : []),
        ...(health.problems.length > 0 ? ["", ...health.problems] : []),
        ...(health.notes ? ["", "worth knowing:", ...health.notes] : []),
    ].join("\n");
}

const EMPTY = Object.fromEntries(
    [
        "topBody topJoin topLeft topRight bottomBody bottomJoin bottomLeft bottomRight bodyLeft bodyRight bodyJoin",
        "joinBody joinLeft joinRight joinJoin headerJoin",
    ]
        .join(" ")
        .split(" ")
        .map((name) => [name, ""]),
);
