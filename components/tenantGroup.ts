/** A group of tenants of a cluster. */
import * as pulumi from "@pulumi/pulumi";
import type { CitusCluster } from "./cluster.ts";
import { explain, type Mistake } from "./config/mistakes.ts";
import { selfUrn } from "./hooks/self.ts";
import { TenantGroupHook } from "./hooks/tenantGroup.ts";
import type { TenantGroupSettings } from "./tenants/args.ts";
import { passwordOf, seedOf } from "./tenants/passwords.ts";
import { projectFiles } from "./tenants/project.ts";
import { appRole, type GroupSpec, tenantRole } from "./tenants/spec.ts";
import { validateGroups } from "./tenants/validate.ts";

export interface TenantGroupArgs extends TenantGroupSettings {
    readonly cluster: CitusCluster;
}

/** Groups of each cluster of this program: no two may make the same schema or database. */
const groupsOf = new WeakMap<CitusCluster, Record<string, TenantGroupSettings>>();

function groupsSoFar(cluster: CitusCluster): ReturnType<typeof validateGroups> {
    return validateGroups(groupsOf.get(cluster) ?? {}, {
        database: cluster.database,
        nodes: cluster.nodeNames,
        coordinatorShards: cluster.coordinatorShards,
        files: projectFiles,
    });
}

/** Mistakes as the program has them: there is no such key in the configuration. */
function inProgram(cluster: CitusCluster, mistakes: readonly Mistake[]): Mistake[] {
    const names = Object.keys(groupsOf.get(cluster) ?? {});
    return mistakes.map(({ path, message }) => {
        const at = path.slice("tenantGroups.".length);
        // a name that is a mistake itself may have a point
        const [name = at] = names.filter((n) => at === n || at.startsWith(`${n}.`)).sort((a, b) => b.length - a.length);
        return { path: `TenantGroup ${name}:${at === name ? "" : ` ${at.slice(name.length + 1)}`}`, message };
    });
}

/**
 * The group once the program has made its other ones too. Pulumi goes on with what was made before a program fails, so
 * that a group waits forever when one that came later does not go with it; the program has said why.
 */
async function agreed(name: string, cluster: CitusCluster): Promise<GroupSpec> {
    await Promise.resolve();
    const { groups, mistakes } = groupsSoFar(cluster);
    const spec = groups.find((group) => group.name === name);
    return mistakes.length === 0 && spec !== undefined ? spec : new Promise(() => {});
}

/**
 * Tenants that are kept in one way, all of them in one resource: `pulumi preview` says what will happen to which tenant,
 * `pulumi up` does it. What is removed from the program stays in the database until `delete` names it.
 *
 * @throws pulumi.RunError naming every mistake in the arguments
 */
export class TenantGroup extends pulumi.ComponentResource {
    /** The group's name. */
    readonly name: string;
    /** One line about the group, written by the last `up`. */
    readonly summary: pulumi.Output<string>;
    private readonly seed: pulumi.Output<string>;

    /** @param name lower-case letters, digits and underscores; part of the names of its roles */
    constructor(name: string, args: TenantGroupArgs, opts?: pulumi.ComponentResourceOptions) {
        super("citus:index:TenantGroup", name, {}, opts);
        this.name = name;
        const { cluster, ...settings } = args;
        groupsOf.set(cluster, { ...groupsOf.get(cluster), [name]: settings });
        const { mistakes } = groupsSoFar(cluster);
        if (mistakes.length > 0) throw new pulumi.RunError(explain(inProgram(cluster, mistakes), "The program"));
        this.seed = pulumi.secret(cluster.tenantsSeed.apply((seed) => seedOf(seed, name)));
        const hook = new TenantGroupHook(
            `${name}-tenants`,
            {
                cluster: cluster.clusterName,
                group: agreed(name, cluster),
                nodes: cluster.nodes,
                seed: this.seed,
                exports: `.state/${pulumi.getStack()}/exports`,
                self: selfUrn("TenantGroup", `${name}-tenants`, this),
            },
            // a destroy of the whole cluster is no group that left the program
            { parent: this, dependsOn: [...cluster.settled], deletedWith: cluster.volume },
        );
        this.summary = hook.summary;
        this.registerOutputs({ summary: this.summary });
    }

    /** The password of a tenant's own role, `<group>_<tenant>`; secret. */
    tenantPassword(tenant: string): pulumi.Output<string> {
        return pulumi.secret(this.seed.apply((seed) => passwordOf(seed, tenantRole(this.name, tenant))));
    }

    /** Models `row` and `rls`: the password of the role that an application uses for all tenants, `<group>_app`; secret. */
    get appPassword(): pulumi.Output<string> {
        return pulumi.secret(this.seed.apply((seed) => passwordOf(seed, appRole(this.name))));
    }
}
