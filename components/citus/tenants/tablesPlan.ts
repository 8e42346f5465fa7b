/** What there is to do so that a group's tables are what they are declared to be. Pure. */
import type { Planned, Step } from "../../tenants/facet.ts";
import type { GroupSpec, TableSpec } from "../../tenants/spec.ts";
import { describeBytes } from "../job.ts";
import { literal, qualified } from "../quote.ts";

/** What a table is to Citus; `other` is nothing that this project makes. */
export type TableKind = "local" | "distributed" | "reference" | "single" | "tenant" | "other";

export interface FoundColumn {
    /** As PostgreSQL writes it, without a length. */
    readonly type: string;
    readonly notNull: boolean;
    readonly generated: boolean;
}

export interface FoundTable {
    /** As it is declared. */
    readonly name: string;
    /** r, p, v, m, f, as in pg_class. */
    readonly relkind: string;
    readonly unlogged: boolean;
    /** An access method of it or of a partition other than heap; its changes are not replicated. */
    readonly accessMethod?: string | null;
    /** Whether it is a partition or inherits. */
    readonly child: boolean;
    readonly kind: TableKind;
    readonly distributedBy?: string | null;
    readonly colocation?: number | null;
    /** Shards that its colocation group was made with; isolated tenants add to the real number. */
    readonly declared?: number | null;
    readonly shards: number;
    /** Which range of keys is on which node; equal layouts can be colocated without copying. */
    readonly layout?: string | null;
    readonly columnType?: string | null;
    /** The declared column, when there is one of the name. */
    readonly column?: FoundColumn | null;
    /** Whether updates and deletes can be replicated: a primary key or another replica identity. */
    readonly identity: boolean;
    /** Unique indexes, primary key and exclusion constraints that lack the declared column. */
    readonly uniques: readonly string[];
    readonly triggers: readonly string[];
    readonly rules: readonly string[];
    /** Columns whose default is computed anew on each node. */
    readonly volatile: readonly string[];
    /** Columns whose default is CURRENT_TIMESTAMP or the like. */
    readonly clock: readonly string[];
    /** Columns numbered by a sequence of int or smallint. */
    readonly shortSequences: readonly string[];
    readonly bytes: number;
    /** The tables of its colocation group with their size together; when its shard count is not the declared one. */
    readonly together?: { readonly tables: readonly string[]; readonly bytes: number } | null;
}

export interface ForeignKey {
    readonly name: string;
    /** As declared, or else as the database writes it. */
    readonly table: string;
    readonly columns: readonly string[];
    readonly references: string;
    readonly referenced: readonly string[];
    /** What the other side is when it is not declared. */
    readonly tableKind: TableKind;
    readonly referencesKind: TableKind;
    readonly tableColocation?: number | null;
    readonly referencesColocation?: number | null;
    /** Columns that ON DELETE or ON UPDATE sets to NULL or their default. */
    readonly sets: readonly string[];
}

export interface FoundTables {
    readonly tables: readonly FoundTable[];
    readonly keys: readonly ForeignKey[];
    /** Foreign keys that were taken off and are to be put back. */
    readonly aside: readonly { readonly table: string; readonly name: string }[];
    /** Bytes a second, by kind of call. */
    readonly rates: Readonly<Record<string, number>>;
    /** Whether files of the template are still to be run. */
    readonly pending: boolean;
    /** Whether the role reads every row whatever the policies say. */
    readonly bypass: boolean;
    /** `output_plugin_libraries`, where PostgreSQL has it. */
    readonly plugins?: string | null;
}

export const NO_TABLES: FoundTables = {
    tables: [],
    keys: [],
    aside: [],
    rates: {},
    pending: true,
    bypass: true,
};

/** What a step of the facet `tables` does beside what its kind says. */
export interface TableStep {
    readonly column?: string;
    /** The table whose group it joins; undefined makes a group of its own. */
    readonly colocateWith?: string;
    readonly shardCount?: number;
    /** Name of a foreign key. */
    readonly key?: string;
    /** Whether writers wait while it is copied. */
    readonly blocking?: boolean;
}

/** What the table is to be; the tables of model rls are the coordinator's own. */
export const targetKind = (group: GroupSpec, spec: TableSpec): "local" | "distributed" | "reference" =>
    group.model === "rls" ? "local" : spec.kind;

const list = (names: readonly string[]) => names.join(", ");

/** How long that much takes, as a clause. */
export function lasting(bytes: number, rate: number | undefined): string {
    if (rate === undefined || rate <= 0) return "no rate measured yet on this cluster";
    const seconds = bytes / rate;
    if (seconds < 1) return "less than a second";
    return seconds < 120 ? `about ${Math.ceil(seconds)} s` : `about ${Math.ceil(seconds / 60)} min`;
}

/** What Citus would refuse, or take and break later. Each says how to mend it. */
function unfit(name: string, spec: TableSpec, target: string, table: FoundTable, anchorType: string | undefined) {
    const wrong: string[] = [];
    const notes: string[] = [];
    const { column } = table;
    if (spec.column !== undefined) {
        if (!column)
            wrong.push(`${name} has no column ${spec.column}: add it in a file of template, or correct distributeBy`);
        else if (anchorType !== undefined && column.type !== anchorType)
            wrong.push(
                `${name}.${spec.column} is ${column.type} and the anchor's key is ${anchorType}; Citus would say "Distribution column types don't match": ALTER TABLE ${name} ALTER COLUMN ${spec.column} TYPE ${anchorType}`,
            );
    }
    if (!["r", "p"].includes(table.relkind))
        wrong.push(`${name} is no table (relkind ${table.relkind}): take it out of tables`);
    if (table.child) wrong.push(`${name} is a partition or inherits from a table: declare the parent in its place`);
    if (target === "local" || wrong.length > 0) return { wrong, notes };
    if (table.unlogged)
        wrong.push(`${name} is UNLOGGED, and its shards could never be moved: ALTER TABLE ${name} SET LOGGED`);
    if (table.triggers.length > 0)
        wrong.push(
            `${name} has triggers (${list(table.triggers)}); Citus would say "cannot distribute relation ... because it has triggers": drop them, or declare the table local: true`,
        );
    if (table.rules.length > 0)
        wrong.push(
            `${name} has rules (${list(table.rules)}), which act on the coordinator alone and lose rows without an error: drop them`,
        );
    if (target === "reference") {
        if (table.volatile.length > 0)
            notes.push(
                `${name}: the default of ${list(table.volatile)} is computed anew on each node when such a column is added to a reference table: add columns without it, and set the default afterwards`,
            );
        if (table.clock.length > 0)
            notes.push(
                `${name}: the default of ${list(table.clock)} (CURRENT_TIMESTAMP or the like) is computed on each node for every row, so the copies of a reference table differ: ALTER COLUMN ... SET DEFAULT now(), which Citus computes once`,
            );
        return { wrong, notes };
    }
    if (column && !column.notNull)
        wrong.push(
            `${name}.${spec.column} may be NULL, and a row without a tenant has no shard: ALTER TABLE ${name} ALTER COLUMN ${spec.column} SET NOT NULL`,
        );
    if (column?.generated)
        wrong.push(
            `${name}.${spec.column} is a generated column, by which Citus distributes nothing: make it a plain column`,
        );
    if (column && /^(jsonb?|numeric|double precision|real)$/.test(column.type))
        notes.push(
            `${name}.${spec.column} is ${column.type}, a poor key: equal values may be written in different ways`,
        );
    if (table.uniques.length > 0)
        wrong.push(
            `${name} has ${list(table.uniques)} without ${spec.column}; Citus would say "cannot create constraint": put ${spec.column} into each, such as PRIMARY KEY (${spec.column}, id)`,
        );
    if (!table.identity && !table.accessMethod)
        wrong.push(
            `${name} has no primary key, so updates would fail while it is distributed and its shards could not be moved while they are served: ALTER TABLE ${name} ADD PRIMARY KEY (${spec.column}, ...), or REPLICA IDENTITY FULL`,
        );
    if (table.shortSequences.length > 0)
        notes.push(
            `${name}: ${list(table.shortSequences)} is numbered by a sequence of int, which has no next number on workers: make it bigint`,
        );
    return { wrong, notes };
}

interface Wish {
    readonly name: string;
    readonly spec: TableSpec;
    readonly target: "local" | "distributed" | "reference";
    readonly found: FoundTable;
    /** Is brought back to the coordinator first. */
    undistribute: boolean;
    /** Becomes what it is to be. */
    make: boolean;
    /** Changes its column or its group. */
    alter?: { readonly column?: string; readonly colocate: boolean };
    /** Joins the group by a change of metadata. */
    colocate?: boolean;
}

const MOVES_NOTHING = "Nothing was changed.";

/** Whether a foreign key can be there once every table is what it is to be, and if not, why. */
function impossible(key: ForeignKey, wishes: ReadonlyMap<string, Wish>): string | undefined {
    const child = wishes.get(key.table);
    const parent = wishes.get(key.references);
    const childKind = child?.target ?? key.tableKind;
    const parentKind = parent?.target ?? key.referencesKind;
    const plain = (kind: string) => kind === "local";
    if (childKind !== "distributed" && parentKind !== "distributed") return undefined;
    if (plain(childKind) && parentKind === "distributed")
        return `${key.table} is local and ${key.references} is to be distributed`;
    if (childKind === "reference" && parentKind === "distributed")
        return `${key.table} is a reference table and ${key.references} is to be distributed`;
    if (plain(parentKind)) return `${key.references} is local and ${key.table} is to be distributed`;
    if (childKind === "distributed" && parentKind === "reference") return undefined;
    if (child && parent) {
        const at = key.columns.indexOf(child.spec.column ?? "");
        if (at < 0 || key.referenced[at] !== parent.spec.column)
            return `it does not pair ${key.table}.${child.spec.column} with ${key.references}.${parent.spec.column}`;
        const set = key.sets.find((column) => column === child.spec.column);
        return set === undefined ? undefined : `it sets ${set}, the tenant, when ${key.references} is changed`;
    }
    return `only one of ${key.table} and ${key.references} is in this group`;
}

/** Everything that stands in the way is listed at once; nothing is copied while there is any. */
export function planTables(group: GroupSpec, found: FoundTables): Planned {
    const refusals: string[] = [];
    const notes: string[] = [];
    const steps: Step[] = [];
    /** What a file of the template that is still to be run may mend. */
    const mendable = (text: string) => {
        if (found.pending) notes.push(`${text}\n(unless a file of template that is still to be run corrects it)`);
        else refusals.push(text);
    };
    const allowed = (name: string) => group.allow.includes(name);
    const step = (kind: string, table: string, text: string, detail: TableStep = {}) =>
        steps.push({ kind: `tables.${kind}`, table, text, detail });
    const byName = new Map(found.tables.map((table) => [table.name, table]));
    const anchorName = group.anchor ?? "";
    const anchorSpec = group.tables[anchorName];
    const anchor = byName.get(anchorName);
    const anchorType = anchor?.column?.type;
    const shardCount = anchorSpec?.shardCount;

    const wishes = new Map<string, Wish>();
    const missing: string[] = [];
    for (const [name, spec] of Object.entries(group.tables)) {
        const table = byName.get(name);
        const target = targetKind(group, spec);
        if (!table) {
            missing.push(name);
            continue;
        }
        if (table.kind === "tenant") {
            refusals.push(
                `${name} belongs to a tenant's schema, and Citus can't change such a table: take it out of tables`,
            );
            continue;
        }
        if (table.kind === "other") {
            refusals.push(
                `${name} is distributed in a way that this project does not make: undistribute it by hand first`,
            );
            continue;
        }
        const { wrong, notes: hints } = unfit(name, spec, target, table, name === anchorName ? undefined : anchorType);
        // what is as declared already is not refused for what it would meet on the way
        if (table.kind !== target || wrong.some((text) => text.includes("has no column")))
            for (const w of wrong) mendable(w);
        else notes.push(...wrong.filter((text) => !text.includes("UNLOGGED") || target !== "local"));
        notes.push(...hints);
        wishes.set(name, {
            name,
            spec,
            target,
            found: table,
            undistribute: !["local", target].includes(table.kind),
            make: table.kind !== target && target !== "local",
        });
    }

    // the table that gives the group its shards, as it is now
    const fits = ({ target, found: t, spec }: Wish) =>
        target === "distributed" && t.kind === "distributed" && t.distributedBy === spec.column;
    const anchorWish = wishes.get(anchorName);
    const base =
        anchorWish && fits(anchorWish)
            ? anchorWish
            : anchorWish?.found.kind === "local"
              ? [...wishes.values()].find((wish) => fits(wish) && wish.found.columnType === anchorType)
              : undefined;

    const blocked = (name: string, what: string, bytes: number, rate: string, otherwise: string, dropped: string[]) => {
        const keys = dropped.length > 0 ? `; the foreign keys ${list(dropped)} are dropped` : "";
        const text = `${name}: ${what}; ${describeBytes(bytes)} are copied, ${lasting(bytes, found.rates[rate])}${keys}`;
        if (!allowed(name)) refusals.push(`${text}\nTo allow that, put "${name}" into allow. Otherwise ${otherwise}.`);
        return text;
    };

    for (const wish of wishes.values()) {
        const { name, spec, target, found: table } = wish;
        if (wish.undistribute || target !== "distributed" || table.kind !== "distributed") continue;
        if (table.distributedBy !== spec.column && name === anchorName) {
            refusals.push(
                `${name} is distributed by ${table.distributedBy}, and is declared by ${spec.column}: the anchor's column can't be changed in place.\nDeclare distributeBy: ${table.distributedBy}. Or bring it back to the coordinator by hand: SELECT undistribute_table(${literal(qualified(name))}, cascade_via_foreign_keys => true); it can be neither read nor written meanwhile. Then run pulumi up, which distributes it anew.`,
            );
        } else if (table.distributedBy !== spec.column) {
            wish.alter = { column: spec.column ?? "", colocate: true };
        } else if (base && table.colocation !== base.found.colocation) {
            if (table.layout === base.found.layout && table.columnType === base.found.columnType) wish.colocate = true;
            else wish.alter = { colocate: true };
        }
    }

    // foreign keys: what can't be there afterwards is dropped, with leave; what is in the way is put back at the end
    const dropped = new Map<string, string[]>();
    const put = new Map<string, ForeignKey>();
    for (const key of found.keys) {
        const ends = [wishes.get(key.table), wishes.get(key.references)].filter((wish) => wish !== undefined);
        const moving = ends.filter((wish) => wish.undistribute || wish.make || wish.alter !== undefined);
        if (moving.length === 0) continue;
        const why = impossible(key, wishes);
        if (why !== undefined) {
            const names = moving.map(({ name }) => name);
            if (![...names, key.table].some(allowed)) {
                const text = `foreign key ${key.name} of ${key.table} to ${key.references} would be dropped: ${why}.\nChange it in a file of template, declare ${key.references} as reference: true, or put "${key.table}" into allow to drop it.`;
                if (moving.every((wish) => wish.make && !wish.undistribute)) mendable(text);
                else refusals.push(text);
            } else
                step(
                    "dropKey",
                    key.table,
                    `${key.table}: foreign key ${key.name} to ${key.references} is dropped: ${why}`,
                    { key: key.name },
                );
            for (const name of names) dropped.set(name, [...(dropped.get(name) ?? []), key.name]);
            continue;
        }
        const parentKind = wishes.get(key.references)?.target ?? key.referencesKind;
        const inTheWay = moving.some(
            (wish) =>
                wish.undistribute || ((wish.target === "distributed" || wish.alter) && parentKind === "distributed"),
        );
        if (inTheWay) put.set(`${key.table} ${key.name}`, key);
    }
    for (const key of put.values())
        step(
            "setAside",
            key.table,
            `${key.table}: foreign key ${key.name} to ${key.references} is taken off; it is put back and checked when the tables are where they belong`,
            { key: key.name },
        );

    for (const wish of wishes.values()) {
        if (!wish.undistribute) continue;
        const { name, found: table, target } = wish;
        step(
            "undistribute",
            name,
            blocked(
                name,
                `is ${table.kind === "reference" ? "a reference table" : "distributed"} and declared ${target}: all of it goes to the coordinator's disk, and it can be neither read nor written meanwhile`,
                table.bytes,
                "undistribute",
                table.kind === "reference"
                    ? "declare it reference: true"
                    : `declare it distributeBy: ${table.distributedBy}${group.model === "rls" ? " in a group of model row" : ""}`,
                dropped.get(name) ?? [],
            ),
        );
    }
    for (const wish of wishes.values()) {
        if (!wish.make || wish.target !== "reference") continue;
        const { bytes } = wish.found;
        step(
            "reference",
            wish.name,
            `${wish.name}: becomes a reference table, a copy on every node; ${describeBytes(bytes)}, writes wait, ${lasting(bytes, found.rates.reference)}`,
        );
    }

    if (anchorWish && base && shardCount !== undefined && base.found.declared !== shardCount) {
        const { tables, bytes } = base.found.together ?? { tables: [base.name], bytes: base.found.bytes };
        const isolated = base.found.shards > (base.found.declared ?? 0);
        const text = blocked(
            anchorName,
            `the group's shards change from ${base.found.declared} to ${shardCount}: ${list(tables)} can be neither read nor written meanwhile${isolated ? ", and tenants lose the shards of their own until they are isolated again" : ""}`,
            bytes,
            "alter",
            `declare shardCount: ${base.found.declared}`,
            [],
        );
        step("alter", base.name, text, { shardCount });
    }

    // without a base the anchor makes the group
    const group_ = base?.name;
    const distribute = (wish: Wish, colocateWith: string | undefined) => {
        const { bytes, accessMethod } = wish.found;
        const what = `is distributed by ${wish.spec.column}${colocateWith === undefined ? "" : ` beside ${colocateWith}`}`;
        step(
            "distribute",
            wish.name,
            accessMethod
                ? blocked(
                      wish.name,
                      `${what}, and writes to it wait meanwhile, since changes of access method ${accessMethod} can't be replicated`,
                      bytes,
                      "distribute",
                      `make it a heap table: SELECT alter_table_set_access_method(${literal(qualified(wish.name))}, 'heap')`,
                      [],
                  )
                : `${wish.name}: ${what} while it is served; ${describeBytes(bytes)}, writes wait at the end only, ${lasting(bytes, found.rates.distribute)}`,
            {
                ...(accessMethod ? { blocking: true } : {}),
                ...(wish.spec.column === undefined ? {} : { column: wish.spec.column }),
                ...(colocateWith === undefined ? (shardCount === undefined ? {} : { shardCount }) : { colocateWith }),
            },
        );
    };
    if (anchorWish?.make && anchorWish.target === "distributed") distribute(anchorWish, group_);
    for (const wish of wishes.values()) {
        if (wish.name === anchorName) continue;
        if (wish.make && wish.target === "distributed") distribute(wish, anchorName);
        if (wish.colocate)
            step("colocate", wish.name, `${wish.name}: joins the group of ${anchorName}; nothing is copied`, {
                colocateWith: base?.name ?? anchorName,
            });
        if (wish.alter) {
            const { bytes } = wish.found;
            const by =
                wish.alter.column === undefined
                    ? ""
                    : `is distributed by ${wish.found.distributedBy}, declared by ${wish.alter.column}, and `;
            step(
                "alter",
                wish.name,
                blocked(
                    wish.name,
                    `${by}is rewritten beside ${anchorName}, and can be neither read nor written meanwhile`,
                    bytes,
                    "alter",
                    wish.alter.column === undefined
                        ? "take it out of tables"
                        : `declare distributeBy: ${wish.found.distributedBy}`,
                    dropped.get(wish.name) ?? [],
                ),
                { ...(wish.alter.column === undefined ? {} : { column: wish.alter.column }), colocateWith: anchorName },
            );
        }
    }
    const back = new Map(
        [...found.aside, ...[...put.values()].map(({ table, name }) => ({ table, name }))].map((key) => [
            `${key.table} ${key.name}`,
            key,
        ]),
    );
    for (const { table, name } of back.values())
        step("putBack", table, `${table}: foreign key ${name} is put back, and every row checked`, { key: name });

    for (const name of missing) {
        const spec = group.tables[name];
        if (!spec) continue;
        const target = targetKind(group, spec);
        if (!found.pending)
            refusals.push(
                `${name} does not exist. Make it (CREATE TABLE ...) in a file of template, or take it out of tables.`,
            );
        else if (target === "local") notes.push(`${name}: does not exist yet; a file of template has to make it`);
        else
            step(
                target === "distributed" ? "distribute" : "reference",
                name,
                target === "distributed"
                    ? `${name}: is distributed by ${spec.column}, once a file of template has made it`
                    : `${name}: becomes a reference table, once a file of template has made it`,
            );
    }
    const moves = steps.some(({ kind }) => !["tables.dropKey", "tables.putBack", "tables.colocate"].includes(kind));
    if (moves && !found.bypass)
        refusals.push(
            `the role of this connection is neither superuser nor BYPASSRLS. Citus copies only what that role may read, so rows that a policy hides would be lost without an error. ${MOVES_NOTHING} Run this as the superuser.`,
        );
    const distributes = steps.some(({ kind }) => kind === "tables.distribute");
    if (distributes && typeof found.plugins === "string" && !/(^|[ ,])(citus|\*)($|[ ,])/.test(found.plugins))
        refusals.push(
            `output_plugin_libraries is '${found.plugins}' on the coordinator; Citus would say "library "citus" may not be used as an output plugin" half-way: set it to 'pgoutput,test_decoding,citus' on every node.`,
        );
    return { steps, refusals, notes };
}
