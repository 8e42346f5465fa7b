/** Lists restore points and backups, newest first, and which points are provably restorable. Works without the cluster. */

import { COORDINATOR, workerIndex } from "../core/node/topology.ts";
import { type Contents, type RestorePoint, whyNotRestorable } from "../core/restore/points.ts";
import { describeAge } from "../core/util/age.ts";
import { describeBytes } from "../core/util/bytes.ts";
import { openBackups, readBackups } from "./lib/backups.ts";
import { main, script } from "./lib/command.ts";
import { fittedTable } from "./lib/report.ts";
import { screenWidth } from "./lib/screen.ts";

/** Points that are listed without --all. */
const MOST = 20;
const ALL = 1_000_000;
const isNode = (name: string) => name === COORDINATOR || workerIndex(name) !== undefined;
const ago = (time: number) => `${describeAge((Date.now() - time) / 1000)} ago`;

/** The points from the oldest restorable one on; what retention has let go before it is only counted. */
function shownPoints(points: readonly RestorePoint[], contents: Contents): readonly RestorePoint[] {
    const first = points.findIndex((point) => whyNotRestorable(point, contents).length === 0);
    return points.slice(Math.max(first, 0));
}

function pointRows(points: readonly RestorePoint[], contents: Contents): string[][] {
    return [...points].reverse().map((point) => {
        const why = whyNotRestorable(point, contents);
        const bytes = point.nodes.reduce((sum, node) => sum + Number(node.bytes), 0);
        return [
            point.name,
            ago(Date.parse(point.time)),
            `1 + ${point.nodes.length - 1}`,
            describeBytes(bytes),
            `${point.pauseMilliseconds} ms`,
            why.length === 0 ? "yes" : "NO",
        ];
    });
}

/** Why points that are shown are not restorable, the newest first. */
function reasons(points: readonly RestorePoint[], contents: Contents): string[] {
    return [...points].reverse().flatMap(({ name, ...point }) => {
        const [first, ...more] = whyNotRestorable({ name, ...point }, contents);
        return first === undefined ? [] : [`${name}: ${first}${more.length > 0 ? ` (and ${more.length} more)` : ""}`];
    });
}

function backupRows(contents: Contents, cluster: string): string[][] {
    return contents.stanzas
        .filter(({ name }) => name.startsWith(`${cluster}-`) && isNode(name.slice(cluster.length + 1)))
        .flatMap((stanza) =>
            stanza.backup.map((backup) => ({
                node: stanza.name.slice(cluster.length + 1),
                backup,
                stop: backup.timestamp.stop,
            })),
        )
        .sort((a, b) => b.stop - a.stop || (a.node < b.node ? -1 : 1))
        .map(({ node, backup, stop }) => [
            node,
            backup.label,
            backup.type,
            ago(stop * 1000),
            describeBytes(backup.info.size),
            describeBytes(backup.info.repository?.delta ?? 0),
            `${Math.max(0, stop - backup.timestamp.start)} s`,
        ]);
}

async function list(options: { json?: boolean; all?: boolean }): Promise<void> {
    const cluster = await openBackups();
    const { name } = cluster.args;
    const contents = await readBackups(cluster, { kind: "list", cluster: name, count: options.all ? ALL : MOST });
    const { points } = contents;
    const count = contents.listed?.[name]?.count ?? 0;
    if (options.json) {
        const list = points
            .map((point) => {
                const missing = whyNotRestorable(point, contents);
                const { tables: _tables, ...shown } = point;
                return { ...shown, restorable: missing.length === 0, missing };
            })
            .reverse();
        console.log(
            JSON.stringify({ repository: cluster.repository, count, points: list, stanzas: contents.stanzas }, null, 2),
        );
    } else {
        const shown = options.all ? points : shownPoints(points, contents);
        const width = screenWidth();
        const head = ["restore point", "taken", "nodes", "size", "pause", "restorable"];
        console.log(
            points.length === 0
                ? "No restore points yet: one is taken when every node has a backup (npm run backup)."
                : fittedTable({ head, rows: pointRows(shown, contents), spare: ["pause", "nodes"] }, width),
        );
        for (const reason of reasons(shown, contents)) console.log(reason);
        for (const { name: table, why } of shown.at(-1)?.notHeld ?? [])
            console.log(`${table} was not held at the newest: ${why} (docs/backup.md)`);
        if (count > shown.length) console.log(`and ${count - shown.length} older ones (--all)`);
        const rows = backupRows(contents, name);
        console.log(
            `\n${
                rows.length === 0
                    ? "No backups yet."
                    : fittedTable(
                          {
                              head: ["node", "backup", "type", "ended", "size", "stored", "took"],
                              rows,
                              spare: ["took", "stored", "type"],
                          },
                          width,
                      )
            }`,
        );
        if (points.length > 0)
            console.log(
                `\nrestore   into another stack: citus:restoreFrom.stack ${cluster.stack}\n` +
                    "          in place after a disaster: citus:restoreFrom.point NAME\n          docs/restore.md",
            );
    }
}

await main(
    script("backups", "Lists restore points and backups, newest first, and which points are restorable.")
        .option("--all", `all points, not only the newest ${MOST}`)
        .option("--json", "the same as data")
        .action(list),
);
