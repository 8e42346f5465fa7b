/** What there is under the name of a tenant that is to be restored. */

import { identifier, literal } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import { allColumns, nameOf, type Prints, printTenant } from "../data/checksum.ts";
import { databaseOf, type Slice, schemaOf } from "../data/shape.ts";
import { placeOf } from "../data/tenantTables.ts";
import { explainForeign, isEmpty, type LedgerRow } from "../databases/databaseFound.ts";
import type { Context } from "../group/facet.ts";
import { byKey } from "./export.ts";

export const rowsTold = (slices: readonly Slice[], prints: Prints) =>
    allColumns(slices).flatMap(({ name, slice }) => {
        const count = slice.anchor ? "0" : (prints[name]?.count ?? "0");
        return count === "0" ? [] : [`${nameOf(slice.table)} has ${countOf(Number(count), "row")}`];
    });

/** What the ledger has of a tenant. */
export type Known = Pick<LedgerRow, "node" | "detail">;

export async function readKnown({ session, group }: Context, tenant: string): Promise<Known | undefined> {
    const [row] = await session.query<Known>(
        "SELECT node, detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [group.name, tenant],
    );
    return row;
}

/**
 * What is there under a tenant's name: nothing, the tenant's own, or a database that a restore made and nothing came into.
 * @throws Error when it was not made for the tenant
 */
export async function findOwn(
    context: Context,
    tenant: string,
    node: string,
    known: Known | undefined,
): Promise<"none" | "own" | "made"> {
    const { group, session } = context;
    if (byKey(group.model)) return "own";
    const stranger = (what: string, rename: string) =>
        new Error(
            `${group.name}/${tenant}: there is a ${what} that was not made for it. It is left as it is. If it is somebody else's, rename it (${rename} RENAME TO …), then repeat this.`,
        );
    if (group.model === "schema") {
        const name = schemaOf(tenant);
        const [there] = await session.query<{ distributed: boolean }>(
            `SELECT EXISTS (SELECT FROM pg_dist_schema s WHERE s.schemaid = n.oid) AS distributed FROM pg_namespace n WHERE n.nspname = $1`,
            [name],
        );
        if (!there) return "none";
        if (!known) throw stranger(`schema ${name}`, `ALTER SCHEMA ${identifier(name)}`);
        if (there.distributed) return "own";
        throw new Error(
            `${group.name}/${tenant}: its schema is not distributed, so somebody may have made it in the place of the tenant's. It is left as it is.\n` +
                `If it is the tenant's: SELECT citus_schema_distribute(${literal(identifier(name))});\nIf not, rename it: ALTER SCHEMA ${identifier(name)} RENAME TO …; then repeat this.`,
        );
    }
    const name = databaseOf(tenant);
    const server = await context.open(node, "postgres");
    const [there] = await server.query<{ comment: string | null; limit: number }>(
        `SELECT shobj_description(oid, 'pg_database') AS comment, datconnlimit AS "limit" FROM pg_database WHERE datname = $1`,
        [name],
    );
    if (!there) return "none";
    if (!known) throw stranger(`database ${name} on ${node}`, `ALTER DATABASE ${identifier(name)}`);
    const refusal = explainForeign(group, { tenant, node, detail: known.detail }, there.comment);
    if (refusal === undefined) return "own";
    if (known.detail.restoring === true && there.comment === null && there.limit === 0) {
        const database = await context.open(node, name);
        try {
            if (await isEmpty(database)) return "made";
        } finally {
            await database.close();
        }
    }
    throw new Error(`${refusal}\nIt is left as it is. If it is somebody else's, rename it, then repeat this.`);
}

/** What there is of the tenant, besides the row that the program gives it and what its template made. */
export async function dataOf(context: Context, tenant: string, node: string): Promise<string[]> {
    const { group } = context;
    const { session, slices } = await placeOf(context, group, tenant, node);
    const rows = rowsTold(slices, await printTenant(session, slices));
    if (group.model !== "database") return rows;
    const [large] = await session.query<{ count: string }>(
        "SELECT count(*)::text AS count FROM pg_largeobject_metadata",
    );
    return large === undefined || large.count === "0"
        ? rows
        : [...rows, `pg_largeobject has ${large.count} large objects`];
}
