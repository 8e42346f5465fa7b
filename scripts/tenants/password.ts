/** npm run tenants -- password NAME */
import { ShardMap } from "../../client/shardMap.ts";
import { connectionTo } from "../../core/tenants/group/connection.ts";
import { passwordOf } from "../../core/tenants/group/passwords.ts";
import { appRole, onboardingRole, readerRole, tenantRole } from "../../core/tenants/group/spec.ts";
import { ownComment } from "../../core/tenants/roles/groupRoles.ts";
import { CHOSEN, NONE } from "../../core/tenants/roles/roleSql.ts";
import type { TenantGroupInputs } from "../../provider/tenantGroup.ts";
import { findTenant, withStack } from "../lib/groups.ts";
import { readCluster } from "../lib/project.ts";

export interface Login {
    readonly role: string;
    readonly password: string;
    /** The tenant whose place it is for; none for an application's role. */
    readonly tenant?: string;
    readonly group: string;
}

/**
 * Who logs in by that name: a tenant, or the application of a group.
 * @throws Error when nobody does
 */
export function findLogin(groups: readonly TenantGroupInputs[], name: string): Login {
    const read = groups.find((inputs) => inputs.group.reader === true && name === readerRole(inputs.group.name));
    if (read) return { role: name, password: passwordOf(read.seed, name), group: read.group.name };
    const group = groups.find((inputs) => name === inputs.group.name || name === appRole(inputs.group.name));
    if (group) {
        const { name: grp, model } = group.group;
        if (model !== "row" && model !== "rls")
            throw new Error(
                `Group ${grp} is of model ${model}, where each tenant has a role of its own: npm run tenants -- password ${grp}/TENANT`,
            );
        return { role: appRole(grp), password: passwordOf(group.seed, appRole(grp)), group: grp };
    }
    const maker = groups.find(({ group: { name: grp, onboarding } }) => onboarding && name === onboardingRole(grp));
    if (maker) {
        const role = onboardingRole(maker.group.name);
        return { role, password: passwordOf(maker.seed, role), group: maker.group.name };
    }
    const { inputs, tenant } = findTenant(groups, name);
    const { group: spec, seed } = inputs;
    if (spec.model === "routed") throw new Error(`${tenant} is on a server of its own, which has its own logins.`);
    if (spec.tenants[tenant]?.role !== true)
        throw new Error(
            `${tenant} has no role of its own (role: true gives it one); the application's is npm run tenants -- password ${spec.name}`,
        );
    const role = tenantRole(spec.name, tenant);
    return { role, password: passwordOf(seed, role), tenant, group: spec.name };
}

/** The cluster's connection string for another login. Pure. */
export function connectionString(cluster: string, login: Login, map: ShardMap | undefined): string {
    const place = login.tenant === undefined ? undefined : map?.lookup(login.tenant, login.group);
    // rows and schemas are reached through any node, a database on its own only
    return connectionTo(cluster, login, place?.exact && place.database !== map?.json.database ? place : undefined);
}

/** @throws Error when the password is not the one that is made from the cluster's secret */
export function refuseUnknown({ role, group, tenant }: Login, comment: string): void {
    if (comment.startsWith(`${ownComment(group)}${CHOSEN} `))
        throw new Error(
            `${group}/${tenant}: its password was chosen when it signed up, and only whoever chose it has it.\n` +
                `To have one made by this project: ALTER ROLE ${role} PASSWORD NULL; (npm run psql), then pulumi up, then repeat this.`,
        );
    if (comment === `${ownComment(group)}${NONE}`)
        throw new Error(
            `${group}/${tenant}: it signed up without a password, and has none until the next pulumi up. Run pulumi up, then repeat this.`,
        );
}

export async function password(name: string): Promise<void> {
    const { outputs } = await readCluster();
    await withStack(async ({ session, groups }) => {
        const login = findLogin(groups, name);
        const [found] = await session.query<{ comment: string | null }>(
            "SELECT shobj_description(oid, 'pg_authid') AS comment FROM pg_roles WHERE rolname = $1",
            [login.role],
        );
        refuseUnknown(login, found?.comment ?? "");
        const [row] = await session.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map");
        console.log(connectionString(outputs.connectionString, login, row && ShardMap.from(row.map)));
    });
}
