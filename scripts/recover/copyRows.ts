/** One table's rows from a restored copy into the living cluster: all of them or nothing. */

import { COORDINATOR } from "../../core/node/topology.ts";
import { DatabaseError, type StreamSession } from "../../core/reach/session.ts";
import { literal } from "../../core/sql/quote.ts";
import { describeBytes } from "../../core/util/bytes.ts";
import { type Nodes, openSink, readRows } from "../dump/rows.ts";
import { readTables, writeStatement } from "../dump/tables.ts";
import { createStatements, type Definition, distribution, readLiving, type Target } from "./table.ts";

export interface Recovered {
    /** Rows in the copy, counted there by SQL through its coordinator. */
    readonly inCopy: string;
    /** Rows in the new table, counted in the living cluster. */
    readonly inNew: string;
    /** How it is spread, for a person. */
    readonly says: string;
}

const EVERY = 5000;

/** Which rows; undefined for all. */
export function ofTenant({ spread, name }: Definition, tenant: string | undefined): string | undefined {
    if (tenant === undefined) return undefined;
    if (!spread?.column || !spread.columnType)
        throw new Error(
            `${name} is not distributed by a column, so no rows of it are one tenant's. Leave --tenant away to recover all of it.`,
        );
    return `"${spread.column.replaceAll('"', '""')}" = ${literal(tenant)}::${spread.columnType}`;
}

export async function copyRows(
    table: Definition,
    target: Target,
    copy: Nodes,
    living: StreamSession,
    { tenant, say }: { tenant?: string; say: (text: string) => void },
): Promise<Recovered> {
    const where = ofTenant(table, tenant);
    const from = copy.get(0) as StreamSession;
    const [counted] = await from.query<{ n: string }>(
        `SELECT count(*)::text AS n FROM ${table.spread === null && table.kind === "r" ? "ONLY " : ""}${table.name}${where === undefined ? "" : ` WHERE ${where}`}`,
    );
    const inCopy = counted?.n ?? "?";
    const { statements, says } = distribution(table, target.name, await readLiving(living, table, target.schema));
    const columns = table.columns.filter(({ generated }) => generated === null).map(({ name }) => name);
    say(`  copying ${inCopy} rows of ${table.name} into ${target.name}`);
    await living.query("BEGIN");
    try {
        for (const statement of [...createStatements(table, target.name), ...statements]) await living.query(statement);
        const { sink, stream } = openSink(living, writeStatement(target.name, columns));
        let failed: Error | undefined;
        stream.on("error", (error) => {
            failed = error;
        });
        let [bytes, last] = [0, Date.now()];
        try {
            for (const leaf of table.leaves) {
                const [found] = await readTables(from, leaf);
                if (!found) throw new Error(`${leaf} is not in the copy.`);
                await readRows(
                    copy,
                    { ...found, columns },
                    async (chunk) => {
                        bytes += chunk.length;
                        if (Date.now() - last > EVERY) {
                            last = Date.now();
                            say(`  ${describeBytes(bytes)} copied`);
                        }
                        await sink.write(chunk);
                    },
                    where === undefined ? {} : { where },
                );
            }
            await sink.end();
        } catch (error) {
            if (!failed) stream.destroy(error as Error);
            throw failed ? new DatabaseError(COORDINATOR, `writing ${target.name}`, failed) : error;
        }
        const [row] = await living.query<{ n: string }>(`SELECT count(*)::text AS n FROM ${target.name}`);
        const inNew = row?.n ?? "?";
        if (inNew !== inCopy)
            throw new Error(`${table.name} has ${inCopy} rows in the copy, and ${target.name} got ${inNew}.`);
        await living.query("COMMIT");
        await living.query(`ANALYZE ${target.name}`);
        return { inCopy, inNew, says };
    } catch (error) {
        await living.query("ROLLBACK").catch(() => undefined);
        throw new Error(
            `${(error as Error).message}\n${target.name} was not made; nothing was changed in the cluster.`,
        );
    }
}
