/** npm run tenants -- key [GROUP|TABLE] */

import { type KeyAsked, readDistributed, readKeys } from "../../core/tenants/ask/keyFacts.ts";
import { judgeKey, type KeyFacts, type KeyFinding } from "../../core/tenants/ask/keyJudge.ts";
import type { GroupSpec } from "../../core/tenants/group/spec.ts";
import { describeBytes } from "../../core/util/bytes.ts";
import { withStack } from "../lib/groups.ts";
import { readGroups } from "./check.ts";

export interface JudgedKey extends KeyFacts {
    readonly findings: readonly KeyFinding[];
}

/**
 * Which keys are asked about. Pure.
 * @param name a group, a table, or nothing for all
 * @throws Error naming what there is
 */
export function askedKeys(
    groups: readonly GroupSpec[],
    distributed: readonly { readonly table: string; readonly column: string }[],
    name?: string,
): KeyAsked[] {
    const declared = groups
        .filter(({ model }) => model === "row" || model === "rls")
        .flatMap((group) =>
            Object.entries(group.tables).flatMap(([table, { column }]) => {
                const shards = group.tables[group.anchor ?? ""]?.shardCount;
                return column === undefined
                    ? []
                    : [{ group: group.name, table, column, ...(shards === undefined ? {} : { shards }) }];
            }),
        );
    const rest = distributed.filter(({ table }) => !declared.some((known) => known.table === table));
    const short = (table: string) => table.replace(/^public\./, "");
    const all = [...declared, ...rest.map((table) => ({ group: undefined, ...table }))];
    const found =
        name === undefined ? all : all.filter(({ group, table }) => group === name || short(table) === short(name));
    if (found.length === 0 && name !== undefined)
        throw new Error(
            `${name} is neither a group of model row or rls, nor a table with a distribution column. There are ${[...new Set(all.flatMap(({ group, table }) => (group === undefined ? [table] : [group, table])))].join(", ") || "none"}.`,
        );
    return found.map(({ group: _, ...asked }) => asked);
}

const percent = (part: number) => `${Math.round(part * 1000) / 10} %`;
const number = (n: number) => Math.round(n).toLocaleString("en-US");

/** Pure. */
export function renderKeys(keys: readonly JudgedKey[]): string {
    if (keys.length === 0)
        return "No table has a distribution column: nothing is distributed, and no group of model row or rls has tables.";
    return keys
        .map((key) => {
            const { values, largest, statements } = key;
            const lines = [
                `${key.table} by ${key.column} (${key.type}): ${number(values.rows)} rows, ${key.distributed ? `${key.shards} shards` : `to be ${key.shards} shards`}`,
                values.distinct === null
                    ? `  values      not known: ANALYZE ${key.table} (npm run psql -- -c 'ANALYZE ${key.table}')`
                    : `  values      ${number(values.distinct)}, ${percent(values.nulls ?? 0)} NULL${values.biggest === null ? "" : `, the most common has ${percent(values.biggest)} of the rows`}`,
                ...(largest && largest.bytes > 0
                    ? [
                          `  largest     shard ${largest.shard} on ${largest.node}: ${describeBytes(largest.bytes)}, ${(largest.bytes / Math.max(1, largest.mean)).toFixed(1)} times the mean`,
                      ]
                    : []),
                statements
                    ? `  statements  ${statements.calls === 0 ? "none asked it since the statistics were reset" : `${percent(statements.namedCalls / statements.calls)} of ${number(statements.calls)} calls name it, ${percent(statements.milliseconds > 0 ? statements.namedMilliseconds / statements.milliseconds : 1)} of the time`}`
                    : "  statements  not known: pg_stat_statements is not there",
                ...key.findings.map(
                    ({ severity, says }) => `  ${severity === "error" ? "ERROR" : "warning"}   ${says}`,
                ),
            ];
            if (key.findings.some(({ severity }) => severity === "error") && key.distributed)
                lines.push(
                    "  to change   declare another distributeBy and run npm run preview: it says the bytes, the time, the disk and how long writes wait",
                );
            return lines.join("\n");
        })
        .join("\n\n");
}

/** @returns whether no key is wrong */
export async function key(name: string | undefined, { json }: { json?: boolean }): Promise<boolean> {
    const known = await readGroups();
    const keys = await withStack(async ({ session, groups }) => {
        const made = groups
            .map(({ group }) => group)
            .filter((group) => !known.some((other) => other.name === group.name));
        const asked = askedKeys([...known, ...made], await readDistributed(session), name);
        return (await readKeys(session, asked)).map((facts) => ({ ...facts, findings: judgeKey(facts) }));
    });
    console.log(json ? JSON.stringify(keys, null, 2) : renderKeys(keys));
    return !keys.some(({ findings }) => findings.some(({ severity }) => severity === "error"));
}
