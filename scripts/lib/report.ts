/** The status table, for `npm start` and `npm run status`. */
import { table } from "table";
import { describeAge } from "../../components/age.ts";
import type { NodeArchive } from "../../components/citus/archive.ts";
import { type ClusterHealth, readHealth } from "../../components/citus/health.ts";
import { describeBytes } from "../../components/citus/job.ts";
import { type Access, connect, type Session } from "../../components/citus/session.ts";
import type { Outputs } from "./project.ts";

/** How to reach a node of the selected stack from here; every node's certificate names localhost too. */
export function accessFrom(outputs: Outputs, port: number): Access {
    const url = new URL(outputs.connectionString);
    return {
        host: outputs.coordinator.host,
        port,
        serverName: "localhost",
        ca: outputs.caCertificate,
        user: url.username,
        password: outputs.password,
        database: url.pathname.slice(1),
    };
}

export async function readClusterHealth(outputs: Outputs): Promise<ClusterHealth> {
    const open = new Map<string, Promise<Session | Error>>();
    const ports = new Map([
        ["coordinator", outputs.coordinator.port],
        ...outputs.workers.map((w) => [w.name, w.port] as const),
    ]);
    const coordinator = await connect(accessFrom(outputs, outputs.coordinator.port), "coordinator");
    try {
        return await readHealth(coordinator, {
            expected: outputs.workers.map((worker) => worker.name),
            open: (name) => {
                const port = ports.get(name);
                if (port === undefined) return Promise.resolve(new Error(`${name}\nis not part of this stack`));
                const session = connect(accessFrom(outputs, port), name).catch((error: Error) => error);
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

export function isHealthy(health: ClusterHealth): boolean {
    return health.problems.length === 0;
}

function archiveCell(archive: NodeArchive | undefined): string {
    if (!archive) return "?";
    if (!archive.on) return "off";
    if (archive.failing !== undefined) return `FAILS, ${archive.waiting} wait`;
    return archive.age === undefined ? "none yet" : `${describeAge(archive.age)} ago`;
}

/** Columns with three spaces between them and no lines. */
export function plainTable(
    head: readonly string[],
    rows: readonly (readonly string[])[],
    right: readonly number[] = [],
): string {
    const text = table([[...head], ...rows.map((row) => [...row])], {
        border: { ...EMPTY },
        drawHorizontalLine: () => false,
        columnDefault: { paddingLeft: 0, paddingRight: 3 },
        columns: Object.fromEntries(right.map((column) => [column, { alignment: "right" as const }])),
    });
    return text.trimEnd().replace(/ +$/gm, "");
}

export function renderStatus(stack: string, health: ClusterHealth): string {
    const point = health.archive?.pointAge;
    const head = [
        `citus-${stack}`.replace(/^citus-citus-/, "citus-"),
        `PostgreSQL ${health.postgres} · Citus ${health.citus}`,
        isHealthy(health) ? "healthy" : "needs attention",
        health.rebalance
            ? "moving shards"
            : health.movesLeft === 0
              ? "balanced"
              : `not balanced: ${health.movesLeft} shards would move (npm run pulumi -- up)`,
        ...(point === undefined ? [] : [`last restore point ${describeAge(point)} ago`]),
    ].join(" · ");
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
        head,
        "",
        text,
        ...(health.rebalance ? ["", `rebalance   ${health.rebalance}`] : []),
        ...(health.leftovers > 0 ? ["", `${health.leftovers} old copies of moved shards wait to be dropped`] : []),
        ...(health.problems.length > 0 ? ["", ...health.problems] : []),
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
