/** L11, L12: what nobody is told of: copies that differ, rows that are lost or shown. */
import { clockDefault } from "../../../citus/guards.ts";
import { type Finding, finding, type Rule } from "../read/finding.ts";
import { isCitus, keyOf, name, nameOf, type Table } from "../read/model.ts";

/** A default that is the same on every copy: worked out once, and written by one statement. */
function filled(table: Table, column: string, type: string, call: string, added: boolean): string {
    const to = nameOf(table);
    const of = name(column);
    const keys = table.keys.find(({ kind }) => kind === "primary")?.parts.flatMap((part) => part.column ?? []) ?? [];
    const copy = name(`${table.name}_${column}_fill`);
    const own = table.schema === "public" ? copy : `${name(table.schema)}.${copy}`;
    const begin = added ? `ALTER TABLE ${to} ADD COLUMN ${of} ${type}; ` : "";
    if (keys.length === 0) return `${begin}-- then a value for each row, written by you: the table has no primary key`;
    const match = keys.map((key) => `${to}.${name(key)} = ${own}.${name(key)}`).join(" AND ");
    return `${begin}CREATE TABLE ${own} AS SELECT ${keys.map(name).join(", ")}, ${call} AS ${of} FROM ${to}; SELECT create_reference_table('${own}'); UPDATE ${to} SET ${of} = ${own}.${of} FROM ${own} WHERE ${match}; DROP TABLE ${own};${
        added ? ` ALTER TABLE ${to} ALTER COLUMN ${of} SET DEFAULT ${call};` : ""
    }`;
}

/** L11: a reference table whose copies differ. */
export const copiesApart: Rule = ({ tables, changes }) => {
    const found: Finding[] = [];
    for (const { what, table: key, column = "", detail = "", sure, place } of changes) {
        const table = tables.get(key);
        if (what !== "default" || table?.kind !== "reference" || table.columns.get(column)?.clock) continue;
        const call = /^[A-Z]/.test(detail) ? detail : `${detail}()`;
        const type = table.columns.get(column)?.type ?? "text";
        found.push(
            finding("L11", sure ? "error" : "warning", place, {
                says: `every node computes ${call} of ${nameOf(table)}.${column} for itself, so the copies of the reference table differ from then on`,
                later: "no error: the same row has another value on each node",
                fix: filled(table, column, type, call, true),
            }),
        );
    }
    for (const table of tables.values()) {
        if (table.kind !== "reference") continue;
        for (const { name: column, type, clock } of table.columns.values()) {
            if (!clock) continue;
            const differ = table.differing?.some((other) => other.column === column);
            const added = changes.find(
                (change) =>
                    change.what === "default" &&
                    change.column === column &&
                    change.table === keyOf(table.schema, table.name),
            );
            const steady = `ALTER TABLE ${nameOf(table)} ALTER COLUMN ${name(column)} SET DEFAULT now();`;
            found.push(
                finding("L11", "error", added?.place ?? clock, {
                    says: clockDefault(nameOf(table), column),
                    later: "no error: the same row has another value on each node",
                    fix: added
                        ? filled(table, column, type, "now()", true)
                        : differ
                          ? `${steady} ${filled(table, column, "", name(column), false)}`
                          : steady,
                }),
            );
        }
        for (const { column, call } of table.differing ?? []) {
            if (table.columns.get(column)?.clock) continue;
            found.push(
                finding("L11", "error", table.place, {
                    says: `copies of reference table ${nameOf(table)} differ in ${column}: each node computed its default for itself`,
                    later: "no error: the same row has another value on each node",
                    fix: filled(table, column, "", call, false),
                }),
            );
        }
    }
    return found;
};

/** L12: row security that Citus does not keep. */
export const rowSecurity: Rule = ({ tables, model }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        const rows = model === "rls" && table.column !== undefined;
        if (!isCitus(table) && !rows) continue;
        const to = nameOf(table);
        // on a table of the coordinator alone PostgreSQL keeps its word
        const severity = isCitus(table) ? "error" : "warning";
        const then = isCitus(table) ? "" : " once the group becomes model row";
        if (table.forced)
            found.push(
                finding("L12", severity, table.forced, {
                    says: `${to} has FORCE ROW LEVEL SECURITY: moved by an owner who can't bypass it, a shard arrives without the rows that its policies hide${then}`,
                    later: "no error: the rows are gone",
                    fix: `ALTER TABLE ${to} NO FORCE ROW LEVEL SECURITY;`,
                }),
            );
        for (const policy of table.policies) {
            const gone = `DROP POLICY ${name(policy.name)} ON ${to};`;
            if (!policy.permissive)
                found.push(
                    finding("L12", severity, policy.place, {
                        says: `policy ${policy.name} of ${to} is RESTRICTIVE and reaches the shards as a permissive one, so it shows rows that it should hide${then}; write its condition into the permissive policies, with AND`,
                        later: "no error: the rows are shown",
                        fix: gone,
                    }),
                );
            if (policy.subQuery)
                found.push(
                    finding("L12", severity, policy.place, {
                        says: `policy ${policy.name} of ${to} has a sub-query${then}; compare a column with a setting or with current_user`,
                        later: table.made
                            ? "unexpected non-SELECT command in SubLink"
                            : "Subqueries are not supported in policies on distributed tables",
                        fix: table.made ? `-- leave policy ${policy.name} out` : gone,
                    }),
                );
            const { setting } = policy;
            if (setting && (!setting.missingOk || !setting.emptyOk))
                found.push(
                    finding("L12", "error", policy.place, {
                        says: `policy ${policy.name} of ${to} reads ${setting.name} as if it were always set: ${
                            setting.missingOk
                                ? "after a transaction that set it, it is empty, and empty is no key"
                                : "a session without it fails"
                        }`,
                        later: setting.missingOk
                            ? "invalid input syntax for type"
                            : `unrecognized configuration parameter "${setting.name}"`,
                        fix: `ALTER POLICY ${name(policy.name)} ON ${to} USING (${name(table.column ?? "tenant")} = nullif(current_setting('${setting.name}', true), '')::${
                            table.columns.get(table.column ?? "")?.type ?? "bigint"
                        });`,
                    }),
                );
        }
        const slow = table.column;
        if (
            (rows || table.policies.length > 0) &&
            slow !== undefined &&
            table.columns.has(slow) &&
            !table.leading.has(slow)
        )
            found.push(
                finding("L12", "warning", table.place, {
                    says: `no index of ${to} begins with ${slow}, by which policies choose rows: every query reads the whole table`,
                    later: "no error: about 800 times slower at 200,000 rows",
                    fix: `CREATE INDEX ON ${to} (${name(slow)});`,
                }),
            );
    }
    return found;
};
