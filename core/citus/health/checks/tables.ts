/** Tables, their indexes and their sequences. */

import { COORDINATOR } from "../../../node/topology.ts";
import { literal } from "../../../sql/quote.ts";
import { BLOCKERS, type BlockerRow, blockerOf } from "../../catalog.ts";
import type { Finding } from "../read/finding.ts";
import { ofCoordinator, ofNodes } from "./check.ts";

export const replicaIdentity = ofCoordinator<readonly BlockerRow[]>({
    id: "replica-identity",
    title: "every shard can be moved while it is written",
    sql: `SELECT coalesce(jsonb_agg(to_jsonb(b)), '[]') AS answer FROM (${BLOCKERS}) b`,
    judge: (rows) =>
        rows.map(blockerOf).map(
            ({ table, reason, fix, shards }): Finding => ({
                check: "replica-identity",
                danger: "mend",
                node: null,
                object: table,
                says: `${table} (${shards} ${shards === 1 ? "shard" : "shards"}) stands in the way of moving shards: ${reason}. A worker that is added gets none of its rows, and none can leave`,
                mend: fix.replace(/;(?=\s*(--.*)?$)/, ""),
                on: COORDINATOR,
            }),
        ),
});

interface Index {
    readonly index: string;
    readonly table: string;
    /** Whether it can be made anew in place; a constraint's, or one that only Citus' coordinator has, too. */
    readonly ready: boolean;
    readonly partitioned: boolean;
    readonly distributed: boolean;
}

export const invalidIndexes = ofNodes<readonly Index[]>({
    id: "invalid-indexes",
    title: "every index is valid, on shards too",
    sql: `(SELECT coalesce(jsonb_agg(jsonb_build_object('index', format('%I.%I', n.nspname, c.relname), 'table', format('%I.%I', tn.nspname, t.relname), 'ready', i.indisready,
              'partitioned', c.relkind = 'I', 'distributed', EXISTS (SELECT 1 FROM pg_dist_partition p WHERE p.logicalrelid = t.oid)) ORDER BY n.nspname, c.relname), '[]')
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_class t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
       WHERE NOT i.indisvalid AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_stat_progress_create_index b WHERE b.index_relid = c.oid OR b.relid = t.oid))`,
    judge: (answers) =>
        answers.flatMap(({ node, answer }) =>
            answer.map(({ index, table, distributed }): Finding => {
                const anew = `REINDEX INDEX CONCURRENTLY ${index}`;
                return {
                    check: "invalid-indexes",
                    danger: "mend",
                    node,
                    object: index,
                    says: `${node}: index ${index} of ${table} is not valid: no query uses it, and a unique one guards nothing. ${
                        distributed
                            ? "CREATE INDEX CONCURRENTLY failed on a shard. Drop it, then create it again"
                            : `Make it anew on ${node}`
                    }`,
                    mend: distributed ? `DROP INDEX ${index}` : anew,
                    on: distributed ? COORDINATOR : node,
                    ...(distributed ? {} : { fix: { kind: "sql", node, statements: [anew] } }),
                };
            }),
        ),
});

interface Sequence {
    readonly name: string;
    readonly last: string;
    readonly used: number;
    /** What takes its values from it; null for nothing. */
    readonly owner: {
        readonly table: string;
        readonly column: string;
        readonly distributed: boolean;
        /** Whether the table is distributed by it. */
        readonly key: boolean;
        readonly identity: boolean;
    } | null;
    /** Whether its range is the worker's part of the cluster's ids. */
    readonly range: boolean;
}

/**
 * A column may be narrower than its sequence: then the column's type is the end. On a worker Citus gives each sequence of
 * type bigint a range of its own, and none to narrower ones: those are not asked there.
 */
const SEQUENCES = `SELECT format('%I.%I', n.nspname, c.relname) AS name, s.last, to_jsonb(a) - 'most' AS owner, q.seqmin > 1 AS range,
        ((s.last - least(q.seqmin, s.last))::numeric / greatest(least(q.seqmax, coalesce(a.most, q.seqmax))::numeric - q.seqmin, 1))::float8 AS used
    FROM pg_catalog.pg_sequence q JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
    LATERAL (SELECT pg_sequence_last_value(q.seqrelid) AS last) s
    LEFT JOIN LATERAL (
        SELECT format('%I.%I', tn.nspname, t.relname) AS "table", quote_ident(a.attname) AS "column", p.logicalrelid IS NOT NULL AS distributed, a.attidentity <> '' AS identity,
               coalesce(p.partmethod <> 'n' AND column_to_column_name(p.logicalrelid, p.partkey) = a.attname, false) AS key,
               CASE a.atttypid WHEN 'int2'::regtype THEN 32767::bigint WHEN 'int4'::regtype THEN 2147483647 END AS most
          FROM (SELECT d.refobjid AS rel, d.refobjsubid AS col FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = q.seqrelid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
                UNION SELECT f.adrelid, f.adnum FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = q.seqrelid) u
          JOIN pg_catalog.pg_attribute a ON a.attrelid = u.rel AND a.attnum = u.col JOIN pg_catalog.pg_class t ON t.oid = u.rel JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
          LEFT JOIN pg_dist_partition p ON p.logicalrelid = t.oid
         ORDER BY most NULLS LAST, 1 LIMIT 1) a ON true
   WHERE s.last IS NOT NULL AND NOT q.seqcycle AND q.seqincrement > 0 AND n.nspname !~ '^(pg_|citus$)'
     AND ((SELECT groupid FROM pg_dist_local_group) = 0 OR q.seqtypid = 'bigint'::regtype)`;

/** What to do about one that is nearly used up, where it can be said. */
function wider(
    node: string,
    { name, last, owner, range }: Sequence,
): { readonly says: string; readonly mend: string | null } {
    if (range)
        return {
            says: `Insert through another node, or replace ${node} by a new worker, which gets a new range (citus:retire)`,
            mend: null,
        };
    if (owner === null)
        return { says: "Begin again where numbers are free", mend: `SELECT setval(${literal(name)}, 1, false)` };
    const { table, column, distributed, key, identity } = owner;
    const type = `ALTER TABLE ${table} ALTER COLUMN ${column} TYPE bigint`;
    if (!distributed)
        return {
            says: "This rewrites the table, and its writes wait",
            mend: `ALTER SEQUENCE ${name} AS bigint MAXVALUE ${2n ** 63n - 1n}; ${type}`,
        };
    if (key || identity)
        return {
            says: `Citus changes neither the type of a distribution column nor an identity column. Make a table with a column of type bigint, copy the rows, and rename it to ${table}`,
            mend: null,
        };
    const alter = `ALTER TABLE ${table} ALTER COLUMN ${column}`;
    return {
        says: "Citus alters no sequence of a distributed table, so another one takes its place. This rewrites the table, and INSERTs that take a number fail until it is done",
        mend: `${alter} DROP DEFAULT; DROP SEQUENCE ${name}; ${type}; CREATE SEQUENCE ${name} START ${BigInt(last) + 1n}; ${alter} SET DEFAULT nextval(${literal(name)})`,
    };
}

export const sequences = ofNodes<readonly Sequence[]>({
    id: "sequences",
    title: "no sequence is near its end, on no worker in its range either",
    // what is above the least of all limits is left to the judge
    sql: `(SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'last', last::text, 'used', used, 'owner', owner, 'range', range) ORDER BY used DESC), '[]') FROM (${SEQUENCES}) s WHERE used > 0.5)`,
    judge: (answers, { sequenceUsed, sequenceUsedDanger }) =>
        answers.flatMap(({ node, answer }) =>
            answer
                .filter(({ used }) => used >= sequenceUsed)
                .map((sequence): Finding => {
                    const { name, last, used, owner, range } = sequence;
                    const ids = owner === null ? "" : ` (it numbers ${owner.table}.${owner.column})`;
                    const of = range ? " in the worker's own range of ids" : "";
                    const { says, mend } = wider(node, sequence);
                    return {
                        check: "sequences",
                        danger: used >= sequenceUsedDanger ? "danger" : "mend",
                        node,
                        object: name,
                        says: `${node}: sequence ${name}${ids} is at ${last}: ${(100 * used).toFixed(1)} % of its numbers are used${of}. At the end every INSERT that takes one fails. ${says}`,
                        mend,
                        on: mend === null ? null : node,
                    };
                }),
        ),
});
