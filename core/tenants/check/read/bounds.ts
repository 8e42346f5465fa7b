/** L17, L18: files of a template that reach out of their tenant, or out of their group. */
import { type Node, parse } from "libpg-query";
import type { Declared, Outside } from "./declared.ts";
import { type Finding, finding } from "./finding.ts";
import { keyOf, name } from "./model.ts";
import { Source, type SqlFile } from "./source.ts";
import type { Sort, Target } from "./targetNames.ts";
import { actsOf } from "./targets.ts";

const LATER = "no error: what belongs to another is changed or dropped";

const shown = ({ schema, name: own }: Target) => (schema === undefined ? name(own) : `${name(schema)}.${name(own)}`);

const OURS = "citus_as_code";
const TEMPORARY = /^pg_temp/;

/** What files made so far, by sort. */
class Made {
    private readonly names = new Map<Sort, Set<string>>();

    constructor(known: readonly string[]) {
        this.of("relation", known);
    }

    private of(sort: Sort, add: readonly string[] = []) {
        const names = this.names.get(sort) ?? new Set<string>();
        for (const one of add) names.add(one);
        this.names.set(sort, names);
        return names;
    }

    add({ sort, name: own }: Target) {
        this.of(sort, [own]);
    }

    drop({ sort, name: own }: Target) {
        this.of(sort).delete(own);
    }

    /** Indexes and sequences that come with a table have its name in theirs. A table's row is a type. */
    has({ sort, name: own }: Target) {
        if (this.of(sort).has(own)) return true;
        if (sort === "type") return this.of("relation").has(own);
        return sort === "relation" && [...this.of("relation")].some((table) => own.startsWith(`${table}_`));
    }
}

/** Why a statement of a tenant's schema is not kept to it. */
function* ofSchema(source: Source, stmt: Node, begin: number, made: Made): Generator<Finding> {
    const { makes, changes, drops, reach } = actsOf(stmt);
    const place = (at?: number) => source.place(at === undefined || at < 0 ? begin : at);
    if (reach)
        yield finding("L18", "error", place(), {
            says: `${reach.what}: a tenant's file acts in the tenant's schema and nowhere else`,
            later: LATER,
            fix: `-- ${reach.instead}`,
        });
    for (const of of [...makes, ...changes])
        if (of.schema !== undefined && !TEMPORARY.test(of.schema))
            yield finding("L18", "error", place(of.at), {
                says: `${shown(of)} is not in the tenant's schema: a tenant's file may read there and refer to it, and not change it`,
                later: LATER,
                fix: `-- write ${name(of.name)} without a schema where it is the tenant's, or put the statement into a file of citus:postDeploy`,
            });
    for (const of of changes)
        if (of.schema === undefined && !made.has(of))
            yield finding("L17", "error", place(of.at), {
                says: `no file makes ${shown(of)} before this statement: where the tenant's schema has none, it acts on public.${name(of.name)}, which is another's`,
                later: LATER,
                fix: `-- take it out: the schema of a new tenant is empty. Or make ${name(of.name)} in the template before it`,
            });
    for (const of of drops) made.drop(of);
    for (const of of makes) made.add(of);
}

/** Why a statement of a tenant's database is not kept to it. */
function* ofDatabase(source: Source, stmt: Node, begin: number): Generator<Finding> {
    const { makes, changes, schemas, reach } = actsOf(stmt);
    if (reach?.out === "database")
        yield finding("L18", "error", source.place(begin), {
            says: `${reach.what}: a tenant's file acts in the tenant's database and nowhere else`,
            later: LATER,
            fix: `-- ${reach.instead}`,
        });
    yield* ofOurs(source, [...makes, ...changes], schemas, begin);
}

function* ofOurs(source: Source, targets: readonly Target[], schemas: readonly string[], begin: number) {
    const found = targets.find(({ schema }) => schema === OURS);
    if (found || schemas.includes(OURS))
        yield finding("L18", "error", source.place(found?.at ?? begin), {
            says: `${found ? shown(found) : OURS} is this project's own`,
            later: LATER,
            fix: "-- take it out",
        });
}

/** Why a statement of a group's rows reaches what is another group's. */
function* ofRows(source: Source, stmt: Node, begin: number, outside: Outside): Generator<Finding> {
    const { makes, changes, schemas } = actsOf(stmt);
    yield* ofOurs(source, [...makes, ...changes], schemas, begin);
    const foreign = (schema: string) => outside.schemas?.includes(schema) === true;
    for (const of of [...makes, ...changes]) {
        const schema = of.schema ?? "public";
        const whose = foreign(schema)
            ? `is in the schema of tenant ${schema}`
            : of.sort === "relation" && outside.tables?.includes(keyOf(schema, of.name))
              ? "is a table of another group"
              : undefined;
        if (whose !== undefined)
            yield finding("L18", "error", source.place(of.at === undefined || of.at < 0 ? begin : of.at), {
                says: `${shown(of)} ${whose}: a group's file changes what is the group's`,
                later: LATER,
                fix: "-- put the statement into the template of the group whose it is",
            });
    }
    for (const schema of schemas.filter(foreign))
        yield finding("L18", "error", source.place(begin), {
            says: `${name(schema)} is the schema of a tenant: a group's file changes what is the group's`,
            later: LATER,
            fix: "-- put the statement into the template of the group whose it is",
        });
}

/**
 * What of a template's files reaches out of where they are run. A file that can't be parsed is left to who reads it for its tables.
 * @param files in the order in which they are run
 */
export async function readBounds(
    files: readonly SqlFile[],
    { model, outside = {}, known = [] }: Pick<Declared, "model" | "outside" | "known">,
): Promise<Finding[]> {
    if (model === undefined || model === "routed") return [];
    const made = new Made(known);
    const found: Finding[] = [];
    for (const file of files) {
        const source = new Source(file.path, file.sql);
        if (source.sql.trim() === "") continue;
        const tree = await parse(source.sql).catch(() => undefined);
        for (const { stmt, stmt_location } of tree?.stmts ?? []) {
            if (!stmt) continue;
            const begin = source.begin(stmt_location ?? 0);
            if (model === "schema") found.push(...ofSchema(source, stmt, begin, made));
            else if (model === "database") found.push(...ofDatabase(source, stmt, begin));
            else found.push(...ofRows(source, stmt, begin, outside));
        }
    }
    return found;
}
