/** The contents of pg_dump's archive, put into an order that runs with Citus' calls in between. Nothing of it is a name's text. */
import type { Catalog, View } from "./catalog.ts";

export interface Entry {
    readonly id: number;
    /** The line as pg_restore wants it back. */
    readonly line: string;
    /** Type, schema, name and owner, which can't be told apart where a name has blanks. */
    readonly what: string;
    readonly needs: readonly number[];
}

/** Parses what `pg_restore --list --verbose` prints. */
export function parseContents(text: string): Entry[] {
    const entries: { id: number; line: string; what: string; needs: number[] }[] = [];
    for (const line of text.split("\n")) {
        const entry = /^(\d+); \d+ \d+ (.*)$/.exec(line);
        if (entry) entries.push({ id: Number(entry[1]), line, what: entry[2] ?? "", needs: [] });
        const needs = /^;\tdepends on:([ \d]+)$/.exec(line);
        if (needs) entries.at(-1)?.needs.push(...(needs[1] ?? "").trim().split(/ +/).map(Number));
    }
    return entries;
}

export interface Parts {
    /** Before Citus' calls: whatever tables are made of, their keys and indexes, and who may do what. */
    readonly before: readonly Entry[];
    /**
     * Right after: they need both tables distributed, and make Citus take in local tables. With them the checks that are
     * not valid yet, which Citus makes valid when it distributes their table.
     */
    readonly foreignKeys: readonly Entry[];
    /**
     * Last: when Citus takes in a local table it makes a new one in its place, which loses comments, and views with their
     * grants and indexes. Triggers and policies work here, too.
     */
    readonly after: readonly Entry[];
    /** Views among them that lose their entry, and with it their owner. */
    readonly ownerless: readonly View[];
    /** Left out: they may hold a password. */
    readonly secret: readonly Entry[];
}

const VIEW = /^(MATERIALIZED )?VIEW /;
const FOREIGN_KEY = /^(FK|CHECK) CONSTRAINT /;
const SECRET = /^USER MAPPING /;
const LATE =
    /^(COMMENT|SECURITY LABEL|TRIGGER|EVENT TRIGGER|RULE|POLICY|ROW SECURITY|PUBLICATION|PUBLICATION TABLE|PUBLICATION TABLES IN SCHEMA|DEFAULT ACL) /;

type Lists = Pick<Parts, "before" | "foreignKeys" | "after" | "secret">;

/** @throws Error when a table that Citus knows is made of a view, which no order can do */
export function arrange(entries: readonly Entry[], catalog: Catalog): Parts {
    const parts: { [Part in keyof Lists]: Entry[] } = { before: [], foreignKeys: [], after: [], secret: [] };
    const secret = new Set<number>();
    const late = new Set<number>();
    const given = catalog.tables.map((table) => ({ name: table.name, start: `TABLE ${table.schema} ${table.bare} ` }));
    for (const entry of entries) {
        if (SECRET.test(entry.what) || entry.needs.some((id) => secret.has(id))) {
            secret.add(entry.id);
            parts.secret.push(entry);
        } else if (FOREIGN_KEY.test(entry.what)) {
            parts.foreignKeys.push(entry);
        } else if (VIEW.test(entry.what) || LATE.test(entry.what) || entry.needs.some((id) => late.has(id))) {
            const table = given.find(({ start }) => entry.what.startsWith(start));
            if (table) {
                throw new Error(
                    `${table.name} needs a view that can only be made after Citus' tables, and ${table.name} is one of them: no order of statements makes both. Nothing was written.`,
                );
            }
            late.add(entry.id);
            parts.after.push(entry);
        } else parts.before.push(entry);
    }
    return { ...parts, ...wholeViews(parts.after, catalog) };
}

/**
 * A view that needs a primary key is in the archive twice: without its query among the tables, and as a rule after the
 * keys. Citus tells the workers of the first and then refuses the second. The keys are there already, so the second alone will do.
 */
function wholeViews(after: readonly Entry[], catalog: Catalog): Pick<Parts, "after" | "ownerless"> {
    const late = new Set(after.map(({ id }) => id));
    const rules = new Map<string, Entry>();
    for (const entry of after) {
        const of = /^RULE (.*) _RETURN /.exec(entry.what)?.[1];
        if (of !== undefined) rules.set(`VIEW ${of} `, entry);
    }
    const done = new Set<number>();
    const ordered: Entry[] = [];
    const ownerless: View[] = [];
    for (const entry of after) {
        if (done.has(entry.id)) continue;
        const start = [...rules.keys()].find((begin) => entry.what.startsWith(begin));
        const rule = start === undefined ? undefined : rules.get(start);
        done.add(entry.id);
        if (rule?.needs.every((id) => !late.has(id) || done.has(id))) {
            done.add(rule.id);
            ordered.push(rule);
            ownerless.push(...catalog.views.filter(({ schema, bare }) => start === `VIEW ${schema} ${bare} `));
        } else ordered.push(entry);
    }
    return { after: ordered, ownerless };
}
