/**
 * A baseline: files that new tenants are made from in place of a long history. That both make the same is proved once, by
 * making both and comparing the catalogs.
 */
import { createHash } from "node:crypto";
import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { databaseMessage, RESET_SESSION_SQL, transaction } from "../group/batch.ts";
import type { Context } from "../group/facet.ts";
import { runFile } from "./runFile.ts";
import { databasePlace, schemaPlace } from "./runMigrations.ts";
import { readBaseline, readTemplate, refuseLocal, type TemplateFile } from "./template.ts";

/** Where both are made; no tenant can have such a name. */
const SCRATCH = { history: "citus_as_code_history", baseline: "citus_as_code_baseline" } as const;

/** What a schema or database has, by what it is. */
type Shape = ReadonlyMap<string, string>;

/**
 * What is in schemas, as `what` and `def`. @param such SQL condition on pg_namespace n
 */
const shapeSql = (such: string) => `
WITH n AS (SELECT n.oid, n.nspname FROM pg_namespace n WHERE ${such}),
r AS (SELECT c.*, n.nspname || '.' || c.relname AS qualified FROM pg_class c JOIN n ON n.oid = c.relnamespace),
t AS (SELECT * FROM r WHERE relkind IN ('r', 'p'))
SELECT 'table ' || qualified AS what, concat_ws(', ', CASE relkind WHEN 'p' THEN pg_get_partkeydef(oid) END, pg_get_expr(relpartbound, oid),
       'persistence ' || relpersistence::text, 'row security ' || relrowsecurity || ' ' || relforcerowsecurity, 'identity ' || relreplident::text,
       reloptions::text, (SELECT 'method ' || amname FROM pg_am WHERE pg_am.oid = relam), 'rights ' || relacl::text,
       (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', oid::regclass), false, true, '')))[1]::text || ' rows') AS def FROM t
UNION ALL SELECT 'column ' || qualified || '.' || a.attname, concat_ws(' ', row_number() OVER (PARTITION BY t.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod),
       CASE WHEN a.attnotnull THEN 'NOT NULL' END, 'identity ' || nullif(a.attidentity::text, ''), 'generated ' || nullif(a.attgenerated::text, ''),
       'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), 'collation ' || nullif(a.attcollation, 0)::regcollation::text, 'rights ' || a.attacl::text)
  FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
UNION ALL SELECT 'constraint ' || qualified || '.' || k.conname, pg_get_constraintdef(k.oid) || CASE WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
  FROM t JOIN pg_constraint k ON k.conrelid = t.oid
UNION ALL SELECT 'index ' || i.indexrelid::regclass, pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END FROM t JOIN pg_index i ON i.indrelid = t.oid
UNION ALL SELECT 'trigger ' || qualified || '.' || g.tgname, pg_get_triggerdef(g.oid) FROM t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
UNION ALL SELECT 'policy ' || qualified || '.' || p.polname, concat_ws(' ', p.polcmd, p.polpermissive, (SELECT array_agg(o::regrole::text) FROM unnest(p.polroles) o)::text,
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) FROM t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL SELECT 'view ' || qualified, pg_get_viewdef(oid) || coalesce(' rights ' || relacl::text, '') || coalesce(reloptions::text, '') FROM r WHERE relkind IN ('v', 'm')
UNION ALL SELECT 'sequence ' || qualified, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle, 'rights ' || relacl::text)
  FROM r JOIN pg_sequence s ON s.seqrelid = r.oid WHERE relkind = 'S'
UNION ALL SELECT 'function ' || f.oid::regprocedure, pg_get_functiondef(f.oid) || coalesce(' rights ' || f.proacl::text, '') FROM pg_proc f JOIN n ON n.oid = f.pronamespace WHERE f.prokind IN ('f', 'p')
UNION ALL SELECT 'type ' || n.nspname || '.' || y.typname, concat_ws(' ', y.typtype,
       (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = y.oid),
       CASE y.typtype WHEN 'd' THEN format_type(y.typbasetype, y.typtypmod) || coalesce(' DEFAULT ' || y.typdefault, '') || CASE WHEN y.typnotnull THEN ' NOT NULL' ELSE '' END END,
       (SELECT string_agg(pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname) FROM pg_constraint k WHERE k.contypid = y.oid),
       (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.oid = y.typrelid AND c.relkind = 'c'))
  FROM pg_type y JOIN n ON n.oid = y.typnamespace WHERE y.typtype IN ('e', 'd') OR (y.typtype = 'c' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = y.typrelid AND c.relkind = 'c'))
UNION ALL SELECT 'comment on ' || (pg_identify_object(d.classoid, d.objoid, d.objsubid)).identity, d.description FROM pg_description d JOIN r ON r.oid = d.objoid AND d.classoid = 'pg_class'::regclass
UNION ALL SELECT 'schema ' || x.nspname, coalesce('rights ' || x.nspacl::text, '') FROM pg_namespace x JOIN n USING (oid)
UNION ALL SELECT 'extension ' || x.extname, x.extversion FROM pg_extension x JOIN n ON n.oid = x.extnamespace`;

/** @param schema whose name is taken out of what is compared */
async function readShape(session: Session, such: string, schema?: string): Promise<Shape> {
    const rows = await session.query<{ what: string; def: string | null }>(shapeSql(such));
    const plain = (text: string) => (schema === undefined ? text : text.replaceAll(schema, "tenant"));
    return new Map(rows.map(({ what, def }) => [plain(what), plain(def ?? "")]));
}

/** What one has and the other has not, or has otherwise. Pure. */
export function differences(history: Shape, baseline: Shape): string[] {
    const all = [...new Set([...history.keys(), ...baseline.keys()])].sort();
    return all.flatMap((what) => {
        const [files, base] = [history.get(what), baseline.get(what)];
        if (files === base) return [];
        if (base === undefined) return [`${what}: the baseline does not make it (${files})`];
        if (files === undefined) return [`${what}: only the baseline makes it (${base})`];
        return [`${what}: the files make ${files}, the baseline ${base}`];
    });
}

const SHOWN = 12;

/** Both made in schemas of their own, compared, and dropped. */
async function compareSchemas(context: Context, files: readonly TemplateFile[], baseline: TemplateFile) {
    const { group, session } = context;
    const drop = async () => {
        await session.query(RESET_SESSION_SQL);
        // each by itself: Citus hands on the whole text that a DROP came in
        for (const schema of Object.values(SCRATCH)) await session.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    };
    const make = async (schema: string, from: readonly TemplateFile[]) => {
        await transaction(
            session,
            `${RESET_SESSION_SQL}\nSET LOCAL citus.enable_schema_based_sharding = on;\nCREATE SCHEMA ${schema};`,
        );
        for (const file of from) await runOne({ ...schemaPlace(group, schema, file, session), note: "" }, file);
        await session.query(refuseLocal(schema));
        return readShape(session, `n.nspname = ${literal(schema)}`, schema);
    };
    // what a killed run left
    await drop();
    try {
        return differences(await make(SCRATCH.history, files), await make(SCRATCH.baseline, [baseline]));
    } finally {
        await drop().catch(() => undefined);
    }
}

/** Both made in databases of their own on the coordinator, compared, and dropped. */
async function compareDatabases(context: Context, files: readonly TemplateFile[], baseline: TemplateFile) {
    const server = await context.another("coordinator", "postgres");
    const drop = async () => {
        for (const name of Object.values(SCRATCH))
            await server.query(`DROP DATABASE IF EXISTS ${identifier(name)} WITH (FORCE)`);
    };
    const make = async (name: string, from: readonly TemplateFile[]) => {
        await server.query(`CREATE DATABASE ${identifier(name)} TEMPLATE template0 CONNECTION LIMIT 0`);
        const session = await context.another("coordinator", name);
        try {
            for (const file of from) await runOne({ ...databasePlace(context.group, file, session), note: "" }, file);
            return await readShape(session, "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'");
        } finally {
            await session.close();
        }
    };
    try {
        await drop();
        return differences(await make(SCRATCH.history, files), await make(SCRATCH.baseline, [baseline]));
    } finally {
        await drop().catch(() => undefined);
        await server.close();
    }
}

async function runOne(place: Parameters<typeof runFile>[0], file: TemplateFile) {
    try {
        await runFile(place, file);
    } catch (error) {
        throw new Error(
            `${file.path} failed while the baseline was compared with the files that it stands for\n${databaseMessage(error)}\n` +
                "No tenant was made. Correct the file, then run pulumi up again.",
        );
    }
}

/** @throws Error with what differs. Made once for each content of the files. */
async function prove(context: Context, files: readonly TemplateFile[], baseline: TemplateFile): Promise<void> {
    const { group, session } = context;
    const contents = [group.model, ...(group.baseline?.files ?? []), ...(baseline.stands ?? [])];
    const hash = createHash("sha256")
        .update(JSON.stringify(contents.map((one) => (typeof one === "string" ? one : one.sha256))))
        .digest("hex");
    const proved = await session.query("SELECT FROM citus_as_code.tenant_baseline WHERE grp = $1 AND sha256 = $2", [
        group.name,
        hash,
    ]);
    if (proved.length > 0) return;
    context.progress(`comparing what ${baseline.path} makes with what ${files.length} files make`);
    const compare = group.model === "database" ? compareDatabases : compareSchemas;
    const found = await compare(context, files, baseline);
    if (found.length > 0)
        throw new Error(
            [
                `tenant group ${group.name}: its baseline (${baseline.path}) does not make what its files up to ${group.baseline?.upTo} make, so new tenants would differ from the others:`,
                ...found.slice(0, SHOWN).map((one) => `  ${one.replace(/\s+/g, " ")}`),
                ...(found.length > SHOWN ? [`  and ${found.length - SHOWN} more`] : []),
                "No tenant was made. Correct the baseline, then run pulumi up again.",
            ].join("\n"),
        );
    await session.query(
        "INSERT INTO citus_as_code.tenant_baseline (grp, sha256) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        [group.name, hash],
    );
    context.note(
        `${baseline.path} makes what ${files.length} files up to ${group.baseline?.upTo} make: proved by making both`,
    );
}

/**
 * What new tenants are run: the baseline in place of all that it stands for, where a tenant is to have all of that.
 * @param lists files of the template that each of them is to have
 * @throws Error when the baseline does not make the same
 */
export async function filesToMake(
    context: Context,
    lists: readonly (readonly string[])[],
): Promise<(paths: readonly string[]) => TemplateFile[]> {
    const template = new Map(readTemplate(context).map((file) => [file.path, file]));
    const baseline = readBaseline(context);
    const stood = (baseline?.stands ?? []).map(({ path }) => path);
    const whole = (paths: readonly string[]) => stood.every((path) => paths.includes(path));
    const of = (paths: readonly string[]) => paths.flatMap((path) => template.get(path) ?? []);
    if (baseline === undefined) return of;
    const [first] = lists.filter(whole);
    // in the order in which tenants ran them
    if (first) await prove(context, of(first.filter((path) => stood.includes(path))), baseline);
    return (paths) => (whole(paths) ? [baseline, ...of(paths.filter((path) => !stood.includes(path)))] : of(paths));
}
