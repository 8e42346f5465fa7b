/** What a tenant's role may do in its schema: the one place that grants and revokes. */

import { identifier, literal } from "../../sql/quote.ts";
import type { Context } from "../group/facet.ts";

/** `active` reads and writes, `frozen` reads, `fenced` sees nothing. */
export type Access = "active" | "frozen" | "fenced";

/** Statements that make a role's rights in a schema exactly those, whatever they were. Tables to come are in it. */
export const privileges = (schema: string, role: string, access: Access): string =>
    privilegeSql(identifier(schema), identifier(role), access)
        .map((statement) => `${statement};`)
        .join("\n");

/** The same, one by one. @param s schema as SQL. @param r role as SQL */
export function privilegeSql(s: string, r: string, access: Access): string[] {
    const future = `ALTER DEFAULT PRIVILEGES IN SCHEMA ${s}`;
    const writes = access === "active";
    const reads = access !== "fenced";
    return [
        `${reads ? "GRANT" : "REVOKE"} USAGE ON SCHEMA ${s} ${reads ? "TO" : "FROM"} ${r}`,
        `REVOKE CREATE ON SCHEMA ${s} FROM ${r}`,
        ...["TABLES", "SEQUENCES"].flatMap((what) => {
            const all = `ALL ${what} IN SCHEMA ${s}`;
            const [read, write, other] =
                what === "TABLES"
                    ? ["SELECT", "INSERT, UPDATE, DELETE", "TRUNCATE, REFERENCES, TRIGGER, MAINTAIN"]
                    : ["SELECT", "USAGE", "UPDATE"];
            const change = (rights: string, granted: boolean) =>
                granted
                    ? [`GRANT ${rights} ON ${all} TO ${r}`, `${future} GRANT ${rights} ON ${what} TO ${r}`]
                    : [`REVOKE ${rights} ON ${all} FROM ${r}`, `${future} REVOKE ${rights} ON ${what} FROM ${r}`];
            return [...change(read, reads), ...change(write, writes), ...change(other, false)];
        }),
    ];
}

/**
 * SQL query (tenant, access) for what each tenant's role may do in its schema by its own grants: `active`, `frozen`, `fenced`,
 * or `mixed`. Those without a schema or without a role are not in it.
 * @param tenants SQL query (tenant, role)
 */
export const accessOf = (tenants: string) => `
    SELECT tenant, CASE WHEN NOT usage AND NOT coalesce(bool_or(rights && '{INSERT,UPDATE,DELETE,TRUNCATE}'), false) THEN 'fenced'
                        WHEN NOT usage OR NOT coalesce(bool_and(rights @> '{SELECT}'), true) OR coalesce(bool_or(rights && '{TRUNCATE}'), false) THEN 'mixed'
                        WHEN count(rights) = 0 THEN 'any'
                        WHEN bool_and(rights @> '{INSERT,UPDATE,DELETE}') THEN 'active'
                        WHEN NOT bool_or(rights && '{INSERT,UPDATE,DELETE}') THEN 'frozen'
                        ELSE 'mixed' END AS access
      FROM (SELECT t.tenant, EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = r.oid AND a.privilege_type = 'USAGE') AS usage,
                   CASE WHEN c.oid IS NOT NULL THEN ARRAY(SELECT a.privilege_type FROM aclexplode(c.relacl) a WHERE a.grantee = r.oid) END AS rights
              FROM (${tenants}) t JOIN pg_namespace n ON n.nspname = t.tenant JOIN pg_roles r ON r.rolname = t.role
              LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')) x
     GROUP BY tenant, usage`;

/** Ends what a role still does, on every node, and warns of those that could not be asked; it may not log in again. */
export async function endSessions(context: Context, role: string): Promise<void> {
    const unasked = await context.session.query<{ node: string; why: string | null }>(
        `SELECT n.nodename AS node, r.result AS why
           FROM run_command_on_all_nodes(${literal(
               `SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = ${literal(role)} AND pid <> pg_backend_pid()`,
           )}) r RIGHT JOIN pg_dist_node n USING (nodeid) WHERE n.noderole = 'primary' AND r.success IS NOT TRUE ORDER BY 1`,
    );
    for (const { node, why } of unasked)
        context.warn(
            `${node} could not be asked to end the sessions of role ${role} (${why ?? "it is disabled"}): they may go on there. ` +
                `To end them, run on that node: SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ${literal(role)};`,
        );
}
