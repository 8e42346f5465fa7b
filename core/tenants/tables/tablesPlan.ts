/** What there is to do so that a group's tables are what they are declared to be. Pure. */

import { explainReference } from "../../citus/references.ts";
import { literal, qualified } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { lasting } from "../../util/lasting.ts";
import { judgeKey } from "../ask/keyJudge.ts";
import type { Planned, Step } from "../group/facet.ts";
import type { GroupSpec, TableSpec } from "../group/spec.ts";
import { inTheWay, NO_FACTS } from "./besideFacts.ts";
import { describeDisk, describeWait, neededDisk, rateOf } from "./besidePlan.ts";
import { refuseUnmade } from "./promised.ts";
import { unfit } from "./tableFit.ts";
import { impossible, type KeyAside, type KeyEnd } from "./tableKeys.ts";
import type { FoundTable, FoundTables, TableStep } from "./tablesFound.ts";
import { type BesideSet, identityOf, kindText, type Part, partOf, type Wish } from "./tablesWish.ts";

/** What the table is to be; the tables of model rls are the coordinator's own. */
export const targetKind = (group: GroupSpec, spec: TableSpec): "local" | "distributed" | "reference" =>
    group.model === "rls" ? "local" : spec.kind;

const list = (names: readonly string[]) => names.join(", ");

const MOVES_NOTHING = "Nothing was changed.";

/** What is planned for the tables of one group, part by part. */
class Plan {
    readonly refusals: string[] = [];
    readonly notes: string[] = [];
    readonly steps: Step[] = [];
    readonly wishes = new Map<string, Wish>();
    readonly missing: string[] = [];
    readonly group: GroupSpec;
    readonly found: FoundTables;
    readonly anchorName: string;
    /** Foreign keys that each table loses. */
    private readonly lost = new Map<string, string[]>();
    /** The table that gives the group its shards, as it is now; without one the anchor makes the group. */
    private base: Wish | undefined;
    private anchorMoves = false;

    constructor(group: GroupSpec, found: FoundTables) {
        this.group = group;
        this.found = found;
        this.anchorName = group.anchor ?? "";
    }

    get anchor(): Wish | undefined {
        return this.wishes.get(this.anchorName);
    }

    allowed(name: string): boolean {
        return this.group.allow.includes(name);
    }

    /** What a file of the template that is still to be run may mend. */
    mendable(text: string): void {
        if (this.found.pending)
            this.notes.push(`${text}\n(unless a file of template that is still to be run corrects it)`);
        else this.refusals.push(text);
    }

    step(kind: string, table: string, text: string, detail: TableStep = {}): void {
        this.steps.push({ kind: `tables.${kind}`, table, text, detail });
    }

    /** Each declared table that is there, with what it is to be. */
    wish(): void {
        const byName = new Map(this.found.tables.map((table) => [table.name, table]));
        const anchorType = byName.get(this.anchorName)?.column?.type;
        for (const [name, spec] of Object.entries(this.group.tables)) {
            const table = byName.get(name);
            const target = targetKind(this.group, spec);
            if (!table) {
                this.missing.push(name);
                continue;
            }
            if (table.kind === "tenant" || table.kind === "other") {
                this.refusals.push(
                    table.kind === "tenant"
                        ? `${name} belongs to a tenant's schema, and Citus can't change such a table: take it out of tables`
                        : `${name} is distributed in a way that this project does not make: undistribute it by hand first`,
                );
                continue;
            }
            const { wrong, notes } = unfit(
                name,
                spec,
                target,
                table,
                name === this.anchorName ? undefined : anchorType,
            );
            const asItIs = table.kind === target && (target !== "distributed" || table.distributedBy === spec.column);
            // what is as declared already is not refused for what it would meet on the way
            if (!asItIs || wrong.some((text) => text.includes("has no column")))
                for (const w of wrong) this.mendable(w);
            else this.notes.push(...wrong.filter((text) => !text.includes("UNLOGGED") || target !== "local"));
            this.notes.push(...notes, ...this.useOf(name, spec, table));
            this.wishes.set(name, {
                name,
                spec,
                target,
                found: table,
                undistribute: !["local", target].includes(table.kind),
                make: table.kind !== target && target !== "local",
            });
        }
    }

    /** Whether it will be a good key, or a good reference table, from the rows that are there. */
    private useOf(name: string, spec: TableSpec, table: FoundTable): string[] {
        if (typeof table.perMinute === "number")
            return explainReference({ table: name, bytes: table.bytes, copies: 0, perMinute: table.perMinute });
        if (!table.values || !table.column || spec.column === undefined) return [];
        return judgeKey({
            table: name,
            column: spec.column,
            type: table.column.type,
            isEnum: table.isEnum === true,
            shards: this.group.tables[this.anchorName]?.shardCount ?? this.found.usualShards ?? 32,
            distributed: false,
            values: { ...table.values, rows: Math.max(0, table.values.rows) },
        }).map(({ says }) => says);
    }

    /** Which tables change their column, their group, or are brought back. */
    changes(): void {
        const fits = ({ target, found: t, spec }: Wish) =>
            target === "distributed" && t.kind === "distributed" && t.distributedBy === spec.column;
        const { anchor } = this;
        this.base =
            anchor && fits(anchor)
                ? anchor
                : anchor?.found.kind === "local"
                  ? [...this.wishes.values()].find(
                        (wish) => fits(wish) && wish.found.columnType === anchor.found.column?.type,
                    )
                  : undefined;
        this.anchorMoves = anchor?.target === "distributed" && anchor.found.kind === "distributed" && !fits(anchor);
        for (const wish of this.wishes.values()) {
            const { spec, target, found: table } = wish;
            if (wish.undistribute || target !== "distributed" || table.kind !== "distributed") continue;
            if (this.anchorMoves || table.distributedBy !== spec.column) {
                wish.alter = { column: spec.column ?? "", colocate: true };
            } else if (this.base && table.colocation !== this.base.found.colocation) {
                if (table.layout === this.base.found.layout && table.columnType === this.base.found.columnType)
                    wish.colocate = true;
                else wish.alter = { colocate: true };
            }
        }
    }

    /** The shard count that is declared, where it is not the one that is there. */
    private get wantedShards(): number | undefined {
        const count = this.group.tables[this.anchorName]?.shardCount;
        return this.anchor && this.base && count !== undefined && this.base.found.declared !== count
            ? count
            : undefined;
    }

    /** What can be made anew beside the old is; Citus rewrites the others, unless it refuses to. */
    ways(): void {
        for (const wish of this.wishes.values()) {
            if (!wish.undistribute && !wish.alter) continue;
            const facts = wish.found.facts ?? NO_FACTS;
            const reasons = inTheWay(facts);
            if (wish.found.facts && reasons.length === 0) {
                wish.beside = true;
                wish.undistribute = false;
                wish.make = false;
            } else if (this.anchorMoves && wish.alter) this.refuseBeside(wish.name, reasons, "");
            else if (facts.identities.length > 0) this.refuseBeside(wish.name, reasons, identityOf(wish.name, facts));
        }
    }

    private refuseBeside(name: string, reasons: readonly string[], otherwise: string): void {
        this.refusals.push(
            `${name} can't be made anew beside the old table: ${reasons.join("; ")}.${otherwise === "" ? "" : `\n${otherwise}`}\nTake away what is in the way and make it again afterwards. Or declare ${name} as it is.`,
        );
    }

    /** Foreign keys: what can't be there afterwards is dropped, with leave; what is in the way is put back at the end. */
    keys(set: BesideSet | undefined): { drop: KeyAside[]; put: KeyAside[]; gone: KeyAside[] } {
        const beside = set?.tables.map(({ name }) => name) ?? [];
        const ends = new Map<string, KeyEnd>([
            ...(set?.tables ?? []).map(({ name, target, column }): [string, KeyEnd] => [
                name,
                { target, spec: { kind: target, ...(column === undefined ? {} : { column }) } },
            ]),
            ...this.wishes,
        ]);
        const drop: KeyAside[] = [];
        const put = new Map<string, KeyAside>();
        const gone = new Map<string, KeyAside>();
        const nameOf = ({ table, name }: KeyAside) => `${table} ${name}`;
        for (const key of this.found.keys) {
            const both = [...new Set([key.table, key.references])];
            const moving = both
                .map((name) => this.wishes.get(name))
                .filter((wish) => wish !== undefined)
                .filter((wish) => wish.undistribute || wish.make || (wish.alter !== undefined && !wish.beside));
            const switched = both.filter((name) => beside.includes(name));
            if (moving.length === 0 && switched.length === 0) continue;
            const aside = { table: key.table, name: key.name, key };
            const why = impossible(key, ends);
            if (why !== undefined) {
                const names = [...moving.map(({ name }) => name), ...switched];
                for (const name of names) this.lost.set(name, [...(this.lost.get(name) ?? []), key.name]);
                if (![...names, key.table].some((name) => this.allowed(name))) {
                    const text = `foreign key ${key.name} of ${key.table} to ${key.references} would be dropped: ${why}.\nChange it in a file of template, declare ${key.references} as reference: true, or put "${key.table}" into allow to drop it.`;
                    if (switched.length === 0 && moving.every((wish) => wish.make && !wish.undistribute))
                        this.mendable(text);
                    else this.refusals.push(text);
                } else if (moving.length === 0) drop.push(aside);
                else gone.set(nameOf(aside), aside);
                continue;
            }
            const parentKind = this.wishes.get(key.references)?.target ?? key.referencesKind;
            const inItsWay = moving.some(
                (wish) =>
                    wish.undistribute ||
                    ((wish.target === "distributed" || wish.alter) && parentKind === "distributed"),
            );
            if (inItsWay) put.set(nameOf(aside), aside);
        }
        for (const { table, name, key } of [...gone.values(), ...put.values()])
            this.step(
                "setAside",
                table,
                `${table}: foreign key ${name} to ${key?.references} is taken off; it is ${gone.has(`${table} ${name}`) ? "dropped" : "put back and checked"} when the tables are where they belong`,
                { key: name, ...(key ? { facts: key } : {}) },
            );
        // what an earlier run took off
        for (const aside of this.found.aside) {
            const why = aside.key ? impossible(aside.key, ends) : undefined;
            if (why === undefined) put.set(nameOf(aside), aside);
            else if (this.allowed(aside.table) || this.allowed(aside.key?.references ?? ""))
                gone.set(nameOf(aside), aside);
            else
                this.refusals.push(
                    `foreign key ${aside.name} of ${aside.table} to ${aside.key?.references} is off since an earlier run, and can't be put back: ${why}.\nPut "${aside.table}" into allow to give it up. Or declare the tables as they were: it is put back then.`,
                );
        }
        return { drop, put: [...put.values()], gone: [...gone.values()] };
    }

    /** @returns what will be done, where that is allowed; refuses it otherwise */
    blocked(name: string, what: string, bytes: number, rate: number | undefined, otherwise: string, wait = ""): string {
        const lost = this.lost.get(name) ?? [];
        const keys = lost.length > 0 ? `; the foreign keys ${list(lost)} are dropped` : "";
        const text = `${name}: ${what}; ${describeBytes(bytes)} are copied, ${lasting(bytes, rate)}${wait}${keys}`;
        if (!this.allowed(name))
            this.refusals.push(`${text}\nTo allow that, put "${name}" into allow. Otherwise ${otherwise}.`);
        return text;
    }

    undistribute(): void {
        for (const wish of this.wishes.values()) {
            if (!wish.undistribute) continue;
            const { name, found: table, target } = wish;
            this.step(
                "undistribute",
                name,
                this.blocked(
                    name,
                    `is ${kindText(table)} and declared ${target}: all of it goes to the coordinator's disk, and it can be neither read nor written meanwhile`,
                    table.bytes,
                    this.found.rates.undistribute,
                    this.asItIs(wish),
                ),
            );
        }
    }

    private asItIs({ found: table }: Wish): string {
        return table.kind === "reference"
            ? "declare it reference: true"
            : `declare it distributeBy: ${table.distributedBy}${this.group.model === "rls" ? " in a group of model row" : ""}`;
    }

    reference(): void {
        for (const wish of this.wishes.values()) {
            if (!wish.make || wish.target !== "reference") continue;
            const { bytes } = wish.found;
            this.step(
                "reference",
                wish.name,
                `${wish.name}: becomes a reference table, a copy on every node; ${describeBytes(bytes)}, writes wait, ${lasting(bytes, this.found.rates.reference)}`,
            );
        }
    }

    /** Tables that are made anew beside the old: whole groups, and tables that change alone. */
    besides(): BesideSet | undefined {
        const { base, anchor, wantedShards } = this;
        const tables = new Map<string, Part>();
        const root = this.anchorMoves ? anchor : wantedShards === undefined ? undefined : base;
        let whole = false;
        if (root && wantedShards !== undefined && !this.anchorMoves) {
            const members = root.found.together?.members ?? [];
            const bad = members.filter(({ facts }) => inTheWay(facts).length > 0);
            const rigid = members.filter(({ facts }) => facts.identities.length > 0);
            whole = members.length > 0 && bad.length === 0;
            if (bad.length > 0 && rigid.length > 0)
                for (const { name, facts } of bad)
                    this.refuseBeside(
                        name,
                        inTheWay(facts),
                        rigid.map((member) => identityOf(member.name, member.facts)).join("\n"),
                    );
            if (whole)
                for (const member of [...members].sort(
                    (a, b) => Number(b.name === root.name) - Number(a.name === root.name),
                ))
                    if (!this.wishes.get(member.name)?.beside)
                        tables.set(member.name, {
                            ...member,
                            target: "distributed",
                            column: this.wishes.get(member.name)?.spec.column ?? member.column,
                        });
        }
        if (root && this.anchorMoves && root.beside) {
            whole = true;
            // the first makes the group
            tables.set(root.name, partOf(root));
            for (const { name } of root.found.together?.members ?? [])
                if (!this.wishes.has(name))
                    this.notes.push(
                        `${name} is in the group of ${root.name} and not declared: it stays as it is, and is no longer beside ${root.name}`,
                    );
        }
        const weighed = new Map(root?.found.together?.members?.map(({ name, bytes }) => [name, bytes]));
        for (const wish of this.wishes.values())
            if (wish.beside)
                tables.set(wish.name, { ...partOf(wish), bytes: wish.found.bytes || (weighed.get(wish.name) ?? 0) });
        if (tables.size === 0) return undefined;
        return { tables: [...tables.values()], whole, ...(root === undefined ? {} : { root }) };
    }

    /** The step that makes them anew, with what it costs. */
    besideStep(set: BesideSet, drop: readonly KeyAside[]): void {
        const { found, anchorName } = this;
        const { tables, whole, root } = set;
        const bytes = tables.reduce((sum, part) => sum + part.bytes, 0);
        const keyless = tables.filter(({ facts }) => facts.key === null).map(({ name }) => name);
        const toLocal = tables.some(({ target }) => target === "local");
        const waiting = keyless.length > 0 || toLocal;
        const needed = neededDisk(tables, found.holders ?? []);
        const disk = describeDisk(needed, found.free ?? {});
        if (disk.refusal !== undefined)
            this.refusals.push(
                `${list(tables.map(({ name }) => name))}: ${disk.refusal}. Make room or give the nodes larger volumes first.`,
            );
        const cost = `, ${describeWait(waiting, tables.length * (this.anchor?.found.shards ?? 1))}${keyless.length > 0 ? ` (${list(keyless)} has no primary key, so its changes can't be followed)` : ""}; ${disk.text}`;
        const rate = rateOf(found.rates);
        const texts: string[] = [];
        if (whole && root) {
            const count = this.wantedShards;
            const isolated = root.found.shards > (root.found.declared ?? 0);
            const what = [
                ...(this.anchorMoves
                    ? [`the group is distributed by ${root.found.distributedBy}, and declared by ${root.spec.column}`]
                    : []),
                ...(count === undefined ? [] : [`the group's shards change from ${root.found.declared} to ${count}`]),
            ].join("; ");
            texts.push(
                this.blocked(
                    anchorName,
                    `${what}: ${list(tables.map(({ name }) => name))} are made anew beside the old, copied, compared and switched${isolated ? "; tenants lose the shards of their own until they are isolated again" : ""}`,
                    bytes,
                    rate,
                    this.anchorMoves
                        ? `declare distributeBy: ${root.found.distributedBy}`
                        : `declare shardCount: ${root.found.declared}`,
                    cost,
                ),
            );
        }
        for (const part of tables) {
            const wish = this.wishes.get(part.name);
            if (!wish?.beside || (whole && part.target === "distributed")) continue;
            const { found: table, alter, target } = wish;
            texts.push(
                this.blocked(
                    part.name,
                    alter
                        ? `${alter.column === undefined || alter.column === table.distributedBy ? "" : `is distributed by ${table.distributedBy}, declared by ${alter.column}, and `}is made anew beside ${anchorName}`
                        : `is ${kindText(table)} and declared ${target}: it is made anew beside the old one${target === "local" ? ", on the coordinator's disk" : ""}`,
                    part.bytes,
                    rate,
                    alter
                        ? alter.column === undefined || alter.column === table.distributedBy
                            ? "take it out of tables"
                            : `declare distributeBy: ${table.distributedBy}`
                        : this.asItIs(wish),
                    whole ? "" : cost,
                ),
            );
        }
        const shardCount =
            this.group.tables[anchorName]?.shardCount ??
            (this.anchorMoves ? (root?.found.declared ?? undefined) : undefined);
        this.step("beside", tables[0]?.name ?? "", texts.join("\n"), {
            beside: {
                tables: tables.map(({ name, target, column }) => ({
                    name,
                    target,
                    ...(column === undefined || target !== "distributed" ? {} : { column }),
                })),
                ...(whole
                    ? shardCount === undefined
                        ? {}
                        : { shardCount }
                    : { colocateWith: this.base?.name ?? anchorName }),
                waiting,
                drop: drop.map(({ table, name }) => ({ table, name })),
            },
        });
    }

    /** The group's shard count, where Citus has to change it: all of its tables are rewritten. */
    shards(set: BesideSet | undefined): void {
        const { base, wantedShards } = this;
        if (!base || wantedShards === undefined || set?.whole) return;
        const { tables, bytes } = base.found.together ?? { tables: [base.name], bytes: base.found.bytes };
        const isolated = base.found.shards > (base.found.declared ?? 0);
        const text = this.blocked(
            this.anchorName,
            `the group's shards change from ${base.found.declared} to ${wantedShards}: ${list(tables)} can be neither read nor written meanwhile${isolated ? ", and tenants lose the shards of their own until they are isolated again" : ""}`,
            bytes,
            this.found.rates.alter,
            `declare shardCount: ${base.found.declared}`,
        );
        this.step("alter", base.name, text, { shardCount: wantedShards });
    }

    private distribute(wish: Wish, colocateWith: string | undefined): void {
        const { bytes, accessMethod, managed, facts } = wish.found;
        const shardCount = this.group.tables[this.anchorName]?.shardCount;
        const what = `is distributed by ${wish.spec.column}${colocateWith === undefined ? "" : ` beside ${colocateWith}`}`;
        const identities = facts?.identities ?? [];
        if (accessMethod && managed && identities.length > 0)
            this.refusals.push(
                `${wish.name} has the identity column ${list(identities)} and access method ${accessMethod}, and Citus manages it as a local table since it has a foreign key to a reference table. Citus can distribute no such table.\nMake it anew with ${list(identities)} bigint DEFAULT nextval('...'), copy its rows, and drop the old one.`,
            );
        this.step(
            "distribute",
            wish.name,
            accessMethod
                ? this.blocked(
                      wish.name,
                      `${what}, and writes to it wait meanwhile, since changes of access method ${accessMethod} can't be replicated`,
                      bytes,
                      this.found.rates.distribute,
                      `make it a heap table: SELECT alter_table_set_access_method(${literal(qualified(wish.name))}, 'heap')`,
                  )
                : `${wish.name}: ${what} while it is served; ${describeBytes(bytes)}, writes wait at the end only, ${lasting(bytes, this.found.rates.distribute)}`,
            {
                ...(accessMethod ? { blocking: true } : {}),
                ...(wish.spec.column === undefined ? {} : { column: wish.spec.column }),
                ...(colocateWith === undefined ? (shardCount === undefined ? {} : { shardCount }) : { colocateWith }),
            },
        );
    }

    private rewrite(wish: Wish, column: string | undefined): void {
        const { bytes, distributedBy } = wish.found;
        const by = column === undefined ? "" : `is distributed by ${distributedBy}, declared by ${column}, and `;
        this.step(
            "alter",
            wish.name,
            this.blocked(
                wish.name,
                `${by}is rewritten beside ${this.anchorName}, and can be neither read nor written meanwhile`,
                bytes,
                this.found.rates.alter,
                column === undefined ? "take it out of tables" : `declare distributeBy: ${distributedBy}`,
            ),
            { ...(column === undefined ? {} : { column }), colocateWith: this.anchorName },
        );
    }

    /** Every distributed table into the anchor's group, the anchor first. */
    distributed(): void {
        const { anchor, base } = this;
        if (anchor?.make && anchor.target === "distributed") this.distribute(anchor, base?.name);
        for (const wish of this.wishes.values()) {
            if (wish.name === this.anchorName) continue;
            if (wish.make && wish.target === "distributed") this.distribute(wish, this.anchorName);
            if (wish.colocate)
                this.step(
                    "colocate",
                    wish.name,
                    `${wish.name}: joins the group of ${this.anchorName}; nothing is copied`,
                    {
                        colocateWith: base?.name ?? this.anchorName,
                    },
                );
            if (wish.alter && !wish.beside) this.rewrite(wish, wish.alter.column);
        }
    }

    absent(): void {
        const { made, pending } = this.found;
        if (pending && made) this.refusals.push(...refuseUnmade(this.group, this.missing, made));
        for (const name of this.missing) {
            const spec = this.group.tables[name];
            if (!spec) continue;
            const target = targetKind(this.group, spec);
            if (!this.found.pending)
                this.refusals.push(
                    `${name} does not exist. Make it (CREATE TABLE ...) in a file of template, or take it out of tables.`,
                );
            else if (target === "local")
                this.notes.push(`${name}: does not exist yet; a file of template has to make it`);
            else
                this.step(
                    target === "distributed" ? "distribute" : "reference",
                    name,
                    target === "distributed"
                        ? `${name}: is distributed by ${spec.column}, once a file of template has made it`
                        : `${name}: becomes a reference table, once a file of template has made it`,
                );
        }
    }
}

/** Everything that stands in the way is listed at once; nothing is copied while there is any. */
export function planTables(group: GroupSpec, found: FoundTables): Planned {
    const plan = new Plan(group, found);
    plan.wish();
    plan.changes();
    plan.ways();
    if (found.leftover)
        plan.step(
            "sweep",
            "",
            "what a run that was ended half-way left of tables made anew is removed; the tables themselves are whole",
        );
    const set = plan.besides();
    const { drop, put, gone } = plan.keys(set);
    plan.undistribute();
    plan.reference();
    plan.shards(set);
    if (set) plan.besideStep(set, drop);
    plan.distributed();
    for (const { table, name } of gone)
        plan.step("forget", table, `${table}: foreign key ${name} is dropped: it can't be there any more`, {
            key: name,
        });
    for (const { table, name } of put)
        plan.step("putBack", table, `${table}: foreign key ${name} is put back, and every row checked`, { key: name });
    plan.absent();
    const { steps, refusals, notes } = plan;
    const moves = steps.some(
        ({ kind }) => !["tables.forget", "tables.putBack", "tables.colocate", "tables.sweep"].includes(kind),
    );
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
