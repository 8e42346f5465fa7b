/** Models row and rls: an export whose tables have changed since. What both have is brought back and compared; the rest is named. */

import { identifier, literal } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import { nameOf, PRINT, rowsOf, SAME_TEXT } from "../data/checksum.ts";
import { inOrder, type Slice } from "../data/shape.ts";
import type { Manifest } from "./export.ts";

/** A table of an export, in the file's order. */
export interface Head {
    readonly schema: string;
    readonly name: string;
    readonly columns: readonly string[];
}

/** What `COPY "public"."users" ("id", "email") FROM stdin;` names. @throws Error for any other line */
export function parseHead(line: string): Head {
    const names = [...line.matchAll(/"((?:[^"]|"")*)"/g)].map(([, name = ""]) => name.replaceAll('""', '"'));
    const [schema, name, ...columns] = names;
    if (!/^COPY ".*\) FROM stdin;$/.test(line) || schema === undefined || name === undefined)
        throw new Error(`the export has a line that is no COPY of a table: ${line.slice(0, 200)}`);
    return { schema, name, columns };
}

/** One table of an export with what is there of it now. */
interface Fitted {
    readonly head: Head;
    /** Its name in the manifest. */
    readonly key: string;
    readonly slice: Slice | undefined;
    /** Columns that both have, with their types of now. */
    readonly shared: readonly { readonly name: string; readonly type: string }[];
}

export interface Fit {
    readonly tables: readonly Fitted[];
    /** Whether the file's rows can go into the tables as they are. */
    readonly asItIs: boolean;
    /** What is in the file and has no place any more, for a person. */
    readonly leftOut: readonly string[];
    /** Columns of another type than then, for a person. */
    readonly converted: readonly string[];
}

/** What of an export fits into the tables as they are now. Pure. */
export function fit(manifest: Manifest, heads: readonly Head[], slices: readonly Slice[]): Fit {
    const leftOut: string[] = [];
    const converted: string[] = [];
    const tables = heads.map((head): Fitted => {
        const full = `${head.schema}.${head.name}`;
        const key = manifest.prints[full] === undefined ? head.name : full;
        const slice = slices.find(({ table }) => table.schema === head.schema && table.name === head.name);
        if (slice === undefined) {
            const { count = "0" } = manifest.prints[key] ?? {};
            if (count !== "0") leftOut.push(`table ${full} (${countOf(Number(count), "row")})`);
            return { head, key, slice, shared: [] };
        }
        const then = manifest.columns?.[key];
        const shared = head.columns.flatMap((name) => {
            const column = slice.table.columns.find((one) => one.name === name);
            if (column === undefined || column.generated) {
                leftOut.push(`column ${full}.${name}${column?.generated ? ", which is computed now" : ""}`);
                return [];
            }
            const was = then?.find((one) => one.name === name)?.type;
            if (was !== undefined && was !== column.type)
                converted.push(`${full}.${name} from ${was} to ${column.type}`);
            return [{ name, type: column.type }];
        });
        return { head, key, slice, shared };
    });
    return {
        tables,
        asItIs:
            converted.length === 0 &&
            tables.every(({ head, slice, shared }) => slice && shared.length === head.columns.length),
        leftOut,
        converted,
    };
}

const staged = (i: number) => `pg_temp.exported_${i}`;

/** SQL of a query for one row (count, sum) as two variables of PL/pgSQL. */
const into = (rows: string, variables: string) =>
    `SELECT x.count, x.sum INTO ${variables} FROM (SELECT ${PRINT} FROM (${rows}) AS t) AS x;`;

/** How rows go by tables of text that end with the transaction: what has no place any more is read all the same. */
export interface Detour {
    /** SQL before the file. */
    readonly before: string;
    /** Lines that take the place of the file's COPY lines. */
    readonly heads: readonly string[];
    /** SQL behind the file: fails where the rows are not those that were exported, before and after they are in their tables. */
    readonly after: string;
}

export function detour(manifest: Manifest, { tables }: Fit): Detour {
    const names = ({ columns }: Head) => columns.map(identifier).join(", ");
    const withPlace = tables.flatMap(({ slice, shared }, i) =>
        slice === undefined || shared.length === 0 ? [] : [{ slice, shared, i }],
    );
    const ordered = inOrder(withPlace, ({ slice }) => slice.table) ?? withPlace;
    const whole = tables.flatMap(({ head, key }, i) => {
        const print = manifest.prints[key];
        return print === undefined
            ? []
            : [
                  `${into(`SELECT ${names(head) || "1"} FROM ${staged(i)}`, "c, s")}\nIF (c, s) IS DISTINCT FROM (${literal(print.count)}, ${literal(print.sum)}) THEN RAISE EXCEPTION '% in the file has % rows and is not what its manifest says', ${literal(key)}, c; END IF;`,
              ];
    });
    const same = withPlace.map(({ slice, shared, i }) => {
        const typed = shared.map(({ name, type }) => `${identifier(name)}::${type} AS ${identifier(name)}`).join(", ");
        const now = rowsOf(
            slice,
            shared.map(({ name }) => name),
        );
        return `${into(`SELECT ${typed} FROM ${staged(i)}`, "c, s")}\n${into(now, "c2, s2")}\nIF (c, s) IS DISTINCT FROM (c2, s2) THEN RAISE EXCEPTION 'the restored rows of % are not those that were exported: it has % rows and the file % (a trigger may change them)', ${literal(nameOf(slice.table))}, c2, c; END IF;`;
    });
    const block = (name: string, statements: readonly string[]) =>
        `DO $${name}$\n#variable_conflict use_column\nDECLARE c text; s text; c2 text; s2 text; BEGIN\n${statements.join("\n")}\nEND $${name}$;\n`;
    return {
        before: tables
            .map(
                ({ head }, i) =>
                    `CREATE TEMP TABLE exported_${i} (${head.columns.map((column) => `${identifier(column)} text`).join(", ")}) ON COMMIT DROP;\n`,
            )
            .join(""),
        heads: tables.map(({ head }, i) => `COPY ${staged(i)} (${names(head)}) FROM stdin;`),
        after: [
            SAME_TEXT,
            block("whole", whole),
            ...ordered.map(
                ({ slice, shared, i }) =>
                    `INSERT INTO ${nameOf(slice.table)} (${shared.map(({ name }) => identifier(name)).join(", ")}) OVERRIDING SYSTEM VALUE SELECT ${shared.map(({ name, type }) => `${identifier(name)}::${type}`).join(", ")} FROM ${staged(i)};\n`,
            ),
            block("same", same),
        ].join(""),
    };
}

/** What a person is told of an export that did not fit whole; undefined when it did. */
export function notWhole({ leftOut, converted }: Fit, file: string): string | undefined {
    const told = [
        ...(leftOut.length > 0
            ? [
                  `not brought back, because the group's tables do not have it any more: ${leftOut.join(", ")}; it stays in ${file}`,
              ]
            : []),
        ...(converted.length > 0 ? [`converted: ${converted.join(", ")}`] : []),
    ];
    return told.length === 0 ? undefined : told.join("; ");
}
