/** Names of nodes, which are registered in Citus and certified: a new address changes nothing there. */

import type * as pulumi from "@pulumi/pulumi";
import { nodeZone } from "../../../core/node/topology.ts";
import type { Scope } from "./scope.ts";
import * as aws from "./sdk.ts";

/** Seconds. */
const TTL = 10;

/** Resolves in the nodes' VPC only. */
export function privateZone(scope: Scope, vpcId: pulumi.Input<string>, parent: pulumi.Resource): aws.route53.Zone {
    return new aws.route53.Zone(
        `${scope.prefix}-names`,
        {
            name: nodeZone(scope.cluster),
            comment: `Nodes of the Citus cluster ${scope.cluster}`,
            vpcs: [{ vpcId }],
            forceDestroy: true,
            tags: scope.tags("names"),
        },
        { parent },
    );
}

export function nodeRecord(
    name: string,
    args: { readonly zoneId: pulumi.Input<string>; readonly host: string; readonly address: pulumi.Input<string> },
    parent: pulumi.Resource,
): aws.route53.Record {
    return new aws.route53.Record(
        name,
        {
            zoneId: args.zoneId,
            name: args.host,
            type: "A",
            ttl: TTL,
            records: [args.address],
            // the zone is the cluster's own: what a killed run left is taken over
            allowOverwrite: true,
        },
        { parent },
    );
}
