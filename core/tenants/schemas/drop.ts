/** A tenant's schema or database dropped, when it is as it should be. */

import type { Session } from "../../reach/session.ts";
import { identifier } from "../../sql/quote.ts";
import { allColumns, inTransaction, nameOf, type Prints, printSlices, printTenant } from "../data/checksum.ts";
import { databaseOf, type Slice, schemaOf } from "../data/shape.ts";
import { placeOf } from "../data/tenantTables.ts";
import { settingsFor } from "../files/template.ts";
import type { Context } from "../group/facet.ts";

/**
 * SQL for what goes with a schema and is not in it: dependents, however far, of every object in it, and extensions that
 * have one as a member. What has no schema of its own is where its table, or its operator family, is.
 * @param schema SQL expression for its name
 */
export const outsideSql = (schema: string) => `
WITH RECURSIVE gone (classid, objid, objsubid, inside) AS (
    SELECT 'pg_namespace'::regclass::oid, to_regnamespace(quote_ident(${schema}))::oid, 0, true
    UNION
    SELECT d.classid, d.objid, d.objsubid,
           d.part OR d.classid = 'pg_default_acl'::regclass OR coalesce(
               i.schema IN (quote_ident(${schema}), 'pg_toast'),
               CASE WHEN d.classid IN ('pg_amop'::regclass, 'pg_amproc'::regclass) THEN a.object_names[2] = ${schema}
                    WHEN d.classid IN ('pg_attrdef'::regclass, 'pg_trigger'::regclass, 'pg_rewrite'::regclass, 'pg_policy'::regclass,
                                       'pg_publication_rel'::regclass, 'pg_publication_namespace'::regclass) THEN a.object_names[1] = ${schema}
                    ELSE false END)
      FROM gone g
     CROSS JOIN LATERAL (
           SELECT classid, objid, objsubid, deptype = 'i' AS part FROM pg_depend WHERE refclassid = g.classid AND refobjid = g.objid
           UNION ALL
           SELECT refclassid, refobjid, refobjsubid, false FROM pg_depend WHERE classid = g.classid AND objid = g.objid AND deptype = 'e') d
     CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
     CROSS JOIN LATERAL pg_identify_object_as_address(d.classid, d.objid, d.objsubid) a
     WHERE g.inside)
SELECT pg_describe_object(classid, objid, objsubid) AS what FROM gone GROUP BY classid, objid, objsubid HAVING NOT bool_or(inside) ORDER BY 1`;

/** Objects of others that would go with a tenant's schema: no export of it has them. */
async function outside(session: Session, schema: string): Promise<string[]> {
    const rows = await session.query<{ what: string }>(outsideSql("$1::text"), [schema]);
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
        const told = compare(slices, await printSlices(session, allColumns(slices)));
        if (told.length > 0) return told;
        const others = await outside(session, name);
        if (others.length > 0)
            throw new Error(
                `${group.name}/${tenant}: dropping its schema would also drop what is outside it and in no export: ${others.join(", ")}.\n` +
                    "Nothing was dropped. Drop that yourself, or change it so that it does not use the schema, then repeat this.",
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
    const name = databaseOf(tenant);
    const server = await context.open(node, "postgres");
    const [was] = await server.query<{ limit: number }>(
        "SELECT datconnlimit AS limit FROM pg_database WHERE datname = $1",
        [name],
    );
    if (!was) return [];
    const limit = (n: number) => server.query(`ALTER DATABASE ${identifier(name)} CONNECTION LIMIT ${n}`);
    await limit(0);
    let told: string[];
    try {
        await server.query(
            `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
              WHERE datname = $1 AND NOT rolsuper`,
            [name],
        );
        const { session: own, slices } = await placeOf(context, context.group, tenant, node);
        told = compare(slices, await printTenant(own, slices));
        await own.close();
    } catch (error) {
        const closed = await limit(was.limit).then(
            () => undefined,
            (e: Error) => e.message,
        );
        if (closed === undefined) throw error;
        throw new Error(
            `${(error as Error).message}\nNothing was dropped, and database ${name} on ${node} still takes no connections: ${closed}\n` +
                `To open it again: ALTER DATABASE ${identifier(name)} CONNECTION LIMIT ${was.limit};`,
        );
    }
    if (told.length > 0) {
        await limit(was.limit);
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
