/** Groups of tenants of a cluster, one class for each model. */
import * as pulumi from "@pulumi/pulumi";
import { connectionTo } from "../core/tenants/group/connection.ts";
import { passwordOf, seedOf } from "../core/tenants/group/passwords.ts";
import { appRole, type GroupSpec, onboardingRole, readerRole, tenantRole } from "../core/tenants/group/spec.ts";
import { joinNames } from "../core/util/joinNames.ts";
import type { Mistake } from "../core/util/mistakes.ts";
import { ownProperty } from "../core/util/ownProperty.ts";
import type { CitusCluster } from "./cluster.ts";
import { wrongArguments } from "./config/index.ts";
import type {
    DatabaseGroup,
    RlsGroup,
    RoutedGroup,
    RowGroup,
    SchemaGroup,
    TenantGroupSettings,
} from "./config/tenants/args.ts";
import { type Inputs, isPlain } from "./config/tenants/inputs.ts";
import { projectFiles, readOnce } from "./config/tenants/project.ts";
import { groupValidator, type Validated } from "./config/tenants/validate.ts";
import { type Login, Tenant } from "./login.ts";
import { TenantGroupResource } from "./resources/tenantGroup.ts";

/** What a class of a model is given: its settings, of which each may be an output, and the cluster. */
type Args<Settings extends TenantGroupSettings> = {
    readonly [K in keyof Omit<Settings, "model">]: Inputs<Settings[K]>;
} & { readonly cluster: CitusCluster };

export type RlsTenantsArgs = Args<RlsGroup>;
export type RowTenantsArgs = Args<RowGroup>;
export type SchemaTenantsArgs = Args<SchemaGroup>;
export type DatabaseTenantsArgs = Args<DatabaseGroup>;
export type RoutedTenantsArgs = Args<RoutedGroup>;

/** Groups of each cluster of this program: no two may make the same schema or database. */
const groupsOf = new WeakMap<CitusCluster, Record<string, unknown>>();

/** Files are read, and groups checked by themselves, once for each cluster: with every group all are checked together. */
const validators = new WeakMap<CitusCluster, ReturnType<typeof groupValidator>>();

/** What the last groups of a cluster came to; groups that wait for each other ask for the same. */
const validated = new WeakMap<object, Validated>();

function groupsSoFar(cluster: CitusCluster): Validated {
    const groups = groupsOf.get(cluster) ?? {};
    const validate =
        validators.get(cluster) ??
        groupValidator({
            database: cluster.database,
            nodes: cluster.nodeNames,
            coordinatorShards: cluster.coordinatorShards,
            files: readOnce(projectFiles),
        });
    validators.set(cluster, validate);
    const known = validated.get(groups) ?? validate(groups);
    validated.set(groups, known);
    return known;
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
 * Takes a group into the program.
 * @param now what is true of the cluster when there is a mistake
 * @throws pulumi.InputPropertiesError naming every mistake in it and between it and the others
 */
function join(name: string, cluster: CitusCluster, settings: unknown, now?: string): void {
    groupsOf.set(cluster, { ...groupsOf.get(cluster), [name]: settings });
    const { mistakes } = groupsSoFar(cluster);
    if (mistakes.length > 0) throw wrongArguments("The program", inProgram(cluster, mistakes), now);
}

const specOf = (name: string, cluster: CitusCluster) =>
    groupsSoFar(cluster).groups.find((group) => group.name === name);

/**
 * The group once the program has made its other ones too. Pulumi goes on with what was made before a program fails, so
 * that a group waits forever when one that came later does not go with it; the program has said why.
 */
async function agreed(name: string, cluster: CitusCluster): Promise<GroupSpec> {
    await Promise.resolve();
    const spec = specOf(name, cluster);
    return groupsSoFar(cluster).mistakes.length === 0 && spec !== undefined ? spec : new Promise(() => {});
}

/**
 * The group once its outputs are known.
 * @throws pulumi.InputPropertiesError naming every mistake, or pulumi.RunError when one of them is secret
 */
function later(name: string, cluster: CitusCluster, settings: pulumi.Output<unknown>): pulumi.Output<GroupSpec> {
    return settings.apply(async (known) => {
        if (await pulumi.isSecret(settings))
            throw new pulumi.RunError(
                `TenantGroup ${name}: its settings must not hold a secret, because they are kept in the clear in the state and in the database. ` +
                    "Take the secret out. If the value is no secret, hand it over with pulumi.unsecret(value).",
            );
        // other resources may be on their way by then
        join(name, cluster, known, `Nothing of group ${name} was changed.`);
        return specOf(name, cluster) as GroupSpec;
    });
}

/**
 * Tenants that are kept in one way, all of them in one resource: `pulumi preview` says what will happen to which tenant,
 * `pulumi up` does it. What is removed from the program stays in the database until its state is `deleted`.
 */
export abstract class TenantGroup extends pulumi.ComponentResource {
    /** The group's name. */
    readonly name: string;
    /** One line about the group, written by the last `up`. */
    readonly summary: pulumi.Output<string>;
    protected readonly cluster: CitusCluster;
    private readonly seed: pulumi.Output<string>;
    /** The specification, where all of it is known now. */
    protected readonly known: GroupSpec | undefined;
    private readonly places: TenantGroupResource["places"];

    /** @throws pulumi.InputPropertiesError naming every mistake in the settings */
    protected constructor(
        name: string,
        cluster: CitusCluster,
        settings: Inputs<TenantGroupSettings>,
        opts?: pulumi.ComponentResourceOptions,
    ) {
        super("citus:index:TenantGroup", name, {}, opts);
        this.name = name;
        this.cluster = cluster;
        const plain = isPlain(settings);
        if (plain) join(name, cluster, settings);
        this.known = plain ? specOf(name, cluster) : undefined;
        this.seed = pulumi.secret(cluster.tenantsSeed.apply((seed) => seedOf(seed, name)));
        const made = new TenantGroupResource(
            `${name}-tenants`,
            {
                cluster: cluster.clusterName,
                group: plain ? agreed(name, cluster) : later(name, cluster, pulumi.output(settings as unknown)),
                nodes: cluster.nodes,
                seed: this.seed,
                exports: `.state/${pulumi.getStack()}/exports`,
            },
            // a destroy of the whole cluster is no group that left the program
            { parent: this, dependsOn: [...cluster.settled], deletedWith: cluster.volume },
        );
        this.summary = made.summary;
        this.places = made.places;
        this.registerOutputs({ summary: this.summary });
    }

    /**
     * A tenant of this group.
     * @throws pulumi.RunError when the program has no tenant of that name here
     */
    tenant(name: string): Tenant {
        const { known } = this;
        if (known && !ownProperty(known.tenants, name)) {
            const deleted = known.delete.includes(name);
            throw new pulumi.RunError(
                `TenantGroup ${this.name}: ${deleted ? `its tenant ${name} is deleted` : `it has no tenant ${name}. It has ${joinNames(Object.keys(known.tenants)) || "none"}`}`,
            );
        }
        return new Tenant(this.name, name, () => this.tenantLogin(name));
    }

    private tenantLogin(name: string): Login {
        const { known } = this;
        if (known?.model === "routed")
            throw new pulumi.RunError(
                `TenantGroup ${this.name}: ${name} is on a server of its ownProperty, which has its ownProperty logins`,
            );
        if (known && ownProperty(known.tenants, name)?.role !== true)
            throw new pulumi.RunError(
                `TenantGroup ${this.name}: ${name} has no role of its ownProperty; role: true gives it one`,
            );
        return this.login(tenantRole(this.name, name), name);
    }

    /** @throws pulumi.RunError where the program has no reader */
    protected get readerLogin(): Login {
        if (this.known && this.known.reader !== true)
            throw new pulumi.RunError(`TenantGroup ${this.name}: it has no reader; reader: true gives it one`);
        return this.login(readerRole(this.name));
    }

    /** @param tenant whose place it connects to @default any */
    protected login(role: string, tenant?: string): Login {
        const password = pulumi.secret(this.seed.apply((seed) => passwordOf(seed, role)));
        return {
            role,
            password,
            connectionString: pulumi.secret(
                pulumi
                    .all([this.cluster.connectionString, password, this.places])
                    .apply(([cluster, secret, places]) =>
                        connectionTo(
                            cluster,
                            { role, password: secret },
                            tenant === undefined ? undefined : ownProperty(places ?? {}, tenant),
                        ),
                    ),
            ),
        };
    }
}

/** Tenants that an application can make while it runs. */
abstract class OnboardingTenants extends TenantGroup {
    /**
     * With `onboarding: true` the role that makes tenants by `citus_as_code.create_tenant`, and can do nothing else,
     * `<group>_onboarding`.
     * @throws pulumi.RunError without `onboarding: true`
     */
    get onboarding(): Login {
        if (this.known && this.known.onboarding !== true)
            throw new pulumi.RunError(
                `TenantGroup ${this.name}: no role makes tenants of it while the product runs; onboarding: true makes one`,
            );
        return this.login(onboardingRole(this.name));
    }
}

/** Tenants that are rows, which an application reads as one role. */
abstract class RowsTenants extends OnboardingTenants {
    /** The role that an application uses for all its tenants, `<group>_app`; it names the tenant in each transaction. */
    get app(): Login {
        return this.login(appRole(this.name));
    }

    /** `<group>_reader`, which reads all tenants and writes nothing. @throws pulumi.RunError without `reader: true` */
    get reader(): Login {
        return this.readerLogin;
    }
}

/**
 * Tenants in tables of the coordinator, kept apart by row-level security.
 * @example new RlsTenants("billing", { cluster, anchor: "companies", tables: { companies: { distributeBy: "id" } }, tenants: { "42": {} } })
 */
export class RlsTenants extends RowsTenants {
    /** @param name lower-case letters, digits and underscores; part of the names of its roles */
    constructor(name: string, { cluster, ...settings }: RlsTenantsArgs, opts?: pulumi.ComponentResourceOptions) {
        super(name, cluster, { ...settings, model: "rls" }, opts);
    }
}

/**
 * Tenants in distributed tables, each by its key.
 * @example new RowTenants("billing", { cluster, anchor: "companies", tables: { companies: { distributeBy: "id" }, users: { distributeBy: "company_id" } }, tenants: { "42": {} } })
 */
export class RowTenants extends RowsTenants {
    /** @param name lower-case letters, digits and underscores; part of the names of its roles */
    constructor(name: string, { cluster, ...settings }: RowTenantsArgs, opts?: pulumi.ComponentResourceOptions) {
        super(name, cluster, { ...settings, model: "row" }, opts);
    }
}

/**
 * Each tenant in a distributed schema.
 * @example new SchemaTenants("clinics", { cluster, template: "sql/clinic/*.sql", tenants: { acme: {}, globex: { node: "worker-2" } } })
 */
export class SchemaTenants extends OnboardingTenants {
    /** @param name lower-case letters, digits and underscores; part of the names of its roles */
    constructor(name: string, { cluster, ...settings }: SchemaTenantsArgs, opts?: pulumi.ComponentResourceOptions) {
        super(name, cluster, { ...settings, model: "schema" }, opts);
    }

    /** `<group>_reader`, which reads all tenants and writes nothing. @throws pulumi.RunError without `reader: true` */
    get reader(): Login {
        return this.readerLogin;
    }
}

/**
 * Each tenant in a database of its ownProperty on one node.
 * @example new DatabaseTenants("banks", { cluster, template: "sql/bank/*.sql", tenants: { acme: { node: "worker-1" } } })
 */
export class DatabaseTenants extends TenantGroup {
    /** @param name lower-case letters, digits and underscores; part of the names of its roles */
    constructor(name: string, { cluster, ...settings }: DatabaseTenantsArgs, opts?: pulumi.ComponentResourceOptions) {
        super(name, cluster, { ...settings, model: "database" }, opts);
    }
}

/**
 * Each tenant on a server that the shard map names.
 * @example new RoutedTenants("regions", { cluster, tenants: { eu: { host: "eu-1.example.com" } } })
 */
export class RoutedTenants extends TenantGroup {
    /** @param name lower-case letters, digits and underscores */
    constructor(name: string, { cluster, ...settings }: RoutedTenantsArgs, opts?: pulumi.ComponentResourceOptions) {
        super(name, cluster, { ...settings, model: "routed" }, opts);
    }
}

/** A group as the configuration has it. */
export function tenantGroup(
    name: string,
    cluster: CitusCluster,
    { model, ...settings }: TenantGroupSettings,
): TenantGroup {
    const classes = {
        rls: RlsTenants,
        row: RowTenants,
        schema: SchemaTenants,
        database: DatabaseTenants,
        routed: RoutedTenants,
    };
    // the settings are of the model that they name
    const Group = classes[model] as new (name: string, args: { cluster: CitusCluster }) => TenantGroup;
    return new Group(name, { cluster, ...settings });
}
