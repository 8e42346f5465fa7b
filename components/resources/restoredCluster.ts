/** A cluster's data restored before its servers start: what is asked for is the same on every platform, the site is not. */
import * as pulumi from "@pulumi/pulumi";
import { POSTGRES_PORT } from "../../core/node/topology.ts";
import type { ClusterParts, RestoreFromParts } from "../config/index.ts";
import type { NodeArgs } from "./nodeArgs.ts";
import type { Origin } from "./origin.ts";
import { Restore, type RestoreArgs } from "./restore.ts";
import type { Security } from "./security.ts";

export interface RestoredCluster {
    readonly args: ClusterParts;
    readonly security: Security;
    readonly from: RestoreFromParts;
    readonly origin: pulumi.Output<Origin>;
    /** The cluster's own volume or bucket. */
    readonly ownRepository: pulumi.Output<string>;
    readonly nodes: readonly NodeArgs[];
    readonly site: RestoreArgs["site"];
    readonly parent: pulumi.Resource;
    readonly dependsOn: pulumi.Resource[];
}

export function restoreCluster(name: string, cluster: RestoredCluster): Restore {
    const { args, security, from, origin, ownRepository, nodes, site, parent, dependsOn } = cluster;
    return new Restore(
        name,
        {
            request: origin.apply(({ cluster: named }) => ({
                ...(named === "" ? {} : { cluster: named }),
                point: from.point,
                ...(from.onlyWorker === undefined ? {} : { onlyWorker: from.onlyWorker }),
            })),
            overwrite: from.overwrite,
            database: args.database,
            cluster: args.name,
            clusterId: security.clusterId,
            repository: origin.repository,
            repositoryRegion: origin.region,
            passphrase: pulumi.secret(args.restorePassphrase ?? args.backupPassphrase ?? ""),
            ownRepository,
            ownPassphrase: pulumi.secret(args.backupPassphrase ?? ""),
            verifier: security.verifier,
            nodes: pulumi.all(
                nodes.map(({ spec, size }) =>
                    pulumi.output(size).apply(({ memory, cores }) => ({
                        name: spec.name,
                        role: spec.role,
                        host: spec.host,
                        port: POSTGRES_PORT,
                        memory,
                        cores,
                    })),
                ),
            ),
            site,
        },
        { parent, dependsOn },
    );
}
