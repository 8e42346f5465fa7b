/** Files of a group's template that were added later: how each is run once for existing tenants. */

import { pause } from "../../pause.ts";
import type { Context, Facet, Planned, Step } from "../../tenants/facet.ts";
import { rollout, WAVES, type Wave, wavesOf } from "../../tenants/rollout.ts";
import { type GroupSpec, tenantRole } from "../../tenants/spec.ts";
import { alteredTables } from "../../tenants/statements.ts";
import { literal, qualified } from "../quote.ts";
import { DatabaseError, type Session } from "../session.ts";
import { FRESH, said } from "./batch.ts";
import { databasePrivileges } from "./state.ts";
import { ranRow, readTemplate, refuseLocal, settingsFor, type TemplateFile } from "./template.ts";

export interface FoundMigrations {
    /** Files that each tenant has not run; in models row and rls under ''. */
    readonly pending: Readonly<Record<string, readonly string[]>>;
    /** Files whose content is not what was run, and for how many tenants it was. */
    readonly changed: Readonly<Record<string, number>>;
    /** Files that were run and are not in the template any more. */
    readonly removed: Readonly<Record<string, number>>;
    /** Pending files whose content tenants ran under a path that is not in the template any more. */
    readonly moved: Readonly<Record<string, { readonly was: string; readonly tenants: number }>>;
    /** Shards of the group's distributed tables that have more than is quick to alter. */
    readonly many: Readonly<Record<string, number>>;
}

/** One ALTER TABLE of this many shards takes all of them at once. */
const MANY_SHARDS = 64;
const TRIES = 3;
const BATCH = 20;

const LOCK_TIMEOUT = "55P03";
const DEADLOCK = "40P01";

const perTenant = ({ model }: GroupSpec) => model === "schema" || model === "database";
const seconds = (milliseconds: number) => `${milliseconds / 1000} s`;
const whole = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`;

/** In a tenant's database: what it ran. The truth, of which the ledger has a copy: two databases can't commit together. */
export const OWN_LEDGER = `CREATE SCHEMA IF NOT EXISTS citus_as_code;
CREATE TABLE IF NOT EXISTS citus_as_code.migration (path text PRIMARY KEY, sha256 text NOT NULL, run_at timestamptz NOT NULL DEFAULT now());`;

/** The row there that says that a file was run; fails when there is one. */
export const ownRow = ({ path, sha256 }: { path: string; sha256: string }) =>
    `INSERT INTO citus_as_code.migration (path, sha256) VALUES (${literal(path)}, ${literal(sha256)});`;

const named = (files: readonly string[]) => (files.length > 2 ? whole(files.length, "file") : files.join(" and "));

function refuseMoved(group: GroupSpec, path: string, was: string, tenants: number): string {
    const ran = perTenant(group) ? `run for ${whole(tenants, "tenant")}` : "run";
    const set = `SET path = ${literal(path)} WHERE`;
    return [
        `${path} has the content (sha256) of ${was}, which was ${ran} and is not in the template any more: it would run twice. If you rename it back to ${was}, nothing is run.`,
        `To keep the name ${path}, tell the ledger (npm run psql), then run pulumi up:`,
        `UPDATE citus_as_code.tenant_migration ${set} grp = ${literal(group.name)} AND path = ${literal(was)};`,
        ...(group.model === "database"
            ? ["and in the database of each tenant:", `UPDATE citus_as_code.migration ${set} path = ${literal(was)};`]
            : []),
    ].join("\n");
}

function planMigrations(group: GroupSpec, found: FoundMigrations | undefined): Planned {
    const paths = group.template.map(({ path }) => path);
    const moved = Object.entries(found?.moved ?? {});
    const changed = Object.entries(found?.changed ?? {}).map(([path, n]) =>
        perTenant(group)
            ? `${path} was run for ${whole(n, "tenant")} and has changed since. Put it back as it was (git checkout ${path}), and put what is new into a file that sorts after it.`
            : `${path} was run and has changed since. Put it back as it was (git checkout ${path}), and put what is new into a file that sorts after it.`,
    );
    const refusals = [...changed, ...moved.map(([path, { was, tenants }]) => refuseMoved(group, path, was, tenants))];
    const notes = Object.entries(found?.removed ?? {})
        .filter(([path]) => !moved.some(([, { was }]) => was === path))
        .map(([path, n]) =>
            perTenant(group)
                ? `${path}: not in the template any more; ${whole(n, "tenant")} ran it, and what it did stays; new tenants are made without it`
                : `${path}: not in the template any more; what it did stays`,
        );
    if (!perTenant(group)) {
        const pending = found === undefined ? paths : (found.pending[""] ?? []);
        const many = Object.entries(found?.many ?? {}).map(([table, n]) => `${table} has ${n} shards`);
        const warning =
            many.length === 0 ? "" : `; ${many.join(", ")}: an ALTER TABLE of such a table takes all of them at once`;
        const steps = pending.map((path) => ({
            kind: "migrations.file",
            text: `group ${group.name}: run ${path} once (waits ${seconds(group.lockTimeout)} for a lock, ${TRIES} times${warning})`,
            detail: { files: [path] },
        }));
        return { steps, refusals, notes };
    }
    const tenants = Object.keys(group.tenants);
    const steps = rollout(tenants, found?.pending ?? {}, group.rollout).map(({ tenant, wave, files }) => ({
        kind: `migrations.${wave}`,
        tenant,
        text: `${tenant}: run ${named(files)} (${wave} ${WAVES.indexOf(wave) + 1} of ${WAVES.length})`,
        detail: { files },
    }));
    return { steps, refusals, notes };
}

const tenantOf = (step: Step) => step.tenant ?? "";
const filesOf = (step: Step) => (step.detail as { files: readonly string[] }).files;

/** Whether trying again may help by itself. */
const passing = (error: unknown) =>
    error instanceof DatabaseError && (error.code === LOCK_TIMEOUT || error.code === DEADLOCK);

async function waitFor(context: Context, what: string, tries: number): Promise<void> {
    context.progress(`${what}: somebody holds a lock; trying again (${tries + 1} of ${TRIES})`);
    context.alive();
    await pause(500 * tries);
}

const lockWords = (error: unknown, lockTimeout: number) =>
    passing(error)
        ? `It waited ${seconds(lockTimeout)} for a lock, ${TRIES} times. Find who holds it: SELECT pid, usename, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'; or give lockTimeout more.\n`
        : "";

async function runFiles(context: Context, steps: readonly Step[]): Promise<void> {
    const { group, session } = context;
    const template = readTemplate(
        context,
        steps.flatMap((step) => filesOf(step)),
    );
    const large = await shardCounts(session, group);
    for (const file of template) {
        const altered = [...new Set(alteredTables(file.sql))].filter((table) => (large[table] ?? 0) > MANY_SHARDS);
        if (altered.length > 0)
            context.warn(
                `${file.path} alters ${altered.map((table) => `${table} (${large[table]} shards)`).join(", ")}: all its shards are locked until the file ends`,
            );
        for (let tries = 1; ; tries++) {
            try {
                await session.query(
                    `BEGIN;\n${settingsFor("public", group.lockTimeout)}\n${ranRow(group.name, "", file)}\n${file.packed}\n;COMMIT;${FRESH}`,
                );
                break;
            } catch (error) {
                await session.query("ROLLBACK").catch(() => undefined);
                if (passing(error) && tries < TRIES) {
                    await waitFor(context, file.path, tries);
                    continue;
                }
                throw new Error(
                    `group ${group.name}: ${file.path} failed\n${said(error)}\n${lockWords(error, group.lockTimeout)}` +
                        "Nothing of this file was kept, and nothing after it was run. Correct the file, then run pulumi up again: it goes on with this file.",
                );
            }
        }
    }
}

async function shardCounts(session: Session, group: GroupSpec): Promise<Record<string, number>> {
    const names = Object.keys(group.tables);
    const rows = await session.query<{ name: string; n: number }>(
        `SELECT t.name, count(*)::int AS n FROM unnest($1::text[], $2::text[]) AS t (name, quoted)
           JOIN pg_dist_shard s ON s.logicalrelid = to_regclass(t.quoted) GROUP BY 1`,
        [names, names.map(qualified)],
    );
    return Object.fromEntries(rows.map(({ name, n }) => [name, n]));
}

/** The file at which a tenant's transaction ended. */
class FileError extends Error {
    readonly path: string;
    readonly reason: unknown;
    constructor(path: string, reason: unknown) {
        super(path);
        this.path = path;
        this.reason = reason;
    }
}

/** What failed for whom, with how far it got. */
async function explain(context: Context, wave: Wave, tenant: string, { path, reason }: FileError): Promise<Error> {
    const { group, session } = context;
    const [row] = await session
        .query<{ n: number }>(
            "SELECT count(*)::int AS n FROM citus_as_code.tenant_migration WHERE grp = $1 AND path = $2",
            [group.name, path],
        )
        .catch(() => []);
    return new Error(
        `${tenant}: ${path} failed (${wave} of the rollout)\n${said(reason)}\n${lockWords(reason, group.lockTimeout)}` +
            `${row?.n ?? "?"} of ${Object.keys(group.tenants).length} tenants have ${path}. ${tenant} and those after it have nothing of this run. ` +
            "Remove the cause that the database names, then run pulumi up again: it goes on from here.",
    );
}

/** Tenants that ran all of these files, by the ledger. */
async function whoRan(context: Context, steps: readonly Step[]): Promise<Set<string>> {
    const rows = await context.session.query<{ tenant: string; paths: string[] }>(
        "SELECT tenant, array_agg(path) AS paths FROM citus_as_code.tenant_migration WHERE grp = $1 AND tenant = ANY($2) GROUP BY 1",
        [context.group.name, steps.map(tenantOf)],
    );
    const ran = new Map(rows.map(({ tenant, paths }) => [tenant, paths]));
    return new Set(
        steps.filter((step) => filesOf(step).every((path) => ran.get(tenantOf(step))?.includes(path))).map(tenantOf),
    );
}

type Template = ReadonlyMap<string, TemplateFile>;

const schemaFile = (group: GroupSpec, tenant: string, file: TemplateFile) =>
    [
        settingsFor(tenant, group.lockTimeout),
        ranRow(group.name, tenant, file),
        file.packed,
        ";",
        refuseLocal(tenant),
    ].join("\n");

/** Many transactions in one round trip, one a tenant, with its rows in the ledger. What follows a failure is not run. */
async function schemaBatch(context: Context, steps: readonly Step[], template: Template) {
    const { group, session } = context;
    const sql = steps.map((step) => {
        const files = filesOf(step).flatMap((path) => template.get(path) ?? []);
        return ["BEGIN;", ...files.map((file) => schemaFile(group, tenantOf(step), file)), FRESH, "COMMIT;"].join("\n");
    });
    try {
        await session.query(sql.join("\n"));
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/** Files in one transaction, one by one, so that an error has its file. @param last what is run after them in it */
async function oneByOne(
    session: Session,
    files: readonly TemplateFile[],
    sqlOf: (file: TemplateFile) => string,
    last: () => Promise<string> = async () => "",
) {
    let path = files[0]?.path ?? "";
    try {
        await session.query("BEGIN");
        for (const file of files) {
            path = file.path;
            await session.query(sqlOf(file));
        }
        await session.query(`${FRESH}\n${await last()}\n;COMMIT`);
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        await session.query(FRESH).catch(() => undefined);
        throw new FileError(path, error);
    }
}

/** One tenant's database: its own ledger says what it ran, also when a run was killed before the coordinator's did. */
async function inDatabase(context: Context, tenant: string, files: readonly TemplateFile[]) {
    const { group, session } = context;
    const role = tenantRole(group.name, tenant);
    const [row] = await session.query<{ node: string | null; state: "active" | "frozen"; role: boolean }>(
        "SELECT node, state, to_regrole(quote_ident($3)) IS NOT NULL AS role FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [group.name, tenant, role],
    );
    const database = await context.open(row?.node ?? "coordinator", tenant);
    try {
        await database.query(OWN_LEDGER);
        const have = await database.query<{ path: string; sha256: string }>(
            "SELECT path, sha256 FROM citus_as_code.migration",
        );
        const other = files.find((file) => have.some((h) => h.path === file.path && h.sha256 !== file.sha256));
        if (other)
            throw new FileError(
                other.path,
                new Error(
                    "the database has run another content of this file. Put the file back as it was, and put what is new into a file that sorts after it.",
                ),
            );
        const left = files.filter((file) => !have.some(({ path }) => path === file.path));
        if (left.length > 0)
            await oneByOne(
                database,
                left,
                (file) =>
                    `${FRESH}\nSET LOCAL lock_timeout = ${group.lockTimeout};\n${ownRow(file)}\n${file.packed}\n;`,
                // a file may have made a schema, of which the role has nothing yet
                async () => (row?.role ? databasePrivileges(database, role, row.state) : ""),
            );
        const rows = files.map((file) => ranRow(group.name, tenant, file).replace(/;$/, " ON CONFLICT DO NOTHING;"));
        await session.query(rows.join("\n"));
    } finally {
        await database.close().catch(() => undefined);
    }
}

/** One tenant, with patience for locks. */
async function alone(context: Context, wave: Wave, step: Step, template: Template) {
    const { group, session } = context;
    const tenant = tenantOf(step);
    const files = filesOf(step).flatMap((path) => template.get(path) ?? []);
    for (let tries = 1; ; tries++) {
        try {
            if (group.model === "database") await inDatabase(context, tenant, files);
            else await oneByOne(session, files, (file) => schemaFile(group, tenant, file));
            return;
        } catch (error) {
            if (!(error instanceof FileError)) throw error;
            if (!passing(error.reason) || tries >= TRIES) throw await explain(context, wave, tenant, error);
            await waitFor(context, tenant, tries);
        }
    }
}

const runWave = (wave: Wave) => async (context: Context, steps: readonly Step[]) => {
    const { group } = context;
    const files = readTemplate(
        context,
        steps.flatMap((step) => filesOf(step)),
    );
    const template = new Map(files.map((file) => [file.path, file]));
    const size = wave === "canary" || group.model === "database" ? 1 : BATCH;
    const total = [...wavesOf(Object.keys(group.tenants), group.rollout).values()].filter((w) => w === wave).length;
    for (let done = 0; done < steps.length; ) {
        const some = steps.slice(done, done + size);
        context.alive();
        if (done > 0) context.progress(`${wave}: ${total - steps.length + done} of ${total} tenants`);
        if (some.length > 1) {
            try {
                await schemaBatch(context, some, template);
                done += some.length;
                continue;
            } catch (error) {
                const ran = await whoRan(context, some).catch(() => undefined);
                if (!ran) throw error;
                const failed = some.findIndex((step) => !ran.has(tenantOf(step)));
                done += failed < 0 ? some.length : failed;
            }
        }
        const step = steps[done];
        if (step) await alone(context, wave, step, template);
        done++;
    }
};

const TEMPLATE = `(SELECT f ->> 'path' AS path, f ->> 'sha256' AS sha256, i FROM jsonb_array_elements($2::jsonb -> 'template') WITH ORDINALITY AS x (f, i))`;

/** Files of the template, each once for each tenant, or once for the group in models row and rls. */
export const migrations: Facet<FoundMigrations | undefined> = {
    name: "migrations",
    none: undefined,
    sql: (group, { ledger, tables }) => {
        if (!ledger) return undefined;
        const tenants = perTenant(group)
            ? `(SELECT tenant FROM citus_as_code.tenant WHERE grp = $1 AND state IN ('active', 'frozen') AND $2::jsonb -> 'tenants' ? tenant)`
            : `(SELECT '' AS tenant)`;
        const many = tables
            .filter((table) => group.tables[table]?.kind === "distributed")
            .map((table) => `(${literal(table)}, ${literal(qualified(table))})`);
        return `SELECT jsonb_build_object(
            'pending', coalesce((SELECT jsonb_object_agg(tenant, files) FROM (
                SELECT t.tenant, jsonb_agg(f.path ORDER BY f.i) AS files FROM ${tenants} t CROSS JOIN ${TEMPLATE} f
                 WHERE NOT EXISTS (SELECT FROM citus_as_code.tenant_migration m WHERE (m.grp, m.tenant, m.path) = ($1, t.tenant, f.path))
                 GROUP BY 1) p), '{}'),
            'changed', coalesce((SELECT jsonb_object_agg(path, n) FROM (
                SELECT path, count(*) AS n FROM citus_as_code.tenant_migration m JOIN ${TEMPLATE} f USING (path)
                 WHERE m.grp = $1 AND m.sha256 <> f.sha256 GROUP BY 1) c), '{}'),
            'removed', coalesce((SELECT jsonb_object_agg(path, n) FROM (
                SELECT path, count(*) AS n FROM citus_as_code.tenant_migration m
                 WHERE m.grp = $1 AND NOT EXISTS (SELECT FROM ${TEMPLATE} f WHERE f.path = m.path) GROUP BY 1) r), '{}'),
            'moved', coalesce((SELECT jsonb_object_agg(path, jsonb_build_object('was', was, 'tenants', n)) FROM (
                SELECT f.path, min(m.path) AS was, count(DISTINCT t.tenant) AS n
                  FROM ${tenants} t JOIN citus_as_code.tenant_migration m ON (m.grp, m.tenant) = ($1, t.tenant) JOIN ${TEMPLATE} f USING (sha256)
                 WHERE NOT EXISTS (SELECT FROM citus_as_code.tenant_migration r WHERE (r.grp, r.tenant, r.path) = ($1, t.tenant, f.path))
                   AND NOT EXISTS (SELECT FROM ${TEMPLATE} k WHERE k.path = m.path) GROUP BY 1) v), '{}'),
            'many', ${
                many.length === 0
                    ? "'{}'::jsonb"
                    : `coalesce((SELECT jsonb_object_agg(name, n) FROM (
                SELECT t.name, count(*) AS n FROM (VALUES ${many.join(", ")}) t (name, quoted)
                  JOIN pg_dist_shard s ON s.logicalrelid = to_regclass(t.quoted) GROUP BY 1 HAVING count(*) > ${MANY_SHARDS}) m), '{}')`
            })`;
    },
    plan: planMigrations,
    run: { file: runFiles, canary: runWave("canary"), part: runWave("part"), rest: runWave("rest") },
};
