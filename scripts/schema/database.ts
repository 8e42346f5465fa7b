/** Roles, and what belongs to the database itself: settings, grants, owner, comment. */
import { type Catalog, isOwnRole, isServiceRole, literal, type Setting } from "./catalog.ts";

/** Splits SQL that has no dollar quotes, such as pg_dumpall's of roles, at its semicolons; comments and psql's commands go. */
export function statements(sql: string): string[] {
    const found: string[] = [];
    let current = "";
    for (const [token] of sql.matchAll(/'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|^\\[^\n]*|[^'"]/gm)) {
        if (token.startsWith("--") || token.startsWith("\\")) continue;
        current += token;
        if (token === ";") {
            found.push(current.trim());
            current = "";
        }
    }
    return found;
}

const NAME = '("(?:[^"]|"")*"|[^\\s";]+)';
const ABOUT = new RegExp(`^(?:CREATE ROLE|ALTER ROLE|COMMENT ON ROLE) ${NAME}`);
const MEMBER = new RegExp(`^GRANT ${NAME} TO ${NAME}`);

/** The roles without those that a fresh cluster has. */
export function roleStatements(sql: string): string[] {
    return statements(sql).filter((statement) => {
        const about = ABOUT.exec(statement)?.[1];
        if (about !== undefined) return !isOwnRole(about);
        const member = MEMBER.exec(statement);
        if (member) return ![member[1] ?? "", member[2] ?? ""].some(isServiceRole);
        return statement.startsWith("GRANT ");
    });
}

/** Takes out what is granted to roles that the file does not make, and the headings of what is empty then. */
export function withoutServiceGrants(sql: string): string {
    return sql
        .replace(
            /^(?:GRANT|REVOKE) [^'$\n]* (?:TO|FROM) (?:citus_restore_point|citus_shard_\w+)(?: WITH GRANT OPTION)?;\n/gm,
            "",
        )
        .replace(/^--\n-- Name: [^\n]*; Type: ACL; [^\n]*\n--\n\n+(?=--\n-- |\\unrestrict )/gm, "");
}

/** Settings whose value is a list of names that PostgreSQL keeps in quotes. */
const LISTS = new Set(["local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces"]);

/** The parts of a list as PostgreSQL keeps it: names in double quotes where they need it. */
function listItems(value: string): string[] {
    return [...value.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,"]+))\s*(?:,|$)/g)].map(([, quoted, plain]) =>
        quoted === undefined ? (plain ?? "").trim() : quoted.replaceAll('""', '"'),
    );
}

function settingStatement({ role, name, value }: Setting): string {
    const whose = role === null ? 'ALTER DATABASE :"DBNAME"' : `ALTER ROLE ${role} IN DATABASE :"DBNAME"`;
    // a name with a dot is an extension's, or the user's own
    const quoted = name
        .split(".")
        .map((part) => (/^[a-z_][a-z0-9_]*$/i.test(part) ? part : `"${part.replaceAll('"', '""')}"`))
        .join(".");
    const items = LISTS.has(name.toLowerCase()) ? listItems(value) : [value];
    return `${whose} SET ${quoted} TO ${items.length > 0 ? items.map(literal).join(", ") : "''"};`;
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Written for psql, which fills in the database that it is connected to, so that its name may be another. */
export function databaseStatements(catalog: Catalog): string[] {
    const { owner, comment, connections, granted } = catalog.database;
    const privileges = [...catalog.privileges]
        .filter(({ role }) => !isServiceRole(role))
        .sort((a, b) => compare(a.role, b.role) || compare(a.privilege, b.privilege));
    const settings = [...catalog.settings]
        .filter(({ role }) => role === null || !isOwnRole(role))
        .sort((a, b) => compare(a.role ?? "", b.role ?? "") || a.n - b.n);
    return [
        ...(owner === "postgres" ? [] : [`ALTER DATABASE :"DBNAME" OWNER TO ${owner};`]),
        ...(comment === null ? [] : [`COMMENT ON DATABASE :"DBNAME" IS ${literal(comment)};`]),
        ...(connections === -1 ? [] : [`ALTER DATABASE :"DBNAME" WITH CONNECTION LIMIT ${connections};`]),
        ...(granted ? [`REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC, ${owner};`] : []),
        ...privileges.map(
            ({ role, privilege, grantable }) =>
                `GRANT ${privilege} ON DATABASE :"DBNAME" TO ${role}${grantable && role !== owner ? " WITH GRANT OPTION" : ""};`,
        ),
        ...settings.map(settingStatement),
    ];
}
