/** Tables of a group in models row and rls: what Citus' catalogs say of them, and how they become what they are declared. */
import { countOf } from "../../tenants/changePlan.ts";
import type { Context, Facet, Step } from "../../tenants/facet.ts";
import { identifier, literal, qualified } from "../quote.ts";
import type { Session } from "../session.ts";
import { runSplit } from "../split.ts";
import { CLOCK, VOLATILE } from "./guards.ts";
import { recordRate } from "./ledger.ts";
import { type FoundTables, NO_TABLES, planTables, type TableStep } from "./tablesPlan.ts";

/** What a relation is to Citus. */
const kindOf = (oid: string) => `coalesce((SELECT CASE
    WHEN d.partmethod = 'n' AND d.repmodel = 's' AND d.colocationid = 0 THEN 'local'
    WHEN EXISTS (SELECT 1 FROM pg_class r JOIN pg_dist_schema s ON s.schemaid = r.relnamespace WHERE r.oid = d.logicalrelid) THEN 'tenant'
    WHEN d.partmethod = 'n' AND d.repmodel = 't' THEN 'reference'
    WHEN d.partmethod = 'n' THEN 'single'
    WHEN d.partmethod = 'h' AND d.repmodel = 's' THEN 'distributed'
    ELSE 'other' END FROM pg_dist_partition d WHERE d.logicalrelid = ${oid}), 'local')`;

const colocationOf = (oid: string) =>
    `(SELECT nullif(p.colocationid, 0) FROM pg_dist_partition p WHERE p.logicalrelid = ${oid})`;

/** The columns of an int2 array of attribute numbers, in its order. */
const columnsOf = (oid: string, numbers: string) =>
    `(SELECT coalesce(jsonb_agg(a.attname ORDER BY n.i), '[]') FROM unnest(${numbers}) WITH ORDINALITY n (attnum, i)
        JOIN pg_attribute a ON a.attrelid = ${oid} AND a.attnum = n.attnum)`;

/** Columns of a relation whose default is such a one. @param oid SQL expression @param such on the default's tree of nodes */
const defaults = (
    oid: string,
    such: (tree: string) => string,
) => `(SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]')
    FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
   WHERE d.adrelid = ${oid} AND a.attgenerated = '' AND ${such("d.adbin::text")})`;

/** Bytes of a table wherever it is. */
const bytesOf = (oid: string) => `(CASE WHEN EXISTS (SELECT 1 FROM pg_dist_partition p WHERE p.logicalrelid = ${oid})
    THEN citus_total_relation_size(${oid}, fail_on_error := false)
    ELSE (SELECT coalesce(sum(pg_total_relation_size(x.relid)), pg_total_relation_size(${oid})) FROM pg_partition_tree(${oid}) x) END)`;

const FOUND = `
SELECT coalesce(jsonb_agg(jsonb_build_object(
    'name', t.name, 'relkind', c.relkind, 'unlogged', c.relpersistence = 'u',
    'accessMethod', (SELECT max(m.amname) FROM pg_class l JOIN pg_am m ON m.oid = l.relam
                      WHERE l.relkind = 'r' AND m.amname <> 'heap' AND (l.oid = c.oid OR l.oid IN (SELECT relid FROM pg_partition_tree(c.oid)))),
    'child', c.relispartition OR EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid),
    'kind', t.kind,
    'distributedBy', CASE WHEN t.kind = 'distributed' THEN column_to_column_name(p.logicalrelid, p.partkey) END,
    'colocation', nullif(p.colocationid, 0), 'declared', g.shardcount,
    'columnType', CASE WHEN t.kind = 'distributed' THEN format_type(g.distributioncolumntype, NULL) END,
    'shards', (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = c.oid),
    'layout', (SELECT md5(string_agg(format('%s %s %s', s.shardminvalue, s.shardmaxvalue, l.groupid), ',' ORDER BY s.shardminvalue::int))
                 FROM pg_dist_shard s JOIN pg_dist_placement l USING (shardid)
                WHERE t.kind = 'distributed' AND s.logicalrelid = c.oid),
    'column', (SELECT jsonb_build_object('type', format_type(a.atttypid, NULL), 'notNull', a.attnotnull, 'generated', a.attgenerated <> '')
                 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = t.col AND a.attnum > 0 AND NOT a.attisdropped),
    'identity', c.relreplident = 'f' OR EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
                  AND (CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END)),
    'uniques', (SELECT coalesce(jsonb_agg(x.relname ORDER BY x.relname), '[]') FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                 WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion) AND NOT EXISTS (
                       SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = t.col
                          AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))),
    'triggers', (SELECT coalesce(jsonb_agg(tgname ORDER BY tgname), '[]') FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal
                  AND tgname NOT LIKE 'truncate_trigger_%'),
    'rules', (SELECT coalesce(jsonb_agg(rulename ORDER BY rulename), '[]') FROM pg_rewrite WHERE ev_class = c.oid AND c.relkind IN ('r', 'p')),
    'volatile', ${defaults("c.oid", VOLATILE)}, 'clock', ${defaults("c.oid", CLOCK)},
    'shortSequences', (SELECT coalesce(jsonb_agg(DISTINCT a.attname), '[]') FROM pg_depend d JOIN pg_sequence q ON q.seqrelid = d.objid
                  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                 WHERE d.refobjid = c.oid AND d.deptype IN ('a', 'i') AND d.classid = 'pg_class'::regclass AND q.seqtypid <> 'int8'::regtype),
    'bytes', CASE WHEN t.kind <> t.target OR t.kind = 'distributed' AND (column_to_column_name(p.logicalrelid, p.partkey) IS DISTINCT FROM t.col
                       OR p.colocationid IS DISTINCT FROM (SELECT a.colocationid FROM pg_dist_partition a WHERE a.logicalrelid = t.anchor))
                  THEN ${bytesOf("c.oid")} ELSE 0 END,
    'together', CASE WHEN t.kind = 'distributed' AND t.shardcount <> g.shardcount THEN (
                  SELECT jsonb_build_object('tables', jsonb_agg(o.logicalrelid::text ORDER BY o.logicalrelid::text),
                         'bytes', sum(citus_total_relation_size(o.logicalrelid, fail_on_error := false)))
                    FROM pg_dist_partition o WHERE o.colocationid = p.colocationid) END
    ) ORDER BY t.name), '[]')
  FROM t JOIN pg_class c ON c.oid = t.oid
  LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.oid
  LEFT JOIN pg_dist_colocation g USING (colocationid)`;

const nameOf = (oid: string) => `coalesce((SELECT t.name FROM t WHERE t.oid = ${oid}), ${oid}::regclass::text)`;

const KEYS = `
SELECT coalesce(jsonb_agg(jsonb_build_object(
    'name', k.conname, 'table', ${nameOf("k.conrelid")}, 'references', ${nameOf("k.confrelid")},
    'columns', ${columnsOf("k.conrelid", "k.conkey")}, 'referenced', ${columnsOf("k.confrelid", "k.confkey")},
    'tableKind', ${kindOf("k.conrelid")}, 'referencesKind', ${kindOf("k.confrelid")},
    'tableColocation', ${colocationOf("k.conrelid")}, 'referencesColocation', ${colocationOf("k.confrelid")},
    'sets', CASE WHEN k.confupdtype IN ('n', 'd') OR k.confdeltype IN ('n', 'd') AND k.confdelsetcols IS NULL
                 THEN ${columnsOf("k.conrelid", "k.conkey")}
                 WHEN k.confdeltype IN ('n', 'd') THEN ${columnsOf("k.conrelid", "k.confdelsetcols")} ELSE '[]' END)
    ORDER BY k.conrelid, k.conname), '[]')
  FROM pg_constraint k
 WHERE k.contype = 'f' AND k.conparentid = 0
   AND (EXISTS (SELECT 1 FROM t WHERE t.oid = k.conrelid) OR EXISTS (SELECT 1 FROM t WHERE t.oid = k.confrelid))
   AND NOT relation_is_a_known_shard(k.conrelid)`;

/** Whether a file of the template has not been run; `$1` and `$2` as in every facet's query. */
export const PENDING = `EXISTS (SELECT 1 FROM jsonb_array_elements($2->'template') f WHERE NOT EXISTS (
    SELECT 1 FROM citus_as_code.tenant_migration m WHERE m.grp = $1 AND m.path = f->>'path'))`;

const rows = async (session: Session, table: string) => {
    const [row] = await session.query<{ n: string }>(`SELECT count(*) AS n FROM ${qualified(table)}`);
    return Number(row?.n);
};

const sizeOf = async (session: Session, table: string) => {
    const [row] = await session.query<{ n: string }>(`SELECT ${bytesOf("$1::regclass")} AS n`, [qualified(table)]);
    return Number(row?.n);
};

const detailOf = (step: Step) => (step.detail ?? {}) as TableStep;

/** Copies a table in one transaction, and takes it back when not every row is there afterwards. */
async function rewrite(context: Context, table: string, what: string, statements: readonly string[]): Promise<void> {
    const { session } = context;
    const bytes = await sizeOf(session, table);
    const began = Date.now();
    await session.query("BEGIN");
    try {
        await session.query(
            `SET LOCAL citus.multi_shard_modify_mode = 'sequential'; SET LOCAL client_min_messages = error; LOCK TABLE ${qualified(table)} IN SHARE ROW EXCLUSIVE MODE`,
        );
        const before = await rows(session, table);
        for (const statement of statements) await session.query(statement);
        const after = await rows(session, table);
        if (before !== after)
            throw new Error(
                `${table}: had ${countOf(before, "row")} before and ${after} after (${what}), so this was rolled back.\nNothing of ${table} was changed. Look for policies on it that hide rows, then run pulumi up again.`,
            );
        await session.query("COMMIT");
    } catch (error) {
        await session.query("ROLLBACK");
        throw error;
    }
    await recordRate(session, what, bytes, (Date.now() - began) / 1000);
    context.note(`${table}: ${(Date.now() - began) / 1000} s (${what})`);
}

async function eachStep(
    context: Context,
    steps: readonly Step[],
    run: (table: string, detail: TableStep) => Promise<void>,
) {
    for (const step of steps) {
        context.alive();
        context.progress(step.text);
        await run(step.table ?? "", detailOf(step));
    }
}

/** `call(a, b, c := d)` as a statement. */
const call = (name: string, table: string, named: Readonly<Record<string, string | number | boolean | undefined>>) => {
    const given = Object.entries(named).flatMap(([key, value]) =>
        value === undefined ? [] : [`${key} := ${typeof value === "string" ? literal(value) : value}`],
    );
    return `SELECT ${name}(${[literal(qualified(table)), ...given].join(", ")})`;
};

const group = (detail: TableStep) => (detail.colocateWith === undefined ? "none" : qualified(detail.colocateWith));

/** How often a table is tried while it is served, before it takes somebody who lets writes wait. */
const TRIES = 3;

/** @throws Error when clients' updates keep it from ending; the table is as it was */
async function distributeServed(
    context: Context,
    table: string,
    named: Readonly<Record<string, string | number | undefined>>,
): Promise<void> {
    const { session } = context;
    const watcher = await context.open("coordinator");
    const distribute = (name: string) => session.query(call(name, table, named));
    for (let i = 0; i < TRIES; i++)
        if (await runSplit(session, watcher, () => distribute("create_distributed_table_concurrently"))) return;
    if (!context.group.allow.includes(table))
        throw new Error(
            `${table}: it could not be distributed while it is served. It was tried ${TRIES} times, and each time an UPDATE or DELETE came that Citus can't apply to a copy without keys (citusdata/citus#6790).\n` +
                `It is a local table as before. Run pulumi up at a quieter time. Or put ${table} into allow: its writes then wait while it is copied.`,
        );
    context.note(
        `${table}: writes wait while it is copied, because updates kept it from being distributed while it is served`,
    );
    await distribute("create_distributed_table");
}

export const tables: Facet<FoundTables> = {
    name: "tables",
    none: NO_TABLES,

    sql(spec, probe) {
        const declared = Object.entries(spec.tables).map(([name, table]) => {
            const target = spec.model === "rls" ? "local" : table.kind;
            const column = table.column === undefined ? "NULL::text" : literal(table.column);
            return `(${literal(name)}, ${literal(qualified(name))}, ${literal(target)}, ${column}, ${table.shardCount ?? "NULL::int"})`;
        });
        if (declared.length === 0) return undefined;
        const anchor = spec.anchor === undefined ? "NULL::oid" : `to_regclass(${literal(qualified(spec.anchor))})::oid`;
        return `WITH t AS MATERIALIZED (
            SELECT v.name, v.target, v.col, v.shardcount, v.oid, ${kindOf("v.oid")} AS kind, ${anchor} AS anchor
              FROM (SELECT name, to_regclass(quoted)::oid AS oid, target, col, shardcount::int AS shardcount
                      FROM (VALUES ${declared.join(", ")}) AS v (name, quoted, target, col, shardcount)) v WHERE v.oid IS NOT NULL)
        SELECT jsonb_build_object(
            'tables', (${FOUND}), 'keys', (${KEYS}),
            'aside', ${probe.ledger ? `(SELECT coalesce(jsonb_agg(jsonb_build_object('table', tbl, 'name', name) ORDER BY tbl, name), '[]') FROM citus_as_code.tenant_foreign_key WHERE grp = $1)` : "'[]'::jsonb"},
            'rates', ${probe.ledger ? "(SELECT coalesce(jsonb_object_agg(what, bytes / seconds), '{}') FROM citus_as_code.measured)" : "'{}'::jsonb"},
            'pending', ${probe.ledger ? PENDING : String(spec.template.length > 0)},
            'bypass', (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user),
            'plugins', current_setting('output_plugin_libraries', true))`;
    },

    plan: planTables,

    run: {
        /** The definition is written down in the transaction that takes the key off, so it can't be lost. */
        setAside: (context, steps) =>
            eachStep(context, steps, async (table, { key = "" }) => {
                await context.session.query(`BEGIN;
                    INSERT INTO citus_as_code.tenant_foreign_key (grp, tbl, name, definition)
                    SELECT ${literal(context.group.name)}, ${literal(table)}, conname, pg_get_constraintdef(oid) FROM pg_constraint
                     WHERE conrelid = ${literal(qualified(table))}::regclass AND conname = ${literal(key)}
                    ON CONFLICT (grp, tbl, name) DO UPDATE SET definition = excluded.definition;
                    ALTER TABLE ${qualified(table)} DROP CONSTRAINT IF EXISTS ${identifier(key)};
                    COMMIT`);
            }),

        dropKey: (context, steps) =>
            eachStep(context, steps, async (table, { key = "" }) => {
                await context.session.query(
                    `ALTER TABLE ${qualified(table)} DROP CONSTRAINT IF EXISTS ${identifier(key)}`,
                );
                context.warn(`${table}: foreign key ${key} was dropped`);
            }),

        undistribute: (context, steps) =>
            eachStep(context, steps, (table) =>
                rewrite(context, table, "undistribute", [call("undistribute_table", table, {})]),
            ),

        reference: (context, steps) =>
            eachStep(context, steps, (table) =>
                rewrite(context, table, "reference", [
                    call("create_reference_table", table, {}),
                    // what is left of the rows on the coordinator's own disk is invisible
                    call("truncate_local_data_after_distributing_table", table, {}),
                ]),
            ),

        alter: (context, steps) =>
            eachStep(context, steps, (table, detail) =>
                rewrite(context, table, "alter", [
                    call("alter_distributed_table", table, {
                        distribution_column: detail.column,
                        shard_count: detail.shardCount,
                        colocate_with: detail.shardCount === undefined ? group(detail) : undefined,
                        cascade_to_colocated: detail.shardCount === undefined ? undefined : true,
                    }),
                ]),
            ),

        colocate: (context, steps) =>
            eachStep(context, steps, async (table, detail) => {
                await context.session.query(
                    call("update_distributed_table_colocation", table, { colocate_with: group(detail) }),
                );
            }),

        /** Killed half-way it leaves a local table that Citus knows, from which it goes on. */
        distribute: (context, steps) =>
            eachStep(context, steps, async (table, detail) => {
                const { session } = context;
                const [before, bytes] = [await rows(session, table), await sizeOf(session, table)];
                const began = Date.now();
                const named = {
                    distribution_column: detail.column,
                    colocate_with: group(detail),
                    shard_count: detail.shardCount,
                };
                // without a row there is nothing to copy, and nobody to keep waiting
                if (before === 0 || detail.blocking)
                    await session.query(call("create_distributed_table", table, named));
                else await distributeServed(context, table, named);
                const seconds = (Date.now() - began) / 1000;
                const after = await rows(session, table);
                await recordRate(session, "distribute", bytes, seconds);
                if (after < before)
                    context.warn(
                        `${table}: had ${countOf(before, "row")} before it was distributed and has ${after} now. If your application deleted no rows meanwhile, restore the last restore point into another stack and compare.`,
                    );
                context.note(
                    `${table}: distributed by ${detail.column} in ${seconds.toFixed(1)} s, ${countOf(before, "row")} before and ${after} after`,
                );
            }),

        /** NOT VALID first: from then on new rows are checked, even when an old one is in the way. */
        putBack: (context, steps) =>
            eachStep(context, steps, async (table, { key = "" }) => {
                const { session, group: spec } = context;
                const [kept] = await session.query<{ definition: string; there: boolean }>(
                    `SELECT definition, EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = $3::regclass AND conname = $4) AS there
                       FROM citus_as_code.tenant_foreign_key WHERE grp = $1 AND tbl = $2 AND name = $4`,
                    [spec.name, table, qualified(table), key],
                );
                if (!kept) return;
                const name = identifier(key);
                const definition = kept.definition.replace(/ NOT VALID$/, "");
                try {
                    if (!kept.there)
                        await session.query(
                            `ALTER TABLE ${qualified(table)} ADD CONSTRAINT ${name} ${definition} NOT VALID`,
                        );
                    await session.query(`ALTER TABLE ${qualified(table)} VALIDATE CONSTRAINT ${name}`);
                } catch (error) {
                    throw new Error(
                        `${(error as Error).message}\n${table}: foreign key ${key} (${definition}) was taken off while tables were distributed, and can't be put back whole.\nSome rows break it. Correct these rows and run pulumi up again. Or give the key up: DELETE FROM citus_as_code.tenant_foreign_key WHERE grp = ${literal(spec.name)} AND name = ${literal(key)};`,
                    );
                }
                await session.query(
                    "DELETE FROM citus_as_code.tenant_foreign_key WHERE grp = $1 AND tbl = $2 AND name = $3",
                    [spec.name, table, key],
                );
            }),
    },
};
