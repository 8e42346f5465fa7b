import * as pulumi from "@pulumi/pulumi";
import type { Access, Shell } from "../../core/node/reach.ts";
import type { Place } from "../../core/tenants/group/connection.ts";
import type { NodeTarget } from "../../core/tenants/group/facet.ts";
import type { GroupSpec } from "../../core/tenants/group/spec.ts";
import { thinProvider } from "./provider.ts";

export interface TenantGroupNode extends NodeTarget {
    readonly access: Access;
    readonly shell: Shell;
}

export interface TenantGroupInputs {
    /** Name of the cluster. */
    cluster: string;
    group: GroupSpec;
    /** The coordinator first. */
    nodes: TenantGroupNode[];
    /** What the passwords of the group's roles are made from; a secret. */
    seed: string;
    /** Folder for exports, relative to the project. */
    exports: string;
    self?: string;
}

export type TenantGroupInputArgs = {
    [K in keyof Omit<TenantGroupInputs, "nodes">]: pulumi.Input<TenantGroupInputs[K]>;
} & {
    // each for itself: while a new worker is not known yet, the coordinator is
    nodes: readonly pulumi.Input<TenantGroupNode>[];
};

const provider = thinProvider("provider/tenantGroup.ts", { checks: true });

/** One group of tenants, all of them: its diff asks the database two questions. */
export class TenantGroupHook extends pulumi.dynamic.Resource {
    /** One line about the group written by the last change. */
    declare readonly summary: pulumi.Output<string>;
    /** Model `database`: where each tenant is. */
    declare readonly places: pulumi.Output<Readonly<Record<string, Place>> | undefined>;

    constructor(name: string, args: TenantGroupInputArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { summary: undefined, places: undefined, ...args }, opts, "citus", "TenantGroup");
    }
}
