/** How far sequences have come. The coordinator's go into the SQL; a worker numbers in a range of its own. */

import type { Session } from "../../core/reach/session.ts";
import { literal } from "../../core/sql/quote.ts";
import type { WorkerSequence } from "./file.ts";
import { oneLine } from "./tables.ts";

interface Sequence {
    readonly name: string;
}

const SEQUENCES = `
SELECT c.oid::pg_catalog.regclass::text AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'citus_as_code') AND n.nspname !~ '^pg_(toast|temp)'
   AND (EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname NOT LIKE 'citus%' AND c.oid = ANY (e.extconfig)) OR NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'))
 ORDER BY 1`;

interface State {
    readonly last: string;
    readonly called: boolean;
}

async function states(session: Session): Promise<{ name: string; last: string; called: boolean }[]> {
    const sequences = await session.query<Sequence>(SEQUENCES);
    const found: { name: string; last: string; called: boolean }[] = [];
    for (const { name } of sequences) {
        const [state] = await session.query<State>(`SELECT last_value::text AS last, is_called AS called FROM ${name}`);
        if (state) found.push({ name, ...state });
    }
    return found;
}

/** Statements that bring a new cluster's coordinator to where this one is. */
export async function sequenceStatements(coordinator: Session): Promise<string[]> {
    return (await states(coordinator)).map(
        ({ name, last, called }) => `SELECT pg_catalog.setval(${literal(name)}, ${last}, ${called});`,
    );
}

/** What workers have numbered themselves: rows that came in through them hold such numbers. */
export async function workerSequences(nodes: ReadonlyMap<number, Session>): Promise<WorkerSequence[]> {
    const found: WorkerSequence[] = [];
    for (const [group, session] of nodes) {
        if (group === 0) continue;
        for (const { name, last, called } of await states(session))
            if (called) found.push({ group, name: oneLine(name), last });
    }
    return found;
}

/**
 * Brings a new cluster's workers on from where those of the same group were, and keeps every other group that was used from
 * being given to a worker: its numbers are in the rows.
 */
export async function continueSequences(
    nodes: ReadonlyMap<number, Session>,
    sequences: readonly WorkerSequence[],
): Promise<void> {
    for (const { group, name, last } of sequences)
        await nodes.get(group)?.query(`SELECT pg_catalog.setval(${literal(name)}, ${last}, true)`);
    const highest = Math.max(0, ...sequences.map(({ group }) => group));
    await nodes
        .get(0)
        ?.query(
            `SELECT pg_catalog.setval('pg_catalog.pg_dist_groupid_seq', ${highest}) FROM pg_catalog.pg_dist_groupid_seq WHERE last_value < ${highest}`,
        );
}
