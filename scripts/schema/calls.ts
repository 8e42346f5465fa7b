/** The Citus calls that give tables, schemas and functions of an empty database their places, from the catalogs' rows. */
import { type Catalog, type Group, literal, type Table } from "./catalog.ts";

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

const call = (name: string, ...parameters: readonly string[]) => `SELECT pg_catalog.${name}(${parameters.join(", ")});`;

/** Tables that hash no column, and which kind they are. Citus' own names for it are a letter and another. */
const isDistributed = (table: Table) => table.method === "h" || (table.method === "n" && table.group !== 0);
const isReference = (table: Table) => table.method === "n" && table.model === "t";
const isLocal = (table: Table) => table.method === "n" && table.model !== "t" && table.group === 0;

/**
 * What can't be said in SQL that runs, one sentence each; nothing when all can.
 * Tables by range or by appending have no call that makes their shards again.
 */
export function refusals(catalog: Catalog): string[] {
    return catalog.tables
        .filter((table) => table.method !== "h" && table.method !== "n")
        .sort(byName)
        .map(
            (table) =>
                `${table.name} is distributed by ${table.method === "r" ? "range" : "append"}, and no call makes such shards again`,
        );
}

/** A colocation group with its tables by name; the first one is made alone and the others go to it. */
interface Together {
    readonly group: Group;
    readonly tables: readonly Table[];
}

function together(catalog: Catalog): Together[] {
    return catalog.groups.flatMap((group) => {
        const tables = catalog.tables
            .filter((table) => isDistributed(table) && !isReference(table) && table.group === group.id)
            .sort(byName);
        return tables.length > 0 ? [{ group, tables }] : [];
    });
}

const kind = ({ group }: Together) => [group.shards, group.replicas, group.type, group.collation].join();

/**
 * A new table joins the oldest group that fits it, whatever its tables asked for. So the oldest of each kind comes
 * before all others; apart from that it is the names that decide.
 */
function inOrder(all: readonly Together[]): Together[] {
    const oldest = new Map<string, number>();
    for (const one of all) oldest.set(kind(one), Math.min(one.group.id, oldest.get(kind(one)) ?? one.group.id));
    const rank = (one: Together) => (oldest.get(kind(one)) === one.group.id ? 0 : 1);
    const first = (one: Together) => ({ name: one.tables[0]?.name ?? "" });
    return [...all].sort((a, b) => rank(a) - rank(b) || byName(first(a), first(b)));
}

/** A comment's text on one line. */
const flat = (text: string) => text.replace(/\s*[\r\n]+\s*/g, " ");

/** Names of a group that a comment has room for. */
const NAMED = 8;

/** Whoever takes one table out of the file must name another one of its group, or it comes back alone, without an error. */
function togetherComment(first: Table, others: readonly Table[]): string[] {
    const [second] = others;
    if (second === undefined) return [];
    const names = [first, ...others].map(({ name }) => flat(name));
    const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : "";
    return [
        `-- One group: ${names.slice(0, NAMED).join(", ")}${more}.`,
        `-- To make only ${flat(first.name)} where the others exist, write colocate_with => ${flat(literal(second.name))} and no shard_count.`,
    ];
}

function distribute({ group, tables: [first, ...others] }: Together): string[] {
    if (!first) return [];
    const column = (table: Table) => (table.column === null ? "NULL" : literal(table.column));
    const shards = first.column === null ? [] : [`shard_count => ${group.shards}`];
    const calls = [
        ...togetherComment(first, others),
        call("create_distributed_table", literal(first.name), column(first), "colocate_with => 'none'", ...shards),
        ...others.map((table) =>
            call(
                "create_distributed_table",
                literal(table.name),
                column(table),
                `colocate_with => ${literal(first.name)}`,
            ),
        ),
    ];
    return group.replicas > 1
        ? [
              `SET citus.shard_replication_factor TO ${group.replicas};`,
              ...calls,
              "RESET citus.shard_replication_factor;",
          ]
        : calls;
}

/** A table of the group that a function is bound to, for its calls. */
function tableOf(catalog: Catalog, group: number | null): string | undefined {
    return group ? catalog.tables.filter((table) => table.group === group).sort(byName)[0]?.name : undefined;
}

/** In the order in which they run: none needs a foreign key, and foreign keys need all of them. */
export function citusCalls(catalog: Catalog): string[] {
    const reference = catalog.tables.filter(isReference).sort(byName);
    const local = catalog.tables.filter((table) => isLocal(table) && !table.byForeignKey).sort(byName);
    return [
        ...reference.map((table) => call("create_reference_table", literal(table.name))),
        ...inOrder(together(catalog)).flatMap(distribute),
        ...[...catalog.schemas].sort(byName).map((schema) => call("citus_schema_distribute", literal(schema.name))),
        ...local.map((table) => call("citus_add_local_table_to_metadata", literal(table.name))),
        ...[...catalog.functions].sort(byName).map((f) => {
            const table = tableOf(catalog, f.group);
            return call(
                "create_distributed_function",
                literal(f.name),
                ...(f.argument === null ? [] : [literal(`$${f.argument + 1}`)]),
                ...(table === undefined ? [] : [`colocate_with => ${literal(table)}`]),
                ...(f.force ? ["force_delegation => true"] : []),
            );
        }),
    ];
}

/** How many of what, in one line. */
export function summary(catalog: Catalog): string {
    const count = (n: number, one: string, many: string) => `${n} ${n === 1 ? one : many}`;
    const tables = (which: (table: Table) => boolean) => catalog.tables.filter(which).length;
    return [
        count(
            tables((t) => isDistributed(t) && !isReference(t)),
            "distributed table",
            "distributed tables",
        ),
        count(tables(isReference), "reference table", "reference tables"),
        count(catalog.schemas.length, "distributed schema", "distributed schemas"),
        count(tables(isLocal), "local table that Citus knows", "local tables that Citus knows"),
    ].join(", ");
}
