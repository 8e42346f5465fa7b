/** What a cluster asks of the platform that it runs on. A platform makes machines and says how to reach them. */
import * as pulumi from "@pulumi/pulumi";
import { SUPERUSER } from "../../core/node/names.ts";
import type { Access, Shell } from "../../core/node/reach.ts";
import type { NodeSpec, Role } from "../../core/node/topology.ts";
import type { BackupsOutput } from "../../core/restore/site.ts";
import type { Configuration } from "../resources/configuration.ts";
import type { NodeArgs, Size } from "../resources/nodeArgs.ts";
import type { Restore } from "../resources/restore.ts";
import type { Security } from "../resources/security.ts";

/** A node as the rest of the cluster sees it. */
export interface Machine {
    readonly spec: NodeSpec;
    /** Where clients reach it. */
    readonly host: string;
    readonly port: pulumi.Output<number>;
    /** Where they reach its connection pool; undefined where the platform has none. */
    readonly poolPort?: pulumi.Output<number>;
    /** How scripts are run on it. */
    readonly shell: pulumi.Output<Shell>;
    /** How SQL reaches it from where Pulumi runs; a secret where it holds a password. */
    readonly access: pulumi.Output<Access>;
    /** What exists once the node answers. */
    readonly ready: Configuration;
    /** What holds its data. */
    readonly volume: pulumi.Resource;
}

/** Ids of what others need to reach the nodes on AWS. */
export interface NetworkOutput {
    readonly vpcId: string;
    /** The private zone with the nodes' names. */
    readonly zoneId: string;
    /** The nodes' security group. */
    readonly securityGroupId: string;
}

export interface Platform {
    /** What the machines of a kind have; on aws EC2 is asked. */
    sizeOf(role: Role): pulumi.Output<Size>;
    /** Makes all nodes, the coordinator first, with their data restored before their servers start where that is asked for. */
    make(nodes: readonly NodeArgs[]): { readonly machines: readonly Machine[]; readonly restore?: Restore };
    readonly backups: pulumi.Output<BackupsOutput>;
    /** Citus in full, as the nodes run it. */
    readonly citusVersion: pulumi.Output<string>;
    /** In words, for a person. */
    readonly connect: pulumi.Output<string>;
    /** The network that nodes are in, where it is more than this machine's own. */
    readonly network?: pulumi.Output<NetworkOutput>;
}

/** SQL by a node's address, over verified TLS. */
export function directAccess(
    node: { readonly spec: NodeSpec; readonly host: pulumi.Input<string>; readonly port: pulumi.Input<number> },
    security: Security,
    database: string,
): pulumi.Output<Access> {
    return pulumi.secret(
        pulumi
            .all([node.host, node.port, security.caCertificate, security.password])
            .apply(([host, port, ca, password]) => ({
                host,
                port,
                serverName: node.spec.host,
                ca,
                user: SUPERUSER,
                password,
                database,
            })),
    );
}
