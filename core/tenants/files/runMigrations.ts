/** Files of a group's template on their way: once for the group, or tenant after tenant, wave after wave. */

import { DatabaseError, type Session } from "../../reach/session.ts";
import { identifier, qualified } from "../../sql/quote.ts";
import { alteredTables } from "../../sql/statements.ts";
import { pause } from "../../util/pause.ts";
import { databaseMessage, RESET_SESSION_SQL } from "../group/batch.ts";
import type { Context, Step } from "../group/facet.ts";
import { stopsBetweenWaves, WAVES, type Wave, wavesOf } from "../group/rollout.ts";
import { type GroupSpec, tenantRole } from "../group/spec.ts";
import { bounded, DATABASE_GUARD, guardOf } from "../ledger/bounds.ts";
import { OWN_LEDGER, ownRow } from "../ledger/ownDatabase.ts";
import { ranAgain, ranRow } from "../ledger/ran.ts";
import type { ServedState } from "../ledger/states.ts";
import { ensureGroupRoles } from "../roles/groupRoles.ts";
import { databasePrivileges } from "../state/state.ts";
import { commitWords, type FilePlace, runFile } from "./runFile.ts";
import { ranRows, readTemplate, refuseLocal, settingsFor, type TemplateFile, wasRun } from "./template.ts";

/** One ALTER TABLE of this many shards takes all of them at once. */
export const MANY_SHARDS = 64;
/** How often a file is tried when somebody holds a lock. */
export const TRIES = 3;
/** Tenants whose transactions are sent in one text, and how long that may be. */
const BATCH = 20;
const BATCH_BYTES = 4_000_000;

const LOCK_TIMEOUT = "55P03";
const DEADLOCK = "40P01";

const whole = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`;
const named = (files: readonly TemplateFile[]) =>
    files.length > 2 ? whole(files.length, "file") : files.map(({ path }) => path).join(" and ");
const seconds = (milliseconds: number) => `${milliseconds / 1000} s`;
const tenantOf = (step: Step) => step.tenant ?? "";
const filesOf = (step: Step) => (step.detail as { files: readonly string[] }).files;

/** Whether trying again may help by itself. */
const passing = (error: unknown) =>
    error instanceof DatabaseError && (error.code === LOCK_TIMEOUT || error.code === DEADLOCK);

const lockWords = (error: unknown, lockTimeout: number) =>
    passing(error)
        ? `It waited ${seconds(lockTimeout)} for a lock, ${TRIES} times. Find who holds it: SELECT pid, usename, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'; or give lockTimeout more.\n`
        : "";

/** What is true of a file that failed. */
const kept = ({ alone }: TemplateFile) =>
    alone
        ? "The file has no transaction, so what its statements did before the error was kept, and they run again."
        : "Nothing of this file was kept.";

/** Runs a file with patience for locks. */
async function patiently(context: Context, what: string, file: TemplateFile, place: FilePlace): Promise<void> {
    for (let tries = 1; ; tries++) {
        try {
            await runFile(place, file);
            return;
        } catch (error) {
            if (!passing(error) || tries >= TRIES) throw error;
            context.progress(`${what}: somebody holds a lock; trying again (${tries + 1} of ${TRIES})`);
            context.alive();
            await pause(500 * tries);
        }
    }
}

/** Models row and rls: each file once. */
export async function runFiles(context: Context, steps: readonly Step[]): Promise<void> {
    const { group, session } = context;
    // a file may grant rights to them
    await ensureGroupRoles(session, group);
    const paths = steps.flatMap((step) => filesOf(step));
    const template = new Map(readTemplate(context, paths).map((file) => [file.path, file]));
    const large = await shardCounts(session, group);
    for (const file of paths.flatMap((path) => template.get(path) ?? [])) {
        const altered = [...new Set(alteredTables(file.statements))].filter(
            (table) => (large[table] ?? 0) > MANY_SHARDS,
        );
        if (altered.length > 0)
            context.warn(
                `${file.path} alters ${altered.map((table) => `${table} (${large[table]} shards)`).join(", ")}: all its shards are locked until the file ends`,
            );
        try {
            await patiently(context, file.path, file, {
                session,
                settings: settingsFor("public", group.lockTimeout),
                guard: guardOf({ group: group.name }),
                searchPath: "public",
                note: ranRow(group.name, "", file),
            });
        } catch (error) {
            throw new Error(
                `group ${group.name}: ${file.path} failed\n${databaseMessage(error)}\n${commitWords(error)}${lockWords(error, group.lockTimeout)}` +
                    `${kept(file)} Nothing after it was run. Correct the file, then run pulumi up again: it goes on with this file.`,
            );
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

/** The file at which a tenant stopped. */
class FileError extends Error {
    readonly file: TemplateFile;
    readonly reason: unknown;
    constructor(file: TemplateFile, reason: unknown) {
        super(file.path);
        this.file = file;
        this.reason = reason;
    }
}

/** What failed for whom, with how far it got. */
async function explain(context: Context, wave: Wave, tenant: string, { file, reason }: FileError): Promise<Error> {
    const { group, session } = context;
    const { path } = file;
    const [row] = await session
        .query<{ n: number }>(
            "SELECT count(*)::int AS n FROM citus_as_code.tenant_migration WHERE grp = $1 AND path = $2",
            [group.name, path],
        )
        .catch(() => []);
    return new Error(
        `${tenant}: ${path} failed (${wave} of the rollout)\n${databaseMessage(reason)}\n${commitWords(reason)}${lockWords(reason, group.lockTimeout)}` +
            `${kept(file)} ${row?.n ?? "?"} of ${Object.keys(group.tenants).length} tenants have ${path}. ${tenant} keeps the files before it. ` +
            "Remove the cause that the database names, then run pulumi up again: it goes on from here.",
    );
}

type Template = ReadonlyMap<string, TemplateFile>;

/** Where a file of a tenant's schema runs. @param session to the coordinator */
export const schemaPlace = (
    group: GroupSpec,
    tenant: string,
    file: TemplateFile,
    session: Session,
): FilePlace & { after: string } => ({
    session,
    settings: settingsFor(tenant, group.lockTimeout),
    guard: guardOf({ schema: tenant }),
    searchPath: `${identifier(tenant)}, public`,
    note: ranRows(group.name, tenant, file),
    after: refuseLocal(tenant),
});

/** Many transactions in one round trip, one a file and tenant, each with its row in the ledger. What follows a failure is not run. */
async function schemaBatch(context: Context, session: Session, steps: readonly Step[], template: Template) {
    const { group } = context;
    const sql = steps.flatMap((step) =>
        filesOf(step).flatMap((path) => {
            const file = template.get(path);
            if (!file) return [];
            const { settings, guard, note, after } = schemaPlace(group, tenantOf(step), file, session);
            return ["BEGIN;", settings, note, bounded(guard, file.packed), after, RESET_SESSION_SQL, "COMMIT;"];
        }),
    );
    try {
        await session.query(sql.join("\n"));
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/** Files that the ledger has for a tenant. */
export async function ranBy(session: Session, group: GroupSpec, tenant: string): Promise<Set<string>> {
    const rows = await session.query<{ path: string }>(
        "SELECT path FROM citus_as_code.tenant_migration WHERE grp = $1 AND tenant = $2",
        [group.name, tenant],
    );
    return new Set(rows.map(({ path }) => path));
}

async function inSchema(context: Context, session: Session, tenant: string, files: readonly TemplateFile[]) {
    const ran = await ranBy(session, context.group, tenant);
    for (const file of files.filter((one) => !wasRun(ran, one))) {
        try {
            await patiently(context, tenant, file, schemaPlace(context.group, tenant, file, session));
        } catch (error) {
            throw new FileError(file, error);
        }
    }
}

/** Where a file of a tenant's database runs. @param session to that database */
export const databasePlace = (group: GroupSpec, file: TemplateFile, session: Session): FilePlace => ({
    session,
    settings: `${RESET_SESSION_SQL}\nSET LOCAL lock_timeout = ${group.lockTimeout};`,
    guard: DATABASE_GUARD,
    searchPath: "public",
    note: (file.stands ?? [file]).map(ownRow).join("\n"),
});

/** One tenant's database: its own ledger says what it ran, also when a run was killed before the coordinator's did. */
async function inDatabase(context: Context, tenant: string, files: readonly TemplateFile[]) {
    const { group, session } = context;
    const role = tenantRole(group.name, tenant);
    const [row] = await session.query<{ node: string | null; state: ServedState; role: boolean }>(
        "SELECT node, state, to_regrole(quote_ident($3)) IS NOT NULL AS role FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [group.name, tenant, role],
    );
    const database = await context.another(row?.node ?? "coordinator", tenant);
    try {
        await database.query(OWN_LEDGER);
        const have = await database.query<{ path: string; sha256: string }>(
            "SELECT path, sha256 FROM citus_as_code.migration",
        );
        const other = files.find((file) =>
            have.some(
                ({ path, sha256 }) => path === file.path && ![file.sha256, ...(file.also ?? [])].includes(sha256),
            ),
        );
        if (other)
            throw new FileError(
                other,
                new Error(
                    "the database has run another content of this file. Put the file back as it was, and put what is new into a file that sorts after it.",
                ),
            );
        for (const file of files) {
            try {
                if (!have.some(({ path }) => path === file.path))
                    await patiently(context, tenant, file, {
                        ...databasePlace(group, file, database),
                        // a file may have made a schema, of which the role has nothing yet
                        after: async () =>
                            `${RESET_SESSION_SQL}\n${row?.role ? await databasePrivileges(database, role, row.state) : ""}`,
                    });
            } catch (error) {
                throw new FileError(file, error);
            }
            await session.query(ranAgain(group.name, tenant, file));
        }
    } finally {
        await database.close().catch(() => undefined);
    }
}

/** One tenant, file after file. */
async function alone(context: Context, session: Session, wave: Wave, step: Step, template: Template) {
    const tenant = tenantOf(step);
    const files = filesOf(step).flatMap((path) => template.get(path) ?? []);
    try {
        if (context.group.model === "database") await inDatabase(context, tenant, files);
        else await inSchema(context, session, tenant, files);
    } catch (error) {
        throw error instanceof FileError ? await explain(context, wave, tenant, error) : error;
    }
}

/** How many tenants can be sent in one text, each with these files. */
export function batchSize(files: readonly TemplateFile[]): number {
    const bytes = files.reduce((sum, { packed }) => sum + packed.length, 0);
    return Math.max(1, Math.min(BATCH, Math.floor(BATCH_BYTES / Math.max(1, bytes))));
}

/** How many of these tenants are sent in one text; one where that can't be. */
function together(group: GroupSpec, wave: Wave, steps: readonly Step[], template: Template): number {
    if (wave === "canary" || group.model === "database") return 1;
    const of = (step: Step) => filesOf(step).flatMap((path) => template.get(path) ?? []);
    const some = steps.slice(0, Math.min(...steps.slice(0, BATCH).map((step) => batchSize(of(step)))));
    const without = some.findIndex((step) => of(step).some((file) => file.alone));
    return without < 0 ? some.length : Math.max(1, without);
}

/** Tenants one after the other on one connection. @param stopped whether another connection met a failure */
async function lane(
    context: Context,
    session: Session,
    wave: Wave,
    next: () => Step[],
    template: Template,
    stopped: () => boolean,
) {
    for (let some = next(); some.length > 0 && !stopped(); some = next()) {
        context.alive();
        if (some.length > 1) {
            try {
                await schemaBatch(context, session, some, template);
                continue;
            } catch {
                // each by itself says which it was, and is tried again; what was done is in the ledger
            }
        }
        for (const step of some) {
            if (stopped()) return;
            await alone(context, session, wave, step, template);
        }
    }
}

/** Nodes in turns, so that connections beside each other work on different ones. */
export function inTurns<T>(items: readonly T[], nodeOf: (item: T) => string): T[] {
    const byNode = new Map<string, T[]>();
    for (const item of items) byNode.set(nodeOf(item), [...(byNode.get(nodeOf(item)) ?? []), item]);
    const lists = [...byNode.values()];
    const longest = Math.max(0, ...lists.map(({ length }) => length));
    return Array.from({ length: longest }, (_, i) => lists.flatMap((list) => list.slice(i, i + 1))).flat();
}

/** Where each tenant of a group is. */
async function nodesOf({ group, session }: Context): Promise<Map<string, string>> {
    const rows = await session.query<{ tenant: string; node: string }>(
        group.model === "database"
            ? "SELECT tenant, coalesce(node, '') AS node FROM citus_as_code.tenant WHERE grp = $1"
            : `SELECT l.tenant, min(p.groupid)::text AS node FROM citus_as_code.tenant l
                 JOIN pg_dist_schema d ON d.schemaid = to_regnamespace(quote_ident(l.tenant))
                 JOIN pg_dist_partition t ON t.colocationid = d.colocationid
                 JOIN pg_dist_shard s USING (logicalrelid) JOIN pg_dist_placement p USING (shardid)
                WHERE l.grp = $1 GROUP BY 1`,
        [group.name],
    );
    return new Map(rows.map(({ tenant, node }) => [tenant, node]));
}

export const runWave = (wave: Wave) => async (context: Context, steps: readonly Step[]) => {
    const { group } = context;
    const files = readTemplate(
        context,
        steps.flatMap((step) => filesOf(step)),
    );
    const template = new Map(files.map((file) => [file.path, file]));
    const lanes = Math.min(group.rollout.parallel ?? 1, steps.length);
    const places = lanes > 1 ? await nodesOf(context) : new Map<string, string>();
    const left = lanes > 1 ? inTurns(steps, (step) => places.get(tenantOf(step)) ?? "") : [...steps];
    let failure: { error: unknown } | undefined;
    const next = () => {
        if (left.length < steps.length)
            context.progress(`${wave}: ${steps.length - left.length} of ${steps.length} tenants`);
        return left.splice(0, Math.min(together(group, wave, left, template), Math.ceil(left.length / lanes)));
    };
    // a database has a connection of its own, and its group's ledger waits its turn
    const sessions = await openLanes(context, lanes);
    try {
        await Promise.all(
            sessions.map((session) =>
                lane(context, session, wave, next, template, () => failure !== undefined).catch((error: unknown) => {
                    failure ??= { error };
                }),
            ),
        );
    } finally {
        for (const session of sessions) if (session !== context.session) await session.close().catch(() => undefined);
    }
    if (failure) throw failure.error;
    const follows = whatFollows(group, wave);
    if (follows !== undefined)
        context.note(`${named(files)} reached the ${wave} (${whole(steps.length, "tenant")}); ${follows}`);
};

/** What takes a file on from a wave that has it, where that is another run; undefined where nothing is left or one run does all. */
export function whatFollows({ name, tenants, rollout }: GroupSpec, wave: Wave): string | undefined {
    if (!stopsBetweenWaves(rollout)) return undefined;
    const waves = wavesOf(Object.keys(tenants), rollout);
    const next = WAVES.slice(WAVES.indexOf(wave) + 1).find((later) => [...waves.values()].includes(later));
    if (next === undefined) return undefined;
    const { pause: wait = 0, approve } = rollout;
    const conditions = [
        ...(wait > 0 ? [`${wait >= 60_000 ? `${wait / 60_000} min` : seconds(wait)} have passed`] : []),
        ...(approve ? [`npm run tenants -- approve ${name} was run`] : []),
    ];
    return `the ${next} is next: run pulumi up again when ${conditions.join(" and ")}`;
}

async function openLanes({ group, session, another }: Context, lanes: number): Promise<Session[]> {
    const shared = group.model === "database";
    const sessions = [session];
    try {
        while (sessions.length < lanes) sessions.push(shared ? session : await another("coordinator"));
    } catch (error) {
        for (const one of sessions) if (one !== session) await one.close().catch(() => undefined);
        throw error;
    }
    return sessions;
}
