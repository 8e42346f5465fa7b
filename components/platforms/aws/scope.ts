/** What every resource of one cluster on AWS is made with. */
import * as pulumi from "@pulumi/pulumi";
import type { AwsParts } from "../../config/index.ts";
import type { Security } from "../../resources/security.ts";
import { type Tags, tagsOf } from "./tags.ts";

export interface Scope {
    /** Prefix of Pulumi names. */
    readonly prefix: string;
    readonly cluster: string;
    /** Unlike `cluster` no other stack's: names that AWS wants unique are made of it. */
    readonly base: pulumi.Output<string>;
    readonly clusterId: pulumi.Output<string>;
    readonly aws: AwsParts;
    /** Citus in full, such as `14.1.0`. */
    readonly citusVersion: pulumi.Output<string>;
    /** `citus:protect`: what holds data is protected, and stays when it is taken out of the program. */
    readonly protect: boolean;
    /** @see tagsOf */
    tags(name: string, node?: string): pulumi.Output<Tags>;
}

export function scopeOf(
    prefix: string,
    args: {
        readonly name: string;
        readonly protect: boolean;
        readonly aws: AwsParts;
        readonly citusVersion?: string;
    },
    { clusterId, defaultCitus }: Pick<Security, "clusterId" | "defaultCitus">,
): Scope {
    const { name: cluster, protect, aws } = args;
    return {
        prefix,
        cluster,
        base: clusterId.apply((id) => `${cluster}-${id.slice(0, 6)}`),
        clusterId,
        aws,
        citusVersion: args.citusVersion === undefined ? defaultCitus : pulumi.output(args.citusVersion),
        protect,
        tags: (name, node) =>
            pulumi
                .all([clusterId, aws.tags])
                .apply(([id, tags]) => tagsOf({ cluster, clusterId: id, tags }, name, node)),
    };
}

/** ARNs begin with it. */
export function partitionOf(region: string): string {
    if (region.startsWith("cn-")) return "aws-cn";
    return region.startsWith("us-gov-") ? "aws-us-gov" : "aws";
}
