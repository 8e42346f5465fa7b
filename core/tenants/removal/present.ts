/** What there is of a tenant, and whether it is the tenant's. */

import { identifier, literal, qualified } from "../../sql/quote.ts";
import { databaseOf } from "../data/shape.ts";
import { explainForeign, INVALID, isBegun, isEmpty } from "../databases/databaseFound.ts";
import { ownComment } from "../roles/groupRoles.ts";
import { type Leaving, rowOf } from "./leaving.ts";
import { tenantTables } from "./removalPlan.ts";

/** Its role, when that is there and this group's own. */
export async function ownRole({ context, role }: Leaving): Promise<string | undefined> {
    if (role === undefined) return undefined;
    const [row] = await context.session.query<{ own: boolean }>(
        "SELECT starts_with(shobj_description(oid, 'pg_authid'), $2) AS own FROM pg_authid WHERE rolname = $1",
        [role, ownComment(context.group.name)],
    );
    return row?.own === true ? role : undefined;
}

/** @throws Error when it was deleted, and somebody made another of its name */
export async function hasSchema(leaving: Leaving): Promise<boolean> {
    const { context, tenant } = leaving;
    const [row] = await context.session.query<{ ok: boolean }>(
        "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL AS ok",
        [tenant],
    );
    if (!row?.ok) return false;
    const { state, detail } = await rowOf(leaving);
    if (state === "deleting" && detail.dropped)
        throw new Error(
            `its schema was deleted, and there is another of its name, which group ${context.group.name} did not make.\n` +
                "It is not deleted. Rename it, or drop it yourself if nobody needs it, then run pulumi up again.",
        );
    return true;
}

/** A server's own database, with no Citus in it: nothing is handed on to other nodes. */
export const serverOf = ({ context, node }: Leaving) => context.open(node, "postgres");

/** @throws Error when a database of its name is not the one that was made for it */
export async function findDatabase(leaving: Leaving): Promise<"none" | "whole" | "invalid"> {
    const { context, tenant, node } = leaving;
    const { group } = context;
    const server = await serverOf(leaving);
    const [there] = await server.query<{ comment: string | null; limit: number }>(
        `SELECT shobj_description(oid, 'pg_database') AS comment, datconnlimit AS "limit" FROM pg_database WHERE datname = $1`,
        [databaseOf(tenant)],
    );
    if (!there) return "none";
    const { state, detail } = await rowOf(leaving);
    const refusal = explainForeign(group, { tenant, node, detail }, there.comment);
    if (refusal === undefined) return there.limit === INVALID ? "invalid" : "whole";
    const was = state === "deleting" ? detail.was : state;
    if (there.comment === null && there.limit === 0 && was === "creating") {
        const database = await context.open(node, databaseOf(tenant));
        try {
            const { epoch = 0 } = detail;
            if ((await isEmpty(database)) || (await isBegun(database, group, { tenant, epoch }))) return "whole";
        } finally {
            await database.close();
        }
    }
    throw new Error(
        `${refusal}\nIt is not deleted, and is as it was. If it is somebody else's, rename it, then run pulumi up again.`,
    );
}

/** Rows of the tenant, by table. */
export async function countRows({ context, tenant }: Leaving): Promise<Readonly<Record<string, string>>> {
    const tables = tenantTables(context.group);
    const there = await context.session.query<{ name: string }>(
        "SELECT t.name FROM unnest($1::text[], $2::text[]) AS t (name, quoted) WHERE to_regclass(t.quoted) IS NOT NULL",
        [tables.map(({ table }) => table), tables.map(({ table }) => qualified(table))],
    );
    const counts: Record<string, string> = {};
    for (const { table, column } of tables.filter(({ table }) => there.some(({ name }) => name === table))) {
        const [row] = await context.session.query<{ count: string }>(
            `SELECT count(*)::text AS count FROM ${qualified(table)} WHERE ${identifier(column)} = ${literal(tenant)}`,
        );
        if (row && row.count !== "0") counts[table] = row.count;
    }
    return counts;
}

/** Whether there is anything of its data. */
export async function isThere(leaving: Leaving): Promise<boolean> {
    const { model } = leaving.context.group;
    if (model === "schema") return hasSchema(leaving);
    if (model === "database") return (await findDatabase(leaving)) !== "none";
    return Object.keys(await countRows(leaving)).length > 0;
}
