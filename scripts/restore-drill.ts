/**
 * Restores the newest point (or --point) into a throw-away stack, checks it, prints RTO and RPO, and removes it.
 * The selected stack and its cluster are not touched. --keep leaves the copy.
 */

import { choosePoint } from "../core/restore/points.ts";
import { refusedTarget } from "../core/restore/request.ts";
import { describeAge } from "../core/util/age.ts";
import { describeBytes } from "../core/util/bytes.ts";
import { openBackups, readBackups } from "./lib/backups.ts";
import { main, script } from "./lib/command.ts";
import { withCopy } from "./lib/copy.ts";

async function drill(values: { point: string; keep?: boolean; json?: boolean }): Promise<void> {
    const refusal = refusedTarget(values.point);
    if (refusal !== undefined) throw new Error(`--point ${refusal}, got "${values.point}". Nothing was done.`);
    const backed = await openBackups();
    const wanted = { kind: "restore", cluster: backed.args.name, point: values.point } as const;
    const choice = choosePoint(values.point, await readBackups(backed, wanted));
    if ("refusal" in choice) throw new Error(`There is nothing to drill with: ${choice.refusal}\nNothing was done.`);
    const { point } = choice;
    // what would be lost if the cluster were lost now
    const rpo = (Date.now() - Date.parse(point.time)) / 1000;
    const bytes = point.nodes.reduce((sum, node) => sum + Number(node.bytes), 0);
    const say = (text: string) => {
        if (!values.json) console.log(text);
    };
    say(
        `Restoring ${point.name} (${describeAge(rpo)} old, ${point.nodes.length} nodes, ${describeBytes(bytes)}) into a stack of its own`,
    );
    const { seconds, restored } = await withCopy(
        { backed, point, prefix: "drill", say, keep: values.keep === true, failed: "The drill failed" },
        async (copy) => copy,
    );
    if (values.json) {
        console.log(
            JSON.stringify(
                {
                    point: point.name,
                    nodes: point.nodes.length,
                    tables: point.tables.length,
                    bytes,
                    rtoSeconds: seconds,
                    rpoSeconds: rpo,
                },
                null,
                2,
            ),
        );
        return;
    }
    const interval = backed.args.backup.restorePoint;
    console.log(`
${point.name} is restorable: ${point.tables.length} tables on ${point.nodes.length} nodes are whole, no prepared transaction is left.

  RTO   ${seconds.toFixed(1)} s   from pulumi up to a cluster that answers${restored ? `, of which restoring ${restored}` : ""} (${describeBytes(bytes)})
  RPO   ${describeAge(rpo)}   the newest restorable point was this old; ${interval > 0 ? `one is taken every ${describeAge(interval)}` : "none is taken by itself (citus:backup.restorePoint)"}`);
}

await main(
    script(
        "restore-drill",
        "Restores a restore point into a throw-away stack, checks it, prints what a disaster would cost, and removes it.",
    )
        .option("--point <name>", "a restore point, as npm run backups names it", "latest")
        .option("--keep", "leaves the copy")
        .option("--json", "the result as data")
        .action(drill),
);
