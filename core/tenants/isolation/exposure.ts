/** What passes the policies of a group's tables by, in the living database: SQL of models row and rls. */

import { given } from "../../sql/given.ts";
import { identifier, qualified } from "../../sql/quote.ts";
import { appRole, type GroupSpec, tenantsRole } from "../group/spec.ts";
import { ownComment } from "../roles/groupRoles.ts";

/** Something that shows or changes rows of the group's tables and that no policy limits. */
export interface Exposed {
    /** `view`, `materialized view`, `rule`, `function`, `trigger function`, `undeclared`, `right`, `owner`. */
    readonly kind: string;
    /** The object with its schema, as SQL has it. */
    readonly object: string;
    /** Tables that it reads, or what of it is open. */
    readonly about: string;
    /** Who can use it; `PUBLIC` stands for everybody. */
    readonly who: readonly string[];
}

/** SQL: roles of a group, by their comments and names; a stranger who is a member of its tenants' role is none. */
const OWN_ROLES = (group: Pick<GroupSpec, "name">) => `SELECT a.oid, a.rolname::text AS name FROM pg_roles a
    WHERE a.rolname IN (${[appRole(group.name), tenantsRole(group.name)].map(given).join(", ")})
       OR starts_with(a.rolname, ${given(`${group.name}_`)}) AND starts_with(shobj_description(a.oid, 'pg_authid'), ${given(ownComment(group.name))})`;

const WRITES = "'INSERT','UPDATE','DELETE','TRUNCATE'";

/** Names of grantees of ours in an ACL, with some of these rights. @param acl SQL expression */
const granted = (acl: string, rights: string) => `(SELECT coalesce(jsonb_agg(DISTINCT coalesce(m.name, 'PUBLIC')), '[]')
    FROM aclexplode(${acl}) x LEFT JOIN mine m ON m.oid = x.grantee WHERE (x.grantee = 0 OR m.oid IS NOT NULL) AND x.privilege_type IN (${rights}))`;

/** The same of a relation and its columns. */
const grantedOn = (relation: string, rights: string) => `(SELECT coalesce(jsonb_agg(DISTINCT w), '[]') FROM (
    SELECT jsonb_array_elements(${granted(`${relation}.relacl`, rights)}) AS w
    UNION SELECT jsonb_array_elements(${granted("a.attacl", rights)}) FROM pg_attribute a WHERE a.attrelid = ${relation}.oid AND a.attacl IS NOT NULL) g)`;

export type ExposedGroup = Pick<GroupSpec, "name" | "tables" | "anchor" | "ignored">;

/** A table that is left alone on purpose. */
const ignored = ({ ignored = [] }: Pick<GroupSpec, "ignored">) =>
    ignored.length === 0
        ? ""
        : ` AND c.oid <> ALL (ARRAY[${ignored.map((table) => `coalesce(to_regclass(${given(qualified(table))})::oid, 0)`).join(", ")}])`;

const SYSTEM = "'^(pg_.*|information_schema|citus.*|columnar.*)$'";

/**
 * SQL expression (jsonb, a list of {@link Exposed}). A view, a rule and a SECURITY DEFINER function act as who owns them; their rows are
 * those of an owner whom no policy limits. What a function reads is known by the names in its text, and of dynamic SQL nothing is.
 * @param tables those of the group's that exist
 */
export function exposedSql(group: ExposedGroup, tables: readonly string[]): string {
    const there = tables.filter((name) => group.tables[name] !== undefined);
    if (there.length === 0) return "'[]'::jsonb";
    const values = there.map((name) => {
        const column = group.tables[name]?.column;
        const key = name === group.anchor ? undefined : column;
        return `(${given(name)}, ${given(qualified(name))}::regclass::oid, ${String(column !== undefined)}, ${key === undefined ? "NULL" : given(key)})`;
    });
    const free = `(o.rolsuper OR o.rolbypassrls OR EXISTS (SELECT FROM t JOIN pg_class b ON b.oid = t.oid WHERE t.rows AND pg_has_role(o.oid, b.relowner, 'USAGE')))`;
    const word = (text: string) => `regexp_replace(${text}, '([.*+?()|{}^$\\[\\]\\\\])', '\\\\\\1', 'g')`;
    return `(WITH RECURSIVE t AS MATERIALIZED (SELECT v.* FROM (VALUES ${values.join(", ")}) AS v (name, oid, rows, col)),
        mine AS MATERIALIZED (${OWN_ROLES(group)}),
        reads AS (
            SELECT w.ev_class AS oid, w.oid AS rule, t.name FROM t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
              JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND w.ev_class <> t.oid WHERE t.rows
            UNION
            SELECT w.ev_class, w.oid, r.name FROM reads r JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid
              JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND w.ev_class <> r.oid),
        names AS MATERIALIZED (
            SELECT CASE WHEN strpos(t.name, '.') > 0 THEN split_part(t.name, '.', 2) ELSE t.name END AS name FROM t WHERE t.rows
            UNION SELECT c.relname FROM reads r JOIN pg_class c ON c.oid = r.oid),
        definers AS MATERIALIZED (
            SELECT p.*, (SELECT string_agg(n.name, ', ' ORDER BY n.name) FROM names n WHERE p.prosrc ~* ('\\m' || ${word("n.name")} || '\\M')
                            OR EXISTS (SELECT FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid AND c.relname = n.name
                                        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass)) AS about
              FROM pg_proc p JOIN pg_roles o ON o.oid = p.proowner JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE p.prosecdef AND n.nspname !~ ${SYSTEM} AND ${free}
               AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')),
        found AS (
            SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'rule' END AS kind, c.oid::regclass::text AS object,
                   string_agg(DISTINCT r.name, ', ') AS about, ${grantedOn("c", `'SELECT',${WRITES}`)} AS who
              FROM reads r JOIN pg_class c ON c.oid = r.oid JOIN pg_roles o ON o.oid = c.relowner
             WHERE (c.relkind = 'm' OR ${free})
               AND NOT (c.relkind = 'v' AND EXISTS (SELECT FROM pg_options_to_table(c.reloptions) q WHERE q.option_name = 'security_invoker' AND q.option_value::boolean))
             GROUP BY c.oid, c.relkind, c.relacl
            UNION ALL
            SELECT 'function', p.oid::regprocedure::text, coalesce(p.about, 'what its dynamic SQL says'), ${granted("coalesce(p.proacl, acldefault('f', p.proowner))", "'EXECUTE'")}
              FROM definers p WHERE p.prorettype <> 'trigger'::regtype AND (p.about IS NOT NULL OR p.prosrc ~* '\\mexecute\\M')
            UNION ALL
            SELECT 'trigger function', p.oid::regprocedure::text, coalesce(p.about, 'what its dynamic SQL says'), jsonb_agg(DISTINCT c.oid::regclass::text)
              FROM definers p JOIN pg_trigger g ON g.tgfoid = p.oid AND NOT g.tgisinternal JOIN pg_class c ON c.oid = g.tgrelid
             WHERE (p.about IS NOT NULL OR p.prosrc ~* '\\mexecute\\M') AND jsonb_array_length(${grantedOn("c", WRITES)}) > 0 GROUP BY p.oid, p.about, p.prosrc
            UNION ALL
            SELECT 'undeclared', c.oid::regclass::text, c.attname, ${grantedOn("c", `'SELECT',${WRITES}`)}
              FROM (SELECT c.oid, c.relacl, a.attname
                      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
                     WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' AND n.nspname !~ ${SYSTEM} AND NOT c.relrowsecurity
                       AND (c.relacl IS NOT NULL OR EXISTS (SELECT FROM pg_attribute g WHERE g.attrelid = c.oid AND g.attacl IS NOT NULL))
                       AND NOT EXISTS (SELECT FROM t WHERE t.oid = c.oid)${ignored(group)}
                       AND (a.attname, a.atttypid) IN (SELECT k.attname, k.atttypid FROM t JOIN pg_attribute k ON k.attrelid = t.oid AND k.attname = t.col AND NOT k.attisdropped)
                    -- which asks for names, so only of the few that are left
                    OFFSET 0) c
             WHERE NOT relation_is_a_known_shard(c.oid)
            UNION ALL
            SELECT 'right', c.oid::regclass::text, x.privilege_type, jsonb_agg(DISTINCT coalesce(m.name, 'PUBLIC'))
              FROM t JOIN pg_class c ON c.oid = t.oid, aclexplode(c.relacl) x LEFT JOIN mine m ON m.oid = x.grantee
             WHERE (x.grantee = 0 OR m.oid IS NOT NULL) AND x.grantee <> c.relowner AND (x.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN')
                    OR NOT t.rows AND x.privilege_type IN (${WRITES}) AND (m.name IS NULL OR m.name NOT IN (${[appRole(group.name), tenantsRole(group.name)].map(given).join(", ")})))
             GROUP BY 2, 3
            UNION ALL
            SELECT 'owner', c.oid::regclass::text, o.rolname, jsonb_agg(DISTINCT m.name) FROM t JOIN pg_class c ON c.oid = t.oid JOIN pg_roles o ON o.oid = c.relowner
              JOIN mine m ON m.oid <> o.oid AND o.oid NOT IN (SELECT i.oid FROM mine i) AND NOT o.rolsuper AND pg_has_role(m.oid, o.oid, 'MEMBER') AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = m.oid)
             GROUP BY 2, 3)
        SELECT coalesce(jsonb_agg(to_jsonb(f) ORDER BY f.kind, f.object), '[]') FROM found f WHERE jsonb_array_length(f.who) > 0)`;
}

const list = (who: readonly string[]) => who.map((name) => (name === "PUBLIC" ? name : identifier(name))).join(", ");

/** Why such a thing stands in the way, and the SQL that mends it. Pure. */
export function explainExposed({ kind, object, about, who }: Exposed, model: GroupSpec["model"]): string {
    const open = who.join(", ");
    const revoke = (what: string, rights = "ALL") => `REVOKE ${rights} ON ${what} FROM ${list(who)};`;
    switch (kind) {
        case "view":
            return `view ${object} reads ${about} as its owner, whom no policy limits, and ${open} can use it: ${
                model === "row"
                    ? "only the policies of the shards keep tenants apart there, and in model rls nothing would"
                    : "it shows every tenant's rows"
            }.\nALTER VIEW ${object} SET (security_invoker = true); or ${revoke(object)}`;
        case "materialized view":
            return `materialized view ${object} holds rows of ${about} from every tenant, and ${open} can read it: no policy is asked there.\n${revoke(object)} or DROP MATERIALIZED VIEW ${object};`;
        case "rule":
            return `a rule on ${object} uses ${about} as the owner of ${object}, whom no policy limits, and ${open} can use ${object}.\n${revoke(object)} or drop the rule, and write a trigger instead.`;
        case "function":
            return `function ${object} is SECURITY DEFINER and uses ${about}, and ${open} can call it: it acts on every tenant's rows as its owner.\nALTER ROUTINE ${object} SECURITY INVOKER; or ${revoke(`ROUTINE ${object}`)}`;
        case "trigger function":
            return `function ${object} is SECURITY DEFINER, uses ${about}, and is run by a trigger of ${open}, which tenants write to: it acts on every tenant's rows as its owner.\nALTER ROUTINE ${object} SECURITY INVOKER;`;
        case "undeclared":
            return `${object} has the tenant column ${about} and is not in tables, so it has no policies, and ${open} can use it: every tenant's rows are open there.\nDeclare it in tables, or ${revoke(object)}`;
        case "right":
            return `${open} has ${about} on ${object}: ${about === "TRUNCATE" || about === "TRIGGER" || about === "REFERENCES" || about === "MAINTAIN" ? "no policy limits that right" : "it is shared by all tenants"}.\n${revoke(object, about)}`;
        default:
            return `${object} is owned by ${about}, which ${open} can become: no policy limits an owner.\nALTER TABLE ${object} OWNER TO CURRENT_USER; (npm run psql)`;
    }
}
