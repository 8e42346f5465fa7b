/** Roles that a group has beside its application's and its tenants', one by one: how each is, and what makes it so. */

import { given } from "../../sql/given.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { askAlone } from "../group/ask.ts";
import { transaction } from "../group/batch.ts";
import type { Ask, Context } from "../group/facet.ts";
import { foreignRole, ownComment } from "./groupRoles.ts";
import { commentOf, secretOf } from "./roles.ts";

export interface WantedRole {
    readonly name: string;
    /** Whether it is let in with a password. The others log in from node to node only, by the nodes' certificates. */
    readonly password: boolean;
    readonly bypassesPolicies: boolean;
    readonly settings: Readonly<Record<string, string>>;
}

export interface FoundRole {
    readonly login: boolean;
    readonly bypass: boolean;
    /** Superuser, or another right that it should not have. */
    readonly elevated: boolean;
    /** md5 of the password's verifier, its beginning; null when there is no password. */
    readonly secret: string | null;
    readonly comment: string | null;
    readonly settings: readonly string[];
    /** Hosts on which it is not as on the coordinator. */
    readonly differing: readonly string[];
}

const LINE = (role: string) =>
    `SELECT concat_ws('|', a.rolcanlogin, a.rolsuper, a.rolbypassrls, a.rolconnlimit, md5(a.rolpassword),
            (SELECT string_agg(s, ',' ORDER BY s) FROM pg_db_role_setting d, unnest(d.setconfig) s WHERE d.setrole = a.oid AND d.setdatabase = 0)) AS line
       FROM pg_authid a WHERE a.rolname = ${given(role)}`;

/** SQL expression of type jsonb: how it is, or null. */
export const roleSql = (role: string, ask: Ask = askAlone) => `(
    SELECT jsonb_build_object('login', a.rolcanlogin, 'bypass', a.rolbypassrls,
           'elevated', a.rolsuper OR a.rolcreaterole OR a.rolcreatedb OR a.rolreplication,
           'secret', left(md5(a.rolpassword), 8), 'comment', shobj_description(a.oid, 'pg_authid'),
           'settings', coalesce((SELECT jsonb_agg(s ORDER BY s) FROM pg_db_role_setting d, unnest(d.setconfig) s WHERE d.setrole = a.oid AND d.setdatabase = 0), '[]'),
           'differing', coalesce((SELECT jsonb_agg(n.nodename ORDER BY n.nodename)
                                    FROM ${ask(LINE(role))} r JOIN pg_dist_node n USING (nodeid)
                                   WHERE r.success AND r.result IS DISTINCT FROM (SELECT l.line FROM (${LINE(role)}) l)), '[]'))
      FROM pg_authid a WHERE a.rolname = ${given(role)})`;

/** Whether the group made it. */
export const isOwn = (group: string, role: FoundRole) => role.comment?.startsWith(ownComment(group)) === true;

/** Whether nobody can get in by it. Memberships are refused for all roles of a group (isolation.ts). */
export const isShut = (role: FoundRole) => !role.login && !role.bypass && role.secret === null;

/** Why it is not taken, where somebody else made it. */
export const refuseForeign = (group: string, name: string, role: FoundRole, instead: string) =>
    foreignRole(group, `group ${group}`, name, role.comment, instead);

/** What of it is not as it should be, for a person; empty when nothing is. @param mark of the passwords' seed */
export function differences(group: string, wanted: WantedRole, found: FoundRole, mark: string): string[] {
    const comment = wanted.password ? commentOf(group, mark, found.secret ?? "") : ownComment(group);
    const settings = Object.entries(wanted.settings).map(([name, value]) => `${name}=${value}`);
    return [
        ...(found.login ? [] : ["login"]),
        ...(found.bypass === wanted.bypassesPolicies
            ? []
            : [wanted.bypassesPolicies ? "reads past policies" : "bound by policies"]),
        ...(found.elevated ? ["rights of an administrator taken away"] : []),
        ...(wanted.password ? [] : found.secret === null ? [] : ["no password"]),
        ...(found.comment === comment || (!wanted.password && found.comment?.startsWith(comment)) ? [] : ["password"]),
        ...(settings.every((setting) => found.settings.includes(setting)) ? [] : ["settings"]),
        ...found.differing.map((host) => `not the same on ${host}`),
    ];
}

/** Makes it, or makes it what it should be: all of it, whether it was so or not. Safe to repeat. */
export async function setRole(context: Context, wanted: WantedRole, found: FoundRole | null): Promise<void> {
    const name = identifier(wanted.name);
    const { verifier, mark } = context.verifier(wanted.name);
    const password = wanted.password ? literal(verifier) : "NULL";
    const comment = wanted.password
        ? commentOf(context.group.name, mark, secretOf(verifier))
        : ownComment(context.group.name);
    await transaction(
        context.session,
        [
            `${found ? "ALTER" : "CREATE"} ROLE ${name} NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION ${wanted.bypassesPolicies ? "BYPASSRLS" : "NOBYPASSRLS"} LOGIN PASSWORD ${password}`,
            ...Object.entries(wanted.settings).map(
                ([setting, value]) => `ALTER ROLE ${name} SET ${setting} = ${literal(value)}`,
            ),
            `COMMENT ON ROLE ${name} IS ${literal(comment)}`,
        ]
            .map((statement) => `${statement};`)
            .join("\n"),
    );
}

/** Nobody gets in by it any more. Safe to repeat. */
export const shutRole = (context: Context, role: string) =>
    context.session.query(`ALTER ROLE ${identifier(role)} NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOLOGIN PASSWORD NULL`);
