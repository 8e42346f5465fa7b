/** L19: what of a file reads a group's tables as its owner, whom no policy limits. */
import type { CreateFunctionStmt, DefElem, Node } from "libpg-query";
import { parse } from "libpg-query";
import { nodesIn, tableOf, texts } from "./ast.ts";
import type { Declared } from "./declared.ts";
import { type Finding, finding } from "./finding.ts";
import { keyOf, name, type SourcePlace } from "./model.ts";
import { Source, type SqlFile } from "./source.ts";

const LATER = "no error: every tenant's rows are shown";

/** An option such as security_invoker, which is on when nothing is said after it. */
function isOn(options: readonly Node[] | undefined, option: string): boolean | undefined {
    const found = (options ?? []).flatMap((node) =>
        "DefElem" in node && node.DefElem.defname === option ? [node.DefElem] : [],
    );
    const [one] = found;
    if (!one) return undefined;
    const { arg } = one;
    if (!arg) return true;
    if ("Boolean" in arg) return arg.Boolean.boolval === true;
    if ("Integer" in arg) return arg.Integer.ival === 1;
    return "String" in arg && /^(true|on|yes|1)$/i.test(arg.String.sval ?? "");
}

const elements = (nodes: readonly Node[] | undefined): DefElem[] =>
    (nodes ?? []).flatMap((node) => ("DefElem" in node ? [node.DefElem] : []));

function bodyOf(stmt: CreateFunctionStmt): string {
    const body = elements(stmt.options).find(({ defname }) => defname === "as")?.arg;
    return body && "List" in body ? texts(body.List.items).join("\n") : "";
}

class Passing {
    /** Tables with a tenant column, and what was made of them. */
    private readonly tables: Set<string>;
    private readonly found = new Map<string, Finding>();

    constructor({ tables = {} }: Declared) {
        this.tables = new Set(
            Object.entries(tables).flatMap(([table, { column }]) =>
                column === undefined ? [] : [table.includes(".") ? table : keyOf("public", table)],
            ),
        );
    }

    private readBy(value: unknown): string[] {
        const read = [...nodesIn(value)].flatMap(([tag, node]) => {
            if (tag !== "RangeVar") return [];
            const of = tableOf(node);
            const key = keyOf(of.schema ?? "public", of.name);
            return this.tables.has(key) ? [of.name] : [];
        });
        return [...new Set(read)];
    }

    private namedIn(text: string): string[] {
        const words = new Set(text.toLowerCase().match(/[\p{L}_][\p{L}\p{N}_$]*/gu) ?? []);
        return [...this.tables]
            .map((key) => key.slice(key.indexOf(".") + 1))
            .filter((table) => words.has(table.toLowerCase()));
    }

    one(stmt: Node, place: SourcePlace) {
        if ("ViewStmt" in stmt) {
            const { view, query, options } = stmt.ViewStmt;
            const of = tableOf(view);
            const key = keyOf(of.schema ?? "public", of.name);
            const read = this.readBy(query);
            if (read.length === 0) return;
            this.tables.add(key);
            const shown = of.schema === undefined ? name(of.name) : `${name(of.schema)}.${name(of.name)}`;
            if (isOn(options, "security_invoker")) this.found.delete(key);
            else
                this.found.set(
                    key,
                    finding("L19", "error", place, {
                        says: `view ${shown} reads ${read.join(", ")} as its owner, whom no policy limits: it shows every tenant's rows`,
                        later: LATER,
                        fix: `ALTER VIEW ${shown} SET (security_invoker = true);`,
                    }),
                );
        } else if ("CreateTableAsStmt" in stmt && stmt.CreateTableAsStmt.objtype === "OBJECT_MATVIEW") {
            const of = tableOf(stmt.CreateTableAsStmt.into?.rel);
            const key = keyOf(of.schema ?? "public", of.name);
            const read = this.readBy(stmt.CreateTableAsStmt.query);
            if (read.length === 0) return;
            this.tables.add(key);
            const shown = of.schema === undefined ? name(of.name) : `${name(of.schema)}.${name(of.name)}`;
            this.found.set(
                key,
                finding("L19", "warning", place, {
                    says: `materialized view ${shown} holds rows of ${read.join(", ")} from every tenant, and no policy is asked there: grant it to no role of the group`,
                    later: LATER,
                    fix: `REVOKE ALL ON ${shown} FROM PUBLIC;`,
                }),
            );
        } else if ("CreateFunctionStmt" in stmt) this.routine(stmt.CreateFunctionStmt, place);
        else if ("AlterFunctionStmt" in stmt) {
            const { func, actions } = stmt.AlterFunctionStmt;
            if (isOn(actions, "security") === false) this.found.delete(`${texts(func?.objname).at(-1)}()`);
        } else if ("AlterTableStmt" in stmt) {
            const of = tableOf(stmt.AlterTableStmt.relation);
            for (const [tag, command] of nodesIn(stmt.AlterTableStmt.cmds)) {
                const def = command.def as Node | undefined;
                if (
                    tag === "AlterTableCmd" &&
                    command.subtype === "AT_SetRelOptions" &&
                    def &&
                    "List" in def &&
                    isOn(def.List.items, "security_invoker")
                )
                    this.found.delete(keyOf(of.schema ?? "public", of.name));
            }
        } else if ("GrantStmt" in stmt) {
            const { is_grant, objects, grantees } = stmt.GrantStmt;
            const everybody = (grantees ?? []).some(
                (node) => "RoleSpec" in node && node.RoleSpec.roletype === "ROLESPEC_PUBLIC",
            );
            if (is_grant || !everybody) return;
            for (const object of objects ?? [])
                if ("ObjectWithArgs" in object) this.found.delete(`${texts(object.ObjectWithArgs.objname).at(-1)}()`);
        } else if ("DropStmt" in stmt)
            for (const object of stmt.DropStmt.objects ?? []) {
                const parts =
                    "List" in object
                        ? texts(object.List.items)
                        : "ObjectWithArgs" in object
                          ? texts(object.ObjectWithArgs.objname)
                          : [];
                const own = parts.at(-1) ?? "";
                if ("ObjectWithArgs" in object) this.found.delete(`${own}()`);
                else this.found.delete(keyOf(parts.at(-2) ?? "public", own));
            }
    }

    private routine(stmt: CreateFunctionStmt, place: SourcePlace) {
        const own = texts(stmt.funcname);
        const key = `${own.at(-1)}()`;
        this.found.delete(key);
        if (!isOn(stmt.options, "security")) return;
        const body = bodyOf(stmt);
        const read = stmt.sql_body ? this.readBy(stmt.sql_body) : this.namedIn(body);
        const dynamic = /\bexecute\b/i.test(body);
        if (read.length === 0 && !dynamic) return;
        const what = stmt.is_procedure ? "procedure" : "function";
        const shown = own.map(name).join(".");
        this.found.set(
            key,
            finding("L19", "error", place, {
                says: `${what} ${shown} is SECURITY DEFINER and uses ${read.length === 0 ? "what its dynamic SQL says" : read.join(", ")}: whoever calls it acts on every tenant's rows, and PUBLIC may call what is not revoked`,
                later: LATER,
                fix: `ALTER ROUTINE ${shown} SECURITY INVOKER;`,
            }),
        );
    }

    all = () => [...this.found.values()];
}

/**
 * What passes the policies of a group's tables by; only in models rls and row there are policies.
 * @param files in the order in which they are run
 */
export async function readPassing(files: readonly SqlFile[], declared: Declared): Promise<Finding[]> {
    if (declared.model !== "rls" && declared.model !== "row") return [];
    const passing = new Passing(declared);
    for (const file of files) {
        const source = new Source(file.path, file.sql);
        if (source.sql.trim() === "") continue;
        const tree = await parse(source.sql).catch(() => undefined);
        for (const { stmt, stmt_location } of tree?.stmts ?? [])
            if (stmt) passing.one(stmt, source.place(source.begin(stmt_location ?? 0)));
    }
    return passing.all();
}
