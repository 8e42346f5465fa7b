/** Memberships of a group's roles that this project did not make, on every node, and owners that are such roles. */

import { perPlacement } from "../../citus/guards.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { askAlone } from "../group/ask.ts";
import type { Probe } from "../group/facet.ts";
import { appRole, type GroupSpec, tenantsRole } from "../group/spec.ts";
import { ownComment } from "./groupRoles.ts";

export interface NodeAnswer {
    /** Host in pg_dist_node. */
    readonly name: string;
    /** What it said instead of an answer. */
    readonly failed: string | null;
    /** Member and role. */
    readonly members: readonly (readonly [member: string, role: string])[];
    /** Relation and owner, where that is a role of the group. */
    readonly owned: readonly (readonly [relation: string, owner: string])[];
}

/** SQL, run on each node: one JSON object. */
function question(group: GroupSpec, tables: readonly string[]): string {
    const [app, tenants] = [appRole(group.name), tenantsRole(group.name)].map(literal);
    const ours = (role: string) =>
        `(${role}.rolname IN (${app}, ${tenants}) OR starts_with(${role}.rolname, ${literal(`${group.name}_`)}) AND starts_with(shobj_description(${role}.oid, 'pg_authid'), ${literal(ownComment(group.name))}))`;
    const placed =
        group.model === "schema"
            ? `SELECT c.oid::regclass::text AS relation, c.relowner FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
                UNION ALL SELECT 'schema ' || n.nspname, n.nspowner FROM pg_namespace n`
            : group.model === "database"
              ? "SELECT 'database ' || d.datname AS relation, d.datdba AS relowner FROM pg_database d"
              : `SELECT DISTINCT r.name AS relation, c.relowner FROM (${perPlacement(tables)}) r JOIN pg_class c ON c.oid = r.oid`;
    return `SELECT jsonb_build_object(
        'members', (SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_array(m.rolname, g.rolname)), '[]') FROM pg_auth_members a
            JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
            WHERE ${ours("m")} AND NOT (g.rolname = ${tenants} AND m.rolname NOT IN (${app}, ${tenants}))
               OR g.rolname = ${tenants} AND NOT ${ours("m")}),
        'owned', (SELECT coalesce(jsonb_agg(jsonb_build_array(p.relation, o.rolname)), '[]') FROM (${placed}) p JOIN pg_roles o ON o.oid = p.relowner WHERE ${ours("o")}))`;
}

/** SQL expression (jsonb, a list of {@link NodeAnswer}); a node that could not be asked is in it with what it said. */
export const membershipsSql = (group: GroupSpec, { tables, ask = askAlone }: Pick<Probe, "tables" | "ask">) =>
    `(SELECT coalesce(jsonb_agg(jsonb_build_object('name', n.nodename, 'failed', CASE WHEN r.success THEN NULL ELSE coalesce(r.result, 'no answer') END)
        || CASE WHEN r.success THEN r.result::jsonb ELSE '{"members": [], "owned": []}' END ORDER BY n.nodename), '[]')
       FROM ${ask(question(group, tables))} r JOIN pg_dist_node n USING (nodeid))`;

const hostsOf = (hosts: ReadonlySet<string>, nodes: readonly NodeAnswer[]) =>
    hosts.size === nodes.length ? "" : ` on ${[...hosts].sort().join(", ")}`;

function collected(nodes: readonly NodeAnswer[], of: (node: NodeAnswer) => readonly (readonly [string, string])[]) {
    const found = new Map<string, { pair: readonly [string, string]; hosts: Set<string> }>();
    for (const node of nodes)
        for (const pair of of(node)) {
            const key = pair.join("\0");
            const one = found.get(key) ?? { pair, hosts: new Set<string>() };
            one.hosts.add(node.name);
            found.set(key, one);
        }
    return [...found.values()];
}

/** Why they stand in the way, each with the SQL that mends it. Pure. */
export function refuseMemberships(group: GroupSpec, nodes: readonly NodeAnswer[]): string[] {
    const tenants = tenantsRole(group.name);
    const members = collected(nodes, (node) => node.members).map(({ pair: [member, role], hosts }) => {
        const where = hostsOf(hosts, nodes);
        const here =
            hosts.size === nodes.length ? "" : ` Run it on that node, after SET citus.enable_ddl_propagation = off.`;
        return role === tenants && member !== appRole(group.name) && member !== tenants
            ? `role ${member} was made a member of ${tenants} by hand${where}: it has the rights of every tenant's role.\nREVOKE ${identifier(role)} FROM ${identifier(member)};${here}`
            : `role ${member} is a member of ${role}${where}, which this project did not make it: what ${role} may do, tenants may.\nREVOKE ${identifier(role)} FROM ${identifier(member)};${here}`;
    });
    const owned = collected(nodes, (node) => node.owned).map(({ pair: [relation, owner], hosts }) => {
        const kind = /^(schema|database) /.exec(relation)?.[1];
        const what =
            kind === undefined
                ? `TABLE ${relation}`
                : `${kind.toUpperCase()} ${identifier(relation.slice(kind.length + 1))}`;
        return `${relation} is owned by ${owner}${hostsOf(hosts, nodes)}, a role of the group: an owner can do everything with it, whatever its state and its policies.\nALTER ${what} OWNER TO CURRENT_USER;`;
    });
    return [...members, ...owned];
}
