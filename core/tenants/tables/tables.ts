/** Tables of a group in models row and rls: what Citus' catalogs say of them, and how they become what they are declared. */

import { CLOCK, VOLATILE } from "../../citus/guards.ts";
import { runSplit } from "../../citus/rebalance/split.ts";
import { changedPerMinute } from "../../citus/references.ts";
import type { Session } from "../../reach/session.ts";
import { given } from "../../sql/given.ts";
import { literal, qualified } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import { valuesOf } from "../ask/keyFacts.ts";
import type { Context, Facet, Step } from "../group/facet.ts";
import { recordRate } from "../ledger/measured.ts";
import { makeBeside, NEW, OLD, sweep } from "./beside.ts";
import { besideFacts } from "./besideFacts.ts";
import { intoMetadata, keepNumbers, pastWorkers } from "./identities.ts";
import { describeKeys, forgetKey, keysBack, putBack, setAside } from "./keysBack.ts";
import { type FoundTables, NO_TABLES, type TableStep } from "./tablesFound.ts";
import { planTables } from "./tablesPlan.ts";

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

/** As it is declared, or else as a declaration would have it. */
const nameOf = (oid: string) => `coalesce((SELECT t.name FROM t WHERE t.oid = ${oid}),
    (SELECT CASE WHEN ns.nspname = 'public' THEN own.relname ELSE ns.nspname || '.' || own.relname END
       FROM pg_class own JOIN pg_namespace ns ON ns.oid = own.relnamespace WHERE own.oid = ${oid}))`;

const TABLES_SQL = `
SELECT coalesce(jsonb_agg(jsonb_build_object(
    'name', t.name, 'relkind', c.relkind, 'unlogged', c.relpersistence = 'u',
    'accessMethod', (SELECT max(m.amname) FROM (SELECT c.oid UNION SELECT x.relid FROM pg_partition_tree(c.oid) x) o (oid)
                       JOIN pg_class l USING (oid) JOIN pg_am m ON m.oid = l.relam WHERE l.relkind = 'r' AND m.amname <> 'heap'),
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
                 WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('a', 'i') AND d.classid = 'pg_class'::regclass AND q.seqtypid <> 'int8'::regtype),
    'managed', t.kind = 'local' AND p.logicalrelid IS NOT NULL,
    'facts', CASE WHEN p.logicalrelid IS NOT NULL THEN ${besideFacts("c.oid")} END,
    'values', CASE WHEN t.kind = 'local' AND t.target = 'distributed' THEN ${valuesOf("c.oid", "t.col")} END,
    'isEnum', (SELECT y.typtype = 'e' FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = c.oid AND a.attname = t.col),
    'perMinute', CASE WHEN t.kind = 'local' AND t.target = 'reference' THEN ${changedPerMinute("c.oid")} END,
    'bytes', CASE WHEN t.kind <> t.target OR t.kind = 'distributed' AND (column_to_column_name(p.logicalrelid, p.partkey) IS DISTINCT FROM t.col
                       OR p.colocationid IS DISTINCT FROM (SELECT a.colocationid FROM pg_dist_partition a WHERE a.logicalrelid = t.anchor))
                  THEN ${bytesOf("c.oid")} ELSE 0 END,
    'together', CASE WHEN t.kind = 'distributed' AND (t.shardcount <> g.shardcount
                       OR c.oid = t.anchor AND column_to_column_name(p.logicalrelid, p.partkey) IS DISTINCT FROM t.col) THEN (
                  SELECT jsonb_build_object('tables', jsonb_agg(m.member->>'name' ORDER BY m.member->>'name'),
                         'bytes', sum((m.member->>'bytes')::bigint), 'members', jsonb_agg(m.member ORDER BY m.member->>'name'))
                    FROM (SELECT jsonb_build_object('name', ${nameOf("o.logicalrelid")}, 'column', column_to_column_name(o.logicalrelid, o.partkey),
                                 'bytes', citus_total_relation_size(o.logicalrelid, fail_on_error := false), 'facts', ${besideFacts("o.logicalrelid")}) AS member
                            FROM pg_dist_partition o WHERE o.colocationid = p.colocationid
                             AND NOT EXISTS (SELECT FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace
                                              WHERE k.oid = o.logicalrelid AND (k.relispartition OR n.nspname IN (${literal(NEW)}, ${literal(OLD)})))) m) END
    ) ORDER BY t.name), '[]')
  FROM t JOIN pg_class c ON c.oid = t.oid
  LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.oid
  LEFT JOIN pg_dist_colocation g USING (colocationid)`;

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
const PENDING_FILES_SQL = `EXISTS (SELECT 1 FROM jsonb_array_elements($2->'template') f WHERE NOT EXISTS (
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
        await keepNumbers(session, async () => {
            for (const statement of statements) await session.query(statement);
        });
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

/** The same for what copies tables: when it fails, foreign keys that were taken off for it are put back. */
const eachCopy = async (...[context, steps, run]: Parameters<typeof eachStep>) => {
    try {
        await eachStep(context, steps, run);
    } catch (error) {
        const keys = await keysBack(context.session, context.group.name).catch(() => undefined);
        throw new Error(`${(error as Error).message}${keys === undefined ? "" : describeKeys(keys)}`);
    }
};

/** `call(a, b, c := d)` as a statement. */
const call = (name: string, table: string, named: Readonly<Record<string, string | number | boolean | undefined>>) => {
    const given = Object.entries(named).flatMap(([key, value]) =>
        value === undefined ? [] : [`${key} := ${typeof value === "string" ? literal(value) : value}`],
    );
    return `SELECT ${name}(${[literal(qualified(table)), ...given].join(", ")})`;
};

const group = (detail: TableStep) => (detail.colocateWith === undefined ? "none" : qualified(detail.colocateWith));

/**
 * Whether a table is one that Citus can distribute in one way only, while it is served: a local table in Citus' metadata that
 * has an identity column. Otherwise Citus takes it out of its metadata first, which it refuses to.
 */
async function isRigid(session: Session, table: string): Promise<boolean> {
    const [row] = await session.query<{ rigid: boolean }>(
        `SELECT EXISTS (SELECT FROM pg_dist_partition p WHERE p.logicalrelid = $1::regclass AND p.partmethod = 'n' AND p.repmodel = 's' AND p.colocationid = 0)
            AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attidentity <> '' AND NOT a.attisdropped) AS rigid`,
        [qualified(table)],
    );
    return row?.rigid === true;
}

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
    await intoMetadata(session, table);
    for (let i = 0; i < TRIES; i++)
        if (await runSplit(session, watcher, () => distribute("create_distributed_table_concurrently"))) return;
    // what Citus would have to bring back from its metadata first
    const rigid = await isRigid(session, table);
    if (rigid || !context.group.allow.includes(table))
        throw new Error(
            `${table}: it could not be distributed while it is served. It was tried ${TRIES} times, and each time an UPDATE or DELETE came that Citus can't apply to a copy without keys (citusdata/citus#6790).\n` +
                (rigid
                    ? `It is a local table as before. Because of its identity column, Citus can't do it while writes wait. Run pulumi up when nobody updates or deletes rows of it.`
                    : `It is a local table as before. Run pulumi up at a quieter time. Or put ${table} into allow: its writes then wait while it is copied.`),
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
            const column = table.column === undefined ? "NULL::text" : given(table.column);
            return `(${given(name)}, ${given(qualified(name))}, ${given(target)}, ${column}, ${table.shardCount ?? "NULL::int"})`;
        });
        if (declared.length === 0) return undefined;
        const anchor = spec.anchor === undefined ? "NULL::oid" : `to_regclass(${given(qualified(spec.anchor))})::oid`;
        return `WITH t AS MATERIALIZED (
            SELECT v.name, v.target, v.col, v.shardcount, v.oid, ${kindOf("v.oid")} AS kind, ${anchor} AS anchor
              FROM (SELECT name, to_regclass(quoted)::oid AS oid, target, col, shardcount::int AS shardcount
                      FROM (VALUES ${declared.join(", ")}) AS v (name, quoted, target, col, shardcount)) v WHERE v.oid IS NOT NULL)
        SELECT jsonb_build_object(
            'tables', (${TABLES_SQL}), 'keys', (${KEYS}),
            'aside', ${probe.ledger ? `(SELECT coalesce(jsonb_agg(jsonb_build_object('table', k.tbl, 'name', k.name, 'key', to_jsonb(k)->'detail') ORDER BY k.tbl, k.name), '[]') FROM citus_as_code.tenant_foreign_key k WHERE k.grp = $1)` : "'[]'::jsonb"},
            'rates', ${probe.ledger ? "(SELECT coalesce(jsonb_object_agg(what, bytes / seconds), '{}') FROM citus_as_code.measured)" : "'{}'::jsonb"},
            'leftover', to_regnamespace(${literal(NEW)}) IS NOT NULL OR to_regnamespace(${literal(OLD)}) IS NOT NULL,
            'usualShards', current_setting('citus.shard_count')::int,
            'holders', (SELECT coalesce(jsonb_agg(split_part(nodename, '.', 1) ORDER BY groupid), '[]') FROM pg_dist_node
                         WHERE shouldhaveshards AND isactive AND noderole = 'primary'),
            'pending', ${probe.ledger ? PENDING_FILES_SQL : String(spec.template.length > 0)},
            'bypass', (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user),
            'plugins', current_setting('output_plugin_libraries', true))`;
    },

    async readFiles(group, found, read) {
        const there = new Set(found.tables.map(({ name }) => name));
        if (!found.pending || Object.keys(group.tables).every((name) => there.has(name))) return found;
        // the parser is loaded by whom it serves
        const { groupTablesMade } = await import("../check/read/made.ts");
        const files = group.template.map(({ path }) => ({ path, sql: read(path) }));
        const made = await groupTablesMade(files, group.model);
        return made === undefined ? found : { ...found, made };
    },

    async readMachines(group, found, free) {
        if (!planTables(group, found).steps.some(({ kind }) => kind === "tables.beside")) return found;
        const names = [...new Set(["coordinator", ...(found.holders ?? [])])];
        const asked = await Promise.all(names.map(async (name) => [name, await free(name)] as const));
        return {
            ...found,
            free: Object.fromEntries(asked.flatMap(([name, bytes]) => (bytes === undefined ? [] : [[name, bytes]]))),
        };
    },

    plan: planTables,

    run: {
        setAside: (context, steps) =>
            eachStep(context, steps, (table, { key = "", facts }) => setAside(context, table, key, facts)),

        forget: (context, steps) =>
            eachStep(context, steps, async (table, { key = "" }) => {
                await forgetKey(context.session, context.group.name, table, key);
                context.warn(`${table}: foreign key ${key} was dropped`);
            }),

        sweep: (context) => sweep(context),

        beside: (context, steps) =>
            eachCopy(context, steps, async (_table, { beside }) => {
                if (beside) await makeBeside(context, beside);
            }),

        undistribute: (context, steps) =>
            eachCopy(context, steps, (table) =>
                rewrite(context, table, "undistribute", [call("undistribute_table", table, {})]),
            ),

        reference: (context, steps) =>
            eachCopy(context, steps, (table) =>
                rewrite(context, table, "reference", [
                    call("create_reference_table", table, {}),
                    // what is left of the rows on the coordinator's own disk is invisible
                    call("truncate_local_data_after_distributing_table", table, {}),
                ]),
            ),

        alter: (context, steps) =>
            eachCopy(context, steps, (table, detail) =>
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
            eachCopy(context, steps, async (table, detail) => {
                const { session } = context;
                const [before, bytes] = [await rows(session, table), await sizeOf(session, table)];
                const began = Date.now();
                const named = {
                    distribution_column: detail.column,
                    colocate_with: group(detail),
                    shard_count: detail.shardCount,
                };
                // without a row there is nothing to copy, and nobody to keep waiting
                if (detail.blocking || (before === 0 && !(await isRigid(session, table))))
                    await session.query(call("create_distributed_table", table, named));
                else await distributeServed(context, table, named);
                const seconds = (Date.now() - began) / 1000;
                await pastWorkers(context, table);
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

        putBack: (context, steps) =>
            eachStep(context, steps, (table, { key = "" }) => putBack(context.session, context.group.name, table, key)),
    },
};
