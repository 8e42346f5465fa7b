/** Looks only. Exit code 0 healthy, 1 needs attention, 2 can't tell. --json gives the same as data. */
import { parseArgs } from "node:util";
import { repositoryResource } from "./lib/backups.ts";
import { nodesOf } from "./lib/nodes.ts";
import { fail, readOutputs, selectedStack } from "./lib/project.ts";
import { isHealthy, readClusterHealth, renderStatus } from "./lib/report.ts";
import { readResources } from "./lib/resources.ts";

try {
    const { values } = parseArgs({ options: { json: { type: "boolean" }, debug: { type: "boolean" } } });
    const json = values.json === true;
    const stack = await selectedStack();
    const outputs = stack ? await readOutputs() : undefined;
    if (!stack || !outputs) {
        console.error(`There is no cluster in stack ${stack ?? "dev"}: run npm start first.`);
        process.exit(2);
    }
    const resources = await readResources(true);
    if (nodesOf(resources).size === 0) {
        console.error(
            `The cluster of stack ${stack} is down${repositoryResource(resources) ? "; its backups are kept (npm run backups)" : ""}.\n` +
                "To bring its data back: npm run pulumi -- config set --path citus:restoreFrom.point latest && npm start",
        );
        process.exit(2);
    }
    try {
        const health = await readClusterHealth(resources);
        console.log(
            json
                ? JSON.stringify({ stack, healthy: isHealthy(health), ...health }, null, 2)
                : renderStatus(stack, health),
        );
        process.exit(isHealthy(health) ? 0 : 1);
    } catch (error) {
        const message = (error as Error).message;
        if (json) console.log(JSON.stringify({ stack, healthy: null, error: message }, null, 2));
        else
            console.error(
                `${stack}: can't tell\n${message}\nIf its containers or machines are gone: npm run pulumi -- up --refresh`,
            );
        process.exit(2);
    }
} catch (error) {
    fail(error);
}
