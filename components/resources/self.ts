import * as pulumi from "@pulumi/pulumi";

/**
 * The URN a dynamic resource will have, for progress on its own row in Pulumi's display. A promise, because an Output
 * would make the resource depend on its parent, and so on itself.
 */
export function selfUrn(kind: string, name: string, parent: pulumi.Resource): pulumi.Output<string> {
    return pulumi.output(
        new Promise<string>((resolve) => {
            pulumi.createUrn(name, `pulumi-nodejs:dynamic/citus:${kind}`, parent).apply(resolve);
        }),
    );
}
