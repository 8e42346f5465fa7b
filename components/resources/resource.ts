import * as pulumi from "@pulumi/pulumi";
import type { AnyKind } from "../../provider/kind.ts";

/** What is known of a resource once it is made: a name for each, which the engine gives its value. */
type Computed<Kind extends AnyKind> = { readonly [Key in keyof Kind["outputs"]]: undefined };

/**
 * A resource of the project's own provider. What it does when the engine asks is `Kind`: a class in `provider/`, which the
 * program names and never loads.
 */
export abstract class CitusResource<Kind extends AnyKind> extends pulumi.CustomResource {
    constructor(
        type: Kind["type"],
        name: string,
        props: Computed<Kind> & pulumi.Inputs,
        opts?: pulumi.CustomResourceOptions,
    ) {
        super(type, name, props, opts);
    }
}
