/** npm run tenants -- password NAME */
import { ShardMap } from "../../client/shardMap.ts";
import type { TenantGroupInputs } from "../../components/hooks/tenantGroup.ts";
import { connectionTo } from "../../components/tenants/connection.ts";
import { passwordOf } from "../../components/tenants/passwords.ts";
import { appRole, tenantRole } from "../../components/tenants/spec.ts";
import { readCluster } from "../lib/project.ts";
import { findTenant, withStack } from "./stack.ts";

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
    const group = groups.find((inputs) => name === inputs.group.name || name === appRole(inputs.group.name));
    if (group) {
        const { name: grp, model } = group.group;
        if (model !== "row" && model !== "rls")
            throw new Error(
                `Group ${grp} is of model ${model}, where each tenant has a role of its own: npm run tenants -- password ${grp}/TENANT`,
            );
        return { role: appRole(grp), password: passwordOf(group.seed, appRole(grp)), group: grp };
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

export async function password(name: string): Promise<void> {
    const { outputs } = await readCluster();
    await withStack(async ({ session, groups }) => {
        const login = findLogin(groups, name);
        const [row] = await session.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map");
        console.log(connectionString(outputs.connectionString, login, row && ShardMap.from(row.map)));
    });
}
