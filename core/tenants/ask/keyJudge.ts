/** Whether a column is a good distribution key, from what its values and the statements of clients are. Pure. */
import { describeBytes } from "../../util/bytes.ts";

/** What is known of the values of a column; what ANALYZE has not seen yet is null. */
export interface KeyValues {
    /** Different values. */
    readonly distinct: number | null;
    /** Part of the rows that are NULL, 0 to 1. */
    readonly nulls: number | null;
    /** Part of the rows that have the most common value, 0 to 1. */
    readonly biggest: number | null;
    /** That value, as text. */
    readonly value?: string | null;
    readonly rows: number;
}

/** Statements of clients that ask the table, since the statistics were reset. */
export interface KeyStatements {
    readonly calls: number;
    readonly milliseconds: number;
    /** Of those, what names one value of the key, or a list of them. */
    readonly namedCalls: number;
    readonly namedMilliseconds: number;
}

export interface KeyFacts {
    readonly table: string;
    readonly column: string;
    /** As format_type() writes it. */
    readonly type: string;
    readonly isEnum: boolean;
    /** Shards that the table has, or is to have. */
    readonly shards: number;
    /** Whether it is distributed by that column already. */
    readonly distributed: boolean;
    readonly values: KeyValues;
    /** Bytes of the largest shard with those that lie beside it, and of a shard on average; null before it is distributed. */
    readonly largest?: {
        readonly shard: string;
        readonly node: string;
        readonly bytes: number;
        readonly mean: number;
    } | null;
    /** Null where nothing says which statements ran. */
    readonly statements?: KeyStatements | null;
}

export interface KeyFinding {
    readonly severity: "error" | "warning";
    readonly says: string;
}

const percent = (part: number) => `${part > 0 && part < 0.01 ? "under 1" : Math.round(part * 100)} %`;

/** Shards below this are as good as empty, and their sizes say nothing. */
const SMALL = 10_000_000;

const plural = (n: number, one: string) => `${n.toLocaleString("en-US")} ${one}${n === 1 ? "" : "s"}`;

/** Every reason against it. */
export function judgeKey(facts: KeyFacts): KeyFinding[] {
    const { table, column, type, shards, values, largest, statements } = facts;
    const found: KeyFinding[] = [];
    const key = `${table}.${column}`;
    const say = (severity: KeyFinding["severity"], says: string) => found.push({ severity, says });
    const { distinct, biggest, nulls, rows, value } = values;
    const most =
        biggest !== null && biggest > 0.2
            ? `; ${percent(biggest)} of rows in 1${value === undefined || value === null ? "" : ` (${value})`}`
            : "";
    if (
        distinct !== null &&
        rows > 0 &&
        distinct < shards &&
        (rows >= 10 * shards || type === "boolean" || facts.isEnum)
    )
        say(
            "error",
            `${key} has ${plural(distinct, "value")} for ${shards} shards: ${shards - distinct} stay empty${most}`,
        );
    else if (distinct !== null && rows >= 100 * shards && distinct < 4 * shards)
        say(
            "warning",
            `${key} has ${plural(distinct, "value")} for ${shards} shards, so some shards get several and others none${most}`,
        );
    else if (most !== "" && rows >= 10 * shards)
        say(
            "warning",
            `${percent(biggest ?? 0)} of the rows of ${table} have one value of ${column}${value === undefined || value === null ? "" : ` (${value})`}: its shard does that much of the work. A shard of its own (isolate) and a node of its own (node) help; more shards do not`,
        );
    if (nulls !== null && nulls > 0)
        say("error", `${percent(nulls)} of the rows of ${table} have no ${column}: a row without a key has no shard`);
    if (type === "boolean" && !found.some(({ severity }) => severity === "error"))
        say("error", `${key} is boolean: it has 2 values, and all shards but 2 stay empty`);
    if (/^(date|timestamp)/.test(type))
        say(
            "warning",
            `${key} is a ${type}: rows of one tenant are on every shard, what is asked of a range of time asks all shards, and nothing else joins it`,
        );
    if (largest && largest.bytes > SMALL && largest.bytes > 3 * largest.mean)
        say(
            "warning",
            `shard ${largest.shard} of ${table} on ${largest.node} has ${describeBytes(largest.bytes)}, ${(largest.bytes / largest.mean).toFixed(1)} times the mean of ${describeBytes(largest.mean)}`,
        );
    if (statements && statements.calls >= 20) {
        const byTime = statements.milliseconds > 0 ? statements.namedMilliseconds / statements.milliseconds : 1;
        const byCalls = statements.namedCalls / statements.calls;
        if (byCalls < 0.5 || byTime < 0.5)
            say(
                byCalls < 0.1 && byTime < 0.1 ? "error" : "warning",
                `${percent(byCalls)} of the statements that ask ${table} name ${column} (${percent(byTime)} of their time): the others ask all ${shards} shards. npm run tenants -- explain "..." says how to make one of them ask one shard`,
            );
    }
    return found;
}

/** Columns whose names say that they have few values, or that they are no tenant. */
const FEW_VALUES = /^(is_|has_)|(^|_)(status|state|kind|type|active|enabled|deleted|role|level|priority)$/;

/** What the name and the type of a column say by themselves, before there is a row. @returns why it makes a poor key */
export function poorKey(column: string, type: string, isEnum = false): string | undefined {
    if (type === "boolean") return "it has 2 values, so all shards but 2 stay empty";
    if (isEnum) return "an enum has few values, so most shards stay empty";
    if (/^(date|timestamp)/.test(type))
        return "rows of one tenant are on every shard then, and what is asked of a range of time asks all of them";
    if (FEW_VALUES.test(column)) return "its name says that it has few values, so most shards stay empty";
    return undefined;
}
