/** What making tables anew beside the old ones takes: time, disk, and how long writes wait. Pure. */
import { describeBytes } from "../../util/bytes.ts";

/** One table that is made anew. */
export interface BesideTable {
    /** As it is declared, or `schema.name`. */
    readonly name: string;
    readonly target: "local" | "distributed" | "reference";
    /** Its distribution column. */
    readonly column?: string;
}

/** Tables that are made anew together and switched in one transaction. */
export interface Beside {
    /** The first distributed one makes the group that the others join. */
    readonly tables: readonly BesideTable[];
    /** A table that stays, whose group they join. @default a group of their own */
    readonly colocateWith?: string;
    readonly shardCount?: number;
    /** Whether writes wait while rows are copied; they are followed otherwise. */
    readonly waiting: boolean;
    /** Foreign keys that can't be there afterwards. */
    readonly drop: readonly { readonly table: string; readonly name: string }[];
}

/** Bytes a second, by kind of call. */
export type Rates = Readonly<Record<string, number>>;

/** The longest time, in seconds, that writes wait for a switch of so many shards; one that would take longer is put off. */
export const longestWait = (shards: number) => 10 + Math.ceil(shards / 20);

/** The rate of making tables anew; another way of copying whole tables is the nearest that may have been measured. */
export const rateOf = (rates: Rates) => rates.beside ?? rates.alter ?? rates.distribute;

/** How long whom it keeps waiting. @param shards of all the tables */
export const describeWait = (waiting: boolean, shards: number) =>
    waiting
        ? "writes wait meanwhile, reads do not"
        : `it is served meanwhile, and writes wait ${longestWait(shards)} s at most, at the end`;

/** Bytes that each node needs while old and new tables are both there. @param holders nodes that take shards */
export function neededDisk(
    parts: readonly { readonly target: BesideTable["target"]; readonly bytes: number }[],
    holders: readonly string[],
): Map<string, number> {
    const needed = new Map<string, number>();
    const add = (node: string, bytes: number) => needed.set(node, (needed.get(node) ?? 0) + bytes);
    for (const { target, bytes } of parts) {
        if (target === "local" || target === "reference") add("coordinator", bytes);
        const others = holders.filter((name) => target !== "reference" || name !== "coordinator");
        if (target !== "local")
            for (const node of others) add(node, target === "reference" ? bytes : bytes / others.length);
    }
    return needed;
}

/** What the disks say to that: a clause, or a refusal. @param free bytes by node, of those that could be asked */
export function describeDisk(
    needed: ReadonlyMap<string, number>,
    free: Readonly<Record<string, number>>,
): { readonly text: string; readonly refusal?: string } {
    const parts = [...needed].map(([node, bytes]) =>
        free[node] === undefined
            ? `${describeBytes(Math.ceil(bytes))} on ${node}`
            : `${describeBytes(Math.ceil(bytes))} on ${node} (${describeBytes(free[node])} free)`,
    );
    // a full disk stops PostgreSQL, so a tenth is left
    const short = [...needed].filter(([node, bytes]) => free[node] !== undefined && bytes > 0.9 * (free[node] ?? 0));
    return {
        text: `disk needed until the old ones are dropped: ${parts.join(", ")}`,
        ...(short.length === 0
            ? {}
            : {
                  refusal: short
                      .map(
                          ([node, bytes]) =>
                              `${node} has ${describeBytes(free[node] ?? 0)} of disk free, and ${describeBytes(Math.ceil(bytes))} are needed while old and new tables are both there`,
                      )
                      .join("; "),
              }),
    };
}
