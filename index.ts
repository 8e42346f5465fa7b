import * as pulumi from "@pulumi/pulumi";
import { version } from "@pulumi/pulumi/version.js";
import { CitusCluster } from "./components/cluster.ts";
import { readConfig } from "./components/config/index.ts";
import { tenantGroup } from "./components/tenantGroup.ts";
import { caFile } from "./core/node/names.ts";

// a stack is made for every promise, which is half of the time a large cluster takes to preview
if (!process.env.PULUMI_DEBUG_PROMISE_LEAKS) Error.stackTraceLimit = 0;

// Pulumi runs a function that the program exports; what it returns are the stack's outputs
export default async () => {
    // a CLI of before Pulumi.yaml could say it ignores it there
    await pulumi.requirePulumiVersion(`>=${version}`).catch(({ message }: Error) => {
        throw new pulumi.RunError(
            `${message}\nThis project needs the Pulumi CLI ${version} or newer; its npm scripts bring one.`,
        );
    });
    const { tenantGroups, ...args } = await readConfig();
    const cluster = new CitusCluster("citus", { ...args, caFile: caFile(pulumi.getStack()) });
    const groups = Object.entries(tenantGroups).map(([name, settings]) => tenantGroup(name, cluster, settings));

    return {
        coordinator: cluster.coordinator,
        workers: cluster.workers,
        connectionString: cluster.connectionString,
        password: cluster.password,
        caCertificate: cluster.caCertificate,
        backups: cluster.backups,
        connect: pulumi.interpolate`npm run psql (${cluster.connect})`,
        ...(cluster.network ? { network: cluster.network } : {}),
        ...(groups.length > 0
            ? { tenants: Object.fromEntries(groups.map((group) => [group.name, group.summary])) }
            : {}),
        status: cluster.status,
    };
};
