/** The way out: what a resource of a node is made with, changed by the program before it is made. */
// types only: a program on docker has no @pulumi/aws
import type { ebs, ec2 } from "@pulumi/aws";
import type * as docker from "@pulumi/docker";
import type * as pulumi from "@pulumi/pulumi";

/**
 * Changes what a resource is given: an object whose members win, or a function that changes the arguments and the options in place.
 * @param args what the resource would be made with
 * @param opts options that are added to the resource's own
 * @param node name of the node, such as `coordinator` or `worker-1`
 */
export type Transform<Args> = Partial<Args> | ((args: Args, opts: pulumi.CustomResourceOptions, node: string) => void);

/**
 * Arguments of the resources that hold a node, for what no argument of the cluster says. They are Pulumi's own arguments of that
 * resource. What the cluster needs of them is not guarded: names, mounts, networks and ports have to stay.
 * @example { container: (args) => { args.cpuShares = 512; } }
 * @example { instance: { monitoring: true }, volume: (args, opts, node) => { if (node === "coordinator") args.iops = 6000; } }
 */
export interface Transforms {
    /** A node's EC2 instance. Only means something on aws. Given it, machines are always made one after the other. */
    readonly instance?: Transform<ec2.InstanceArgs>;
    /** What a node's data is on: a Docker volume, on aws an EBS volume. */
    readonly volume?: Transform<docker.VolumeArgs & ebs.VolumeArgs>;
    /** A node's container. Only means something on docker. A change replaces containers one after the other. */
    readonly container?: Transform<docker.ContainerArgs>;
}

/** The arguments and further options of a resource, as the program wants them. */
export function transformed<Args extends object>(
    transform: Transform<Args> | undefined,
    given: Args,
    node: string,
): { args: Args; opts: pulumi.CustomResourceOptions } {
    const args = { ...given };
    const opts: pulumi.CustomResourceOptions = {};
    if (typeof transform === "function") transform(args, opts, node);
    else Object.assign(args, transform);
    return { args, opts };
}
