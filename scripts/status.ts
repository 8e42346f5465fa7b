/** Looks only. Exit code 0 healthy, 1 needs attention, 2 can't tell. --json gives the same as data. */
import { Argument } from "commander";
import { repositoryResource } from "./lib/backups.ts";
import { main, script } from "./lib/command.ts";
import { EXIT } from "./lib/exit.ts";
import { nodesOf } from "./lib/nodes.ts";
import { readCluster } from "./lib/project.ts";
import { isHealthy, readClusterHealth, renderStatus } from "./lib/report.ts";
import { clusterName, readResources } from "./lib/resources.ts";
import { screenWidth } from "./lib/screen.ts";
import { activity } from "./status/activity.ts";

async function status(view: string | undefined, { json }: { json?: boolean }): Promise<void> {
    if (view === "activity") return activity(json === true);
    const { stack } = await readCluster();
    const resources = await readResources(true);
    const cluster = clusterName(resources) ?? stack;
    if (nodesOf(resources).size === 0) {
        console.error(
            `The cluster of stack ${stack} is down${repositoryResource(resources) ? "; its backups are kept (npm run backups)" : ""}.\n` +
                "To bring its data back: npm run pulumi -- config set --path citus:restoreFrom.point latest && npm start",
        );
        process.exitCode = EXIT.cannotTell;
        return;
    }
    try {
        const health = await readClusterHealth(resources);
        console.log(
            json
                ? JSON.stringify({ stack, cluster, healthy: isHealthy(health), ...health }, null, 2)
                : renderStatus(cluster, health, screenWidth()),
        );
        process.exitCode = isHealthy(health) ? EXIT.done : EXIT.failed;
    } catch (error) {
        const message = (error as Error).message;
        if (json) console.log(JSON.stringify({ stack, cluster, healthy: null, error: message }, null, 2));
        else console.error(`${cluster}: can't tell\n${message}`);
        process.exitCode = EXIT.cannotTell;
    }
}

await main(
    script("status", "Asks the living cluster how it is, and changes nothing.")
        .addArgument(
            new Argument(
                "[view]",
                "activity: who does what now, for which tenant, how long, and whom they wait for",
            ).choices(["activity"]),
        )
        .option("--json", "the same as data")
        .addHelpText(
            "after",
            "\n0 is healthy, 1 needs attention, 2 can't tell and why.\nFor another program, without npm's own lines: npm run -s status -- --json",
        )
        .action(status),
);
