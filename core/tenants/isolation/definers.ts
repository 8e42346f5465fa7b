/**
 * SECURITY DEFINER functions whose names a caller can give another meaning. Everybody may make temporary tables, and PostgreSQL looks
 * for a table there first. Such a function then writes to the caller's table, and that table's defaults run as the function's
 * owner, who is a superuser. So each gets a search_path in which temporary tables come last.
 */

import { given } from "../../sql/given.ts";
import { identifier } from "../../sql/quote.ts";
import type { GroupSpec } from "../group/spec.ts";
import { OPEN, PIN } from "../ledger/searchPath.ts";

/** A function that is open in this way. */
export interface Definer {
    /** Whose schema it is in; null for one outside the schemas of the group's tenants. */
    readonly tenant: string | null;
    /** With its schema and arguments, as SQL has it. */
    readonly object: string;
    readonly owner: string;
    /** Roles of the group that can call it; `PUBLIC` stands for everybody. */
    readonly who: readonly string[];
    /** What closes it. */
    readonly sql: string;
}

/**
 * SQL expression (jsonb, a list of {@link Definer}): those that a role of the group can call.
 * @param ledger whether the ledger is there
 */
export const definersSql = ({ name }: Pick<GroupSpec, "name">, ledger: boolean) => {
    const owned = ledger
        ? `(SELECT t.tenant FROM citus_as_code.tenant t WHERE t.grp = ${given(name)} AND t.model = 'schema' AND t.tenant = n.nspname)`
        : "NULL::text";
    return `(SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.object), '[]') FROM (
        SELECT ${owned} AS tenant, p.oid::regprocedure::text AS object, o.rolname AS owner, w.who, ${PIN} AS sql
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner,
               LATERAL (SELECT jsonb_agg(DISTINCT coalesce(r.rolname, 'PUBLIC')) AS who
                          FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x LEFT JOIN pg_roles r ON r.oid = x.grantee
                         WHERE x.privilege_type = 'EXECUTE' AND x.grantee <> p.proowner
                           AND (x.grantee = 0 OR starts_with(r.rolname, ${given(`${name}_`)}) AND starts_with(shobj_description(r.oid, 'pg_authid'), ${given(`citus_as_code ${name} `)}))) w
         WHERE ${OPEN} AND n.nspname !~ '^(pg_.*|information_schema|citus.*|columnar.*)$' AND w.who IS NOT NULL
           AND EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) u LEFT JOIN pg_roles m ON m.oid = u.grantee
                        WHERE u.privilege_type = 'USAGE' AND (u.grantee = 0 OR starts_with(m.rolname, ${given(`${name}_`)})))) d)`;
};

/** Those that a step closes, by tenant, and those that a person has to. Pure. */
export function planDefiners(found: readonly Definer[]) {
    const own = new Map<string, Definer[]>();
    const refusals: string[] = [];
    for (const one of found) {
        if (one.tenant !== null) {
            own.set(one.tenant, [...(own.get(one.tenant) ?? []), one]);
            continue;
        }
        const who = one.who.map((name) => (name === "PUBLIC" ? name : identifier(name))).join(", ");
        refusals.push(
            `function ${one.object} is SECURITY DEFINER, its search_path does not end with pg_temp, and ${one.who.join(", ")} can call it: a caller's temporary table takes the place of one that it names, and what that table computes runs as ${one.owner}.\n${one.sql}; or REVOKE EXECUTE ON ROUTINE ${one.object} FROM ${who};`,
        );
    }
    return { own, refusals };
}
