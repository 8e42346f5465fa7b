import type * as pulumi from "@pulumi/pulumi";
import type { ConnectionPlace } from "../../core/tenants/group/connection.ts";
import type { TenantGroupInputs, TenantGroupKind, TenantGroupNode } from "../../provider/tenantGroup.ts";
import { CitusResource } from "./resource.ts";

export type TenantGroupInputArgs = {
    [K in keyof Omit<TenantGroupInputs, "nodes">]: pulumi.Input<TenantGroupInputs[K]>;
} & {
    // each for itself: while a new worker is not known yet, the coordinator is
    nodes: readonly pulumi.Input<TenantGroupNode>[];
};

/** One group of tenants, all of them: its diff asks the database two questions. */
export class TenantGroupResource extends CitusResource<TenantGroupKind> {
    /** One line about the group written by the last change. */
    declare readonly summary: pulumi.Output<string>;
    /** Model `database`: where each tenant is. */
    declare readonly places: pulumi.Output<Readonly<Record<string, ConnectionPlace>> | undefined>;

    constructor(name: string, args: TenantGroupInputArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:TenantGroup", name, { summary: undefined, places: undefined, ...args }, opts);
    }
}
