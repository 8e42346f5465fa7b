/** Files of a group's template that were added later: how each is run once for existing tenants. */

import { given } from "../../sql/given.ts";
import { qualified } from "../../sql/quote.ts";
import type { Cost } from "../check/read/costs.ts";
import type { Facet, Planned } from "../group/facet.ts";
import { type FirstRuns, lateFiles, nameAfter, runOrder } from "../group/order.ts";
import { rollout, type Stop, type UnderWay, WAVES, type Wave } from "../group/rollout.ts";
import type { GroupSpec } from "../group/spec.ts";
import { renameOwnByHand } from "../ledger/ownDatabase.ts";
import { renameRanByHand } from "../ledger/ran.ts";
import { isServed } from "../ledger/states.ts";
import { describeCost, type Weight, weightOf } from "./blocking.ts";
import { MANY_SHARDS, runFiles, runWave, TRIES } from "./runMigrations.ts";
import { weightsOf } from "./weights.ts";

/** `pending`: in models row and rls under ''. */
export interface FoundMigrations extends UnderWay {
    /** When each file was first run for any tenant. */
    readonly first: FirstRuns;
    /** Files whose content is not what was run, and for how many tenants it was. */
    readonly changed: Readonly<Record<string, number>>;
    /** Files that were run and are not in the template any more. */
    readonly removed: Readonly<Record<string, number>>;
    /** Pending files whose content tenants ran under a path that is not in the template any more. */
    readonly moved: Readonly<Record<string, { readonly was: string; readonly tenants: number }>>;
    /** How large the group's tables are; asked when files wait. */
    readonly weights?: Readonly<Record<string, Weight>>;
    /** What waiting files cost, by path. */
    readonly costs?: Readonly<Record<string, readonly Cost[]>>;
    /** Shards of the group's distributed tables that have more than is quick to alter. */
    readonly many: Readonly<Record<string, number>>;
}

const perTenant = ({ model }: GroupSpec) => model === "schema" || model === "database";
const seconds = (milliseconds: number) => `${milliseconds / 1000} s`;
const whole = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`;

const named = (files: readonly string[]) => (files.length > 2 ? whole(files.length, "file") : files.join(" and "));

function refuseMoved(group: GroupSpec, path: string, was: string, tenants: number): string {
    const ran = perTenant(group) ? `run for ${whole(tenants, "tenant")}` : "run";
    return [
        `${path} has the content (sha256) of ${was}, which was ${ran} and is not in the template any more: it would run twice. If you rename it back to ${was}, nothing is run.`,
        `To keep the name ${path}, tell the ledger (npm run psql), then run pulumi up:`,
        renameRanByHand(group.name, was, path),
        ...(group.model === "database" ? ["and in the database of each tenant:", renameOwnByHand(was, path)] : []),
    ].join("\n");
}

/** A file that tenants made later would run before one that those who exist have behind them. */
function refuseLate(group: GroupSpec, { path, after }: { path: string; after: string }): string {
    const name = nameAfter(
        path,
        after,
        group.template.map((file) => file.path),
    );
    return [
        `${path} sorts before ${after}, which has been run already. What is made anew from these files would run them in another order than what is there.`,
        name === undefined
            ? `Give it a name that sorts after ${after}.`
            : `Give it a name that sorts after all that were run: git mv ${path} ${name}`,
        `If no order matters to it, set outOfOrder: true in group ${group.name}: then it runs after ${after} here, and for tenants that are made later too.`,
    ].join("\n");
}

const FOR_WAVE: Readonly<Record<Wave, string>> = {
    canary: "the canaries",
    part: "the part",
    rest: "the rest",
};

/** What the files that run now make others wait for. */
function costNotes(group: GroupSpec, found: FoundMigrations | undefined, files: readonly string[]): string[] {
    const { costs = {}, weights = {}, first = {} } = found ?? {};
    // tables that are still to be made are empty
    if (Object.keys(first).length === 0) return [];
    const toCome = ({ table }: Cost) =>
        weightOf(table, weights) === undefined &&
        (group.model === "schema" || Object.hasOwn(group.tables, table.replace(/^public\./, "")));
    const tenants = perTenant(group) ? Object.keys(group.tenants).length : undefined;
    return [...new Set(files)].flatMap((path) =>
        (costs[path] ?? []).filter((cost) => !toCome(cost)).map((cost) => describeCost(path, cost, weights, tenants)),
    );
}

/** What keeps a file from tenants, and how it goes on. */
export function describeStop({ name }: GroupSpec, { path, wave, waiting, tenants }: Stop): string {
    const who = `${path}: next ${tenants === 1 ? "is" : "are"} ${whole(tenants, "tenant")} (${FOR_WAVE[wave]}${wave === "part" ? " and the rest" : ""})`;
    if (waiting.for === "wave") return `${who}, when ${FOR_WAVE[waiting.wave]} ran it`;
    if (waiting.for === "pause")
        return `${who}, when the pause is over: run pulumi up again in ${whole(Math.max(1, Math.ceil(waiting.seconds / 60)), "minute")}`;
    return `${who}, when you approve it. Look at the tenants that have it, then: npm run tenants -- approve ${name}, and pulumi up`;
}

/** Files that wait between waves. */
export function stopsOf(group: GroupSpec, found: FoundMigrations | undefined): readonly Stop[] {
    return turnsOf(group, found).stops;
}

const turnsOf = (group: GroupSpec, found: FoundMigrations | undefined) =>
    rollout(
        Object.keys(group.tenants),
        runOrder(
            group.template.map(({ path }) => path),
            found?.first ?? {},
        ),
        group.rollout,
        found ?? { pending: {} },
    );

function planMigrations(group: GroupSpec, found: FoundMigrations | undefined): Planned {
    const paths = group.template.map(({ path }) => path);
    const moved = Object.entries(found?.moved ?? {});
    const changed = Object.entries(found?.changed ?? {}).map(([path, n]) =>
        perTenant(group)
            ? `${path} was run for ${whole(n, "tenant")} and has changed since. Put it back as it was (git checkout ${path}), and put what is new into a file that sorts after it.`
            : `${path} was run and has changed since. Put it back as it was (git checkout ${path}), and put what is new into a file that sorts after it.`,
    );
    const late = group.outOfOrder
        ? []
        : lateFiles(paths, found?.first ?? {})
              .filter(({ path }) => !moved.some(([to]) => to === path))
              .map((file) => refuseLate(group, file));
    const refusals = [
        ...changed,
        ...late,
        ...moved.map(([path, { was, tenants }]) => refuseMoved(group, path, was, tenants)),
    ];
    const notes = Object.entries(found?.removed ?? {})
        .filter(([path]) => !moved.some(([, { was }]) => was === path))
        .map(([path, n]) =>
            perTenant(group)
                ? `${path}: not in the template any more; ${whole(n, "tenant")} ran it, and what it did stays; new tenants are made without it`
                : `${path}: not in the template any more; what it did stays`,
        );
    const order = runOrder(paths, found?.first ?? {});
    if (!perTenant(group)) {
        const pending = found === undefined ? paths : order.filter((path) => found.pending[""]?.includes(path));
        const many = Object.entries(found?.many ?? {}).map(([table, n]) => `${table} has ${n} shards`);
        const warning =
            many.length === 0 ? "" : `; ${many.join(", ")}: an ALTER TABLE of such a table takes all of them at once`;
        const steps = pending.map((path) => ({
            kind: "migrations.file",
            text: `group ${group.name}: run ${path} once (waits ${seconds(group.lockTimeout)} for a lock, ${TRIES} times${warning})`,
            detail: { files: [path] },
        }));
        return { steps, refusals, notes: [...notes, ...costNotes(group, found, pending)] };
    }
    const { turns, stops } = turnsOf(group, found);
    const steps = turns.map(({ tenant, wave, files }) => ({
        kind: `migrations.${wave}`,
        tenant,
        text: `${tenant}: run ${named(files)} (${wave} ${WAVES.indexOf(wave) + 1} of ${WAVES.length})`,
        detail: { files },
    }));
    const costs = costNotes(
        group,
        found,
        turns.flatMap(({ files }) => files),
    );
    return { steps, refusals, notes: [...notes, ...costs, ...stops.map((stop) => describeStop(group, stop))] };
}

const TEMPLATE = `(SELECT f ->> 'path' AS path, f ->> 'sha256' AS sha256, coalesce(f -> 'also', '[]') AS also, i FROM jsonb_array_elements($2::jsonb -> 'template') WITH ORDINALITY AS x (f, i))`;

/** The same with a row for each hash that the content is known by. */
const HASHES = `(SELECT path, h.sha256 FROM ${TEMPLATE} t CROSS JOIN LATERAL (SELECT t.sha256 UNION SELECT jsonb_array_elements_text(t.also)) h (sha256))`;

/** Waves that were approved, of files as they are. */
const APPROVED = `coalesce((SELECT jsonb_object_agg(path, waves) FROM (
                SELECT a.path, jsonb_agg(a.wave) AS waves FROM citus_as_code.tenant_approval a JOIN ${TEMPLATE} f USING (path, sha256)
                 WHERE a.grp = $1 GROUP BY 1) w), '{}')`;

/** Of files that somebody has not run: how long ago the others did. */
const AGES = `coalesce((SELECT jsonb_object_agg(path, ages) FROM (
                SELECT m.path, jsonb_object_agg(m.tenant, extract(epoch FROM now() - m.run_at)::float8) AS ages
                  FROM citus_as_code.tenant_migration m JOIN ${TEMPLATE} f USING (path)
                 WHERE m.grp = $1 GROUP BY 1
                HAVING count(*) < (SELECT count(*) FROM citus_as_code.tenant WHERE grp = $1 AND ${isServed("state")})) a), '{}')`;

/** Files of the template, each once for each tenant, or once for the group in models row and rls. */
export const migrations: Facet<FoundMigrations | undefined> = {
    name: "migrations",
    none: undefined,
    sql: (group, { ledger, approvals, tables }) => {
        if (!ledger) return undefined;
        const tenants = perTenant(group)
            ? `(SELECT tenant FROM citus_as_code.tenant WHERE grp = $1 AND ${isServed("state")} AND (SELECT $2::jsonb -> 'tenants') ? tenant)`
            : `(SELECT '' AS tenant)`;
        const many = tables
            .filter((table) => group.tables[table]?.kind === "distributed")
            .map((table) => `(${given(table)}, ${given(qualified(table))})`);
        return `SELECT jsonb_build_object(
            'pending', coalesce((SELECT jsonb_object_agg(tenant, files) FROM (
                SELECT t.tenant, jsonb_agg(f.path ORDER BY f.i) AS files FROM ${tenants} t CROSS JOIN ${TEMPLATE} f
                 WHERE NOT EXISTS (SELECT FROM citus_as_code.tenant_migration m WHERE (m.grp, m.tenant, m.path) = ($1, t.tenant, f.path))
                 GROUP BY 1) p), '{}'),
            'first', coalesce((SELECT jsonb_object_agg(path, at) FROM (
                SELECT m.path, extract(epoch FROM min(m.run_at))::float8 AS at FROM citus_as_code.tenant_migration m JOIN ${TEMPLATE} f USING (path)
                 WHERE m.grp = $1 GROUP BY 1) r), '{}'),
            'ages', ${(group.rollout.pause ?? 0) > 0 ? AGES : "'{}'::jsonb"},
            'approved', ${group.rollout.approve && approvals ? APPROVED : "'{}'::jsonb"},
            'weights', CASE WHEN EXISTS (SELECT FROM ${tenants} t CROSS JOIN ${TEMPLATE} f
                 WHERE NOT EXISTS (SELECT FROM citus_as_code.tenant_migration m WHERE (m.grp, m.tenant, m.path) = ($1, t.tenant, f.path)))
                THEN ${weightsOf(group, tables)} ELSE '{}' END,
            'changed', coalesce((SELECT jsonb_object_agg(path, n) FROM (
                SELECT path, count(*) AS n FROM citus_as_code.tenant_migration m JOIN ${TEMPLATE} f USING (path)
                 WHERE m.grp = $1 AND m.sha256 <> f.sha256 AND NOT f.also ? m.sha256 GROUP BY 1) c), '{}'),
            'removed', coalesce((SELECT jsonb_object_agg(path, n) FROM (
                SELECT path, count(*) AS n FROM citus_as_code.tenant_migration m
                 WHERE m.grp = $1 AND NOT EXISTS (SELECT FROM ${TEMPLATE} f WHERE f.path = m.path) GROUP BY 1) r), '{}'),
            'moved', coalesce((SELECT jsonb_object_agg(path, jsonb_build_object('was', was, 'tenants', n)) FROM (
                SELECT f.path, min(m.path) AS was, count(DISTINCT t.tenant) AS n
                  FROM ${tenants} t JOIN citus_as_code.tenant_migration m ON (m.grp, m.tenant) = ($1, t.tenant) JOIN ${HASHES} f USING (sha256)
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
    readFiles: async (_group, found, read) => {
        const waiting = new Set(Object.values(found?.pending ?? {}).flat());
        if (!found || waiting.size === 0) return found;
        // the parser is loaded by whom it serves
        const { costsOfFile } = await import("../check/read/sql.ts");
        const costsOf = async (path: string) => {
            try {
                return await costsOfFile({ path, sql: read(path) });
            } catch {
                // who runs it says what is wrong with it
                return [];
            }
        };
        const costs = await Promise.all([...waiting].map(async (path) => [path, await costsOf(path)] as const));
        return { ...found, costs: Object.fromEntries(costs) };
    },
    plan: planMigrations,
    run: { file: runFiles, canary: runWave("canary"), part: runWave("part"), rest: runWave("rest") },
};
