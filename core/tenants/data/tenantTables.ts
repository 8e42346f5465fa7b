/** Where one tenant's tables are, and how they are reached. */

import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";
import type { Context } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { OWN_TABLES, readShapes } from "./checksum.ts";
import { databaseOf, type Slice, schemaOf, slicesOf, splitName } from "./shape.ts";

export interface TenantLocation {
    readonly group: GroupSpec;
    readonly tenant: string;
    /** The node that its database is on; the coordinator in the other models. */
    readonly node: string;
    /** Model `database`: its database; undefined where it is the cluster's. */
    readonly database?: string;
    readonly session: Session;
    readonly slices: readonly Slice[];
}

/** Which tables of this session's database are the tenant's, as a condition on pg_class `c` and pg_namespace `n`. */
export function ownTables(group: GroupSpec, tenant: string): string {
    if (group.model === "database") return OWN_TABLES;
    if (group.model === "schema") return `n.nspname = ${literal(schemaOf(tenant))}`;
    const names = Object.keys(group.tables).map((full) => {
        const { schema, name } = splitName(full);
        return `(${literal(schema)}, ${literal(name)})`;
    });
    return names.length === 0 ? "false" : `(n.nspname, c.relname) IN (${names.join(", ")})`;
}

/** Node of a tenant's database, as far as it is known. */
export async function nodeOfTenant(context: Context, group: GroupSpec, tenant: string): Promise<string> {
    const [row] = await context.session.query<{ node: string | null }>(
        "SELECT node FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [group.name, tenant],
    );
    const node = row?.node ?? group.tenants[tenant]?.node;
    if (!node)
        throw new Error(`${tenant}: it is not known which node its database is on. Run pulumi up with ${group.name}.`);
    return node;
}

/**
 * The place of a tenant with its tables as they are now.
 * @param on the node of its database, where the ledger need not know it
 */
export async function placeOf(
    context: Context,
    group: GroupSpec,
    tenant: string,
    on?: string,
): Promise<TenantLocation> {
    const own = group.model === "database";
    const node = own ? (on ?? (await nodeOfTenant(context, group, tenant))) : "coordinator";
    const session = own ? await context.open(node, databaseOf(tenant)) : context.session;
    const shapes = await readShapes(session, ownTables(group, tenant));
    return {
        group,
        tenant,
        node,
        ...(own ? { database: databaseOf(tenant) } : {}),
        session,
        slices: slicesOf(group, tenant, shapes),
    };
}
