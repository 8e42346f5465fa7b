/** A tenant's schema or database dropped, when it is as it should be. */
import type { Context } from "../../tenants/facet.ts";
import { databaseOf, type Slice, schemaOf } from "../../tenants/shape.ts";
import { identifier } from "../quote.ts";
import type { Session } from "../session.ts";
import { everything, inTransaction, nameOf, type Prints, printSlices, printTenant } from "./checksum.ts";
import { placeOf } from "./place.ts";
import { settingsFor } from "./template.ts";

/** Whether there is a database of the tenant's name on the node. */
export async function hasDatabase(context: Context, tenant: string, node: string): Promise<boolean> {
    const server = await context.open(node, "postgres");
    const [there] = await server.query("SELECT FROM pg_database WHERE datname = $1", [databaseOf(tenant)]);
    return there !== undefined;
}

/** Objects of others that would go with a tenant's schema: no export of it has them. */
async function outside(session: Session, schema: string): Promise<string[]> {
    const rows = await session.query<{ what: string }>(
        `SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) AS what
           FROM pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) i,
                pg_identify_object_as_address(d.classid, d.objid, d.objsubid) a
          WHERE d.deptype = 'n' AND coalesce(i.schema, quote_ident(a.object_names[1])) <> quote_ident($1)
            AND (d.refclassid, d.refobjid) IN (
                SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident($1))
                UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident($1))
                UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident($1)))
          ORDER BY 1`,
        [schema],
    );
    return rows.map(({ what }) => what);
}

async function dropSchema(context: Context, tenant: string, compare: Compare, ledger: string): Promise<string[]> {
    const { group, session } = context;
    const name = schemaOf(tenant);
    const { slices } = await placeOf(context, group, tenant);
    return inTransaction(session, async () => {
        await session.query(`${settingsFor("public", group.lockTimeout)}\nSET LOCAL client_min_messages = warning;`);
        if (slices.length > 0)
            await session.query(
                `LOCK TABLE ${slices.map(({ table }) => nameOf(table)).join(", ")} IN ACCESS EXCLUSIVE MODE`,
            );
        const told = compare(slices, await printSlices(session, everything(slices)));
        if (told.length > 0) return told;
        const others = await outside(session, name);
        if (others.length > 0)
            throw new Error(
                `${group.name}/${tenant}: with its schema would go what is not in it, and in no export of it: ${others.join(", ")}.\n` +
                    "Nothing was dropped. Drop that yourself, or take it off the schema, then repeat this.",
            );
        await session.query(`DROP SCHEMA IF EXISTS ${identifier(name)} CASCADE`);
        if (ledger) await session.query(ledger);
        return [];
    });
}

async function dropDatabase(
    context: Context,
    tenant: string,
    node: string,
    compare: Compare,
    ledger: string,
): Promise<string[]> {
    if (!(await hasDatabase(context, tenant, node))) return [];
    const name = databaseOf(tenant);
    const server = await context.open(node, "postgres");
    const [was] = await server.query<{ limit: number }>(
        "SELECT datconnlimit AS limit FROM pg_database WHERE datname = $1",
        [name],
    );
    const limit = (n: number) => server.query(`ALTER DATABASE ${identifier(name)} CONNECTION LIMIT ${n}`);
    await limit(0);
    let told: string[];
    try {
        await server.query(
            `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
              WHERE datname = $1 AND NOT rolsuper`,
            [name],
        );
        const { session: own, slices } = await placeOf(context, context.group, tenant);
        told = compare(slices, await printTenant(own, slices));
        await own.close();
    } catch (error) {
        await limit(was?.limit ?? -1);
        throw error;
    }
    if (told.length > 0) {
        await limit(was?.limit ?? -1);
        return told;
    }
    if (ledger) await context.session.query(ledger);
    await server.query(`DROP DATABASE ${identifier(name)} WITH (FORCE)`);
    return [];
}

/** What is not as it should be. */
export type Compare = (slices: readonly Slice[], prints: Prints) => string[];

/**
 * Drops a tenant's schema or database, if it is as it should be while nobody writes to it.
 * @param ledger SQL that is run with it; in model database, where it can't be in one transaction, right before
 * @returns what is not as it should be; all is as it was then
 */
export const dropWhole = (context: Context, tenant: string, node: string, compare: Compare, ledger = "") =>
    context.group.model === "schema"
        ? dropSchema(context, tenant, compare, ledger)
        : dropDatabase(context, tenant, node, compare, ledger);
