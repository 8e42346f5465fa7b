/** Rights by which a tenant's role would write although the tenant does not: of everybody, or of roles that it belongs to. */
import { given } from "../../sql/given.ts";

/** What takes one of them away. */
export interface Opening {
    readonly tenant: string;
    /** For a person: `INSERT on visits from PUBLIC`. */
    readonly what: string;
    readonly sql: string;
    /** What gives it back to a tenant that writes again; only for functions, whose rights are in no other place. */
    readonly back: string | null;
}

const WRITES = "'INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER','MAINTAIN'";

/**
 * SQL query (tenant, what, sql, back), run in the database whose schemas these are.
 * @param places SQL query (tenant, nsp, role): schemas, and the role that is not to write there
 */
export const openingsSql = (places: string) => `
    WITH p AS MATERIALIZED (SELECT x.tenant, n.oid AS nsp, n.nspname, n.nspacl, r.oid AS role, r.rolname
                              FROM (${places}) x JOIN pg_namespace n ON n.nspname = x.nsp JOIN pg_roles r ON r.rolname = x.role),
    who AS MATERIALIZED (SELECT p.role, r.oid, quote_ident(r.rolname) AS name FROM (SELECT DISTINCT p.role FROM p) p JOIN pg_roles r ON r.oid <> p.role AND pg_has_role(p.role, r.oid, 'USAGE')
                         UNION ALL SELECT DISTINCT p.role, 0::oid, 'PUBLIC' FROM p)
    SELECT p.tenant, format('%s on %I from %s', x.privilege_type, c.relname, w.name) AS what,
           format('REVOKE %s ON %s %I.%I FROM %s', x.privilege_type, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, p.nspname, c.relname, w.name) AS sql, NULL::text AS back
      FROM p JOIN pg_class c ON c.relnamespace = p.nsp, aclexplode(c.relacl) x JOIN who w ON w.oid = x.grantee
     WHERE w.role = p.role AND (c.relkind IN ('r', 'p', 'v', 'm', 'f') AND x.privilege_type IN (${WRITES}) OR c.relkind = 'S' AND x.privilege_type IN ('USAGE', 'UPDATE'))
    UNION ALL
    SELECT p.tenant, format('%s of %I.%I from %s', x.privilege_type, c.relname, a.attname, w.name),
           format('REVOKE %s (%I) ON %I.%I FROM %s', x.privilege_type, a.attname, p.nspname, c.relname, w.name), NULL
      FROM p JOIN pg_class c ON c.relnamespace = p.nsp JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL, aclexplode(a.attacl) x
      JOIN (SELECT * FROM who UNION ALL SELECT r.oid, r.oid, quote_ident(r.rolname) FROM pg_roles r JOIN p ON p.role = r.oid) w ON w.oid = x.grantee
     WHERE w.role = p.role AND x.privilege_type IN ('INSERT', 'UPDATE', 'REFERENCES')
    UNION ALL
    SELECT p.tenant, format('CREATE on its schema from %s', w.name), format('REVOKE CREATE ON SCHEMA %I FROM %s', p.nspname, w.name), NULL
      FROM p, aclexplode(p.nspacl) x JOIN who w ON w.oid = x.grantee WHERE w.role = p.role AND x.privilege_type = 'CREATE'
    UNION ALL
    SELECT p.tenant, format('EXECUTE on the SECURITY DEFINER function %I from %s', f.proname, w.name),
           format('REVOKE EXECUTE ON ROUTINE %s FROM %s', f.oid::regprocedure, w.name), format('GRANT EXECUTE ON ROUTINE %s TO %s', f.oid::regprocedure, w.name)
      FROM p JOIN pg_proc f ON f.pronamespace = p.nsp AND f.prosecdef, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) x
      JOIN (SELECT * FROM who UNION ALL SELECT r.oid, r.oid, quote_ident(r.rolname) FROM pg_roles r JOIN p ON p.role = r.oid) w ON w.oid = x.grantee
     WHERE w.role = p.role AND x.privilege_type = 'EXECUTE'`;

/** SQL query for {@link openingsSql}. */
export const placesOf = (
    places: readonly { readonly tenant: string; readonly nsp: string; readonly role: string }[],
) =>
    places.length === 0
        ? "SELECT NULL::text AS tenant, NULL::text AS nsp, NULL::text AS role WHERE false"
        : `SELECT v.* FROM (VALUES ${places.map(({ tenant, nsp, role }) => `(${[tenant, nsp, role].map(given).join(", ")})`).join(", ")}) AS v (tenant, nsp, role)`;
