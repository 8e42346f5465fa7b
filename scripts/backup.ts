/** Backs up all nodes at once, then takes a restore point over them: npm run backup -- [full|diff|incr] [--no-point] */
import { Argument, Option } from "commander";
import { Listr } from "listr2";
import { COORDINATOR } from "../core/node/topology.ts";
import { type Contents, timeOfName, whyNotRestorable } from "../core/restore/points.ts";
import { openBackups, readBackups, runningNodes, saidOnFailure } from "./lib/backups.ts";
import { main, script } from "./lib/command.ts";
import { onNode, type StackNode } from "./lib/nodes.ts";

const TYPES = ["full", "diff", "incr"];

/** Whether the newest point can be restored, and how many there are. Pure. */
function describeRestorable(contents: Contents, cluster: string): string {
    const newest = contents.points.at(-1);
    const all = contents.listed?.[cluster];
    if (newest === undefined || all === undefined) return "NO: the point that was just taken is not listed";
    const why = whyNotRestorable(newest, contents);
    if (why.length > 0) return `NO: ${why.join("; ")}`;
    return `yes; ${all.count === 1 ? "it is the only point" : `${all.count} points from ${timeOfName(all.oldest)} on`} (npm run backups lists them)`;
}

async function backUp(named: string | undefined, options: { type?: string; point: boolean }): Promise<void> {
    const type = named ?? options.type ?? "incr";
    const cluster = await openBackups();
    const nodes = runningNodes(cluster);
    const failures: string[] = [];
    const backupOf = (node: StackNode) => ({
        title: node.name,
        task: async (_context: unknown, task: { title: string }) => {
            const began = Date.now();
            const result = await onNode(node, ["backup.sh", type]);
            const seconds = ((Date.now() - began) / 1000).toFixed(1);
            task.title = `${node.name.padEnd(14)}${type} backup   ${result.code === 0 ? "ok" : "FAILED"}   ${seconds} s`;
            if (!process.stdout.isTTY) console.log(task.title);
            if (result.code !== 0) {
                failures.push(`${node.name}: ${saidOnFailure(result.stderr).join("\n    ")}`);
                throw new Error(task.title);
            }
        },
    });
    await new Listr([...nodes.values()].map(backupOf), {
        concurrent: true,
        exitOnError: false,
        fallbackRenderer: "silent",
        rendererOptions: { showErrorMessage: false },
    }).run();
    if (failures.length > 0) {
        throw new Error(
            [
                `\n${failures.length} of ${nodes.size} nodes have no new backup; no restore point was taken:`,
                ...failures.map((line) => `  ${line}`),
                "Earlier backups and restore points are as they were. Mend it, then run npm run backup again.",
            ].join("\n"),
        );
    }
    if (options.point) {
        const began = Date.now();
        const point = await onNode(nodes.get(COORDINATOR) as StackNode, ["restore-point.sh"]);
        if (point.code !== 0)
            throw new Error(
                `\nThe backups are made; the restore point is not:\n  ${point.stderr.trim()}\nThis is safe to repeat: npm run backup -- incr`,
            );
        console.log(
            `${"restore point".padEnd(14)}${point.stdout.trim()}   ok   ${((Date.now() - began) / 1000).toFixed(1)} s`,
        );
        // what the last point before this one rested on may go now
        await Promise.all([...nodes.values()].map((node) => onNode(node, ["backup.sh", "expire"])));
        const contents = await readBackups(cluster, { kind: "list", cluster: cluster.args.name, count: 1 });
        console.log(`${"restorable".padEnd(14)}${describeRestorable(contents, cluster.args.name)}`);
    }
}

await main(
    script("backup", "Backs up all nodes at once, then takes a restore point over them.")
        .addArgument(
            new Argument("[type]", "full, diff (since the last full) or incr (since the last of any kind)").choices(
                TYPES,
            ),
        )
        // how it was said before there was the argument
        .addOption(new Option("--type <type>").choices(TYPES).hideHelp())
        .option("--no-point", "without a restore point")
        .action(backUp),
);
