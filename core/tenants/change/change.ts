/** A living tenant goes to a group of another model: fence, copy, verify, switch. The old copy stays. */
import { runScript } from "../../reach/run.ts";
import { DatabaseError, type Session } from "../../reach/session.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import {
    emptyCheck,
    everything,
    inTransaction,
    nameOf,
    type Print,
    type Prints,
    printSlices,
    printSql,
    rowsOf,
    SAME_TEXT,
    samePrint,
    shapesSql,
    whereOf,
} from "../data/checksum.ts";
import { advanceSequences, carryLoose, readSequences } from "../data/sequences.ts";
import { databaseOf, type Pair, pairUp, schemaOf } from "../data/shape.ts";
import { nodeOfTenant, type Place, placeOf } from "../data/tenantTables.ts";
import { said } from "../group/batch.ts";
import { batches, explainRefusals, look, planAll, takeLock } from "../group/converge.ts";
import type { Context, Facet, Step } from "../group/facet.ts";
import { appRole, type GroupSpec, tenantRole } from "../group/spec.ts";
import { recordRate } from "../ledger/measured.ts";
import { privileges } from "../roles/privileges.ts";
import { policies } from "../rows/policies.ts";
import { type ChangeFound, type LedgerTenant, NOTHING_FOUND, type Phase, planChange } from "./changePlan.ts";

/** What a plan needs, all that is in this database; rows are counted of tenants that have not come yet. */
const FOUND = `(
WITH wanted AS MATERIALIZED (
    SELECT w.key AS tenant, w.value #>> '{from,group}' AS from_grp, w.value #>> '{from,tenant}' AS from_tenant, to_jsonb(ch) AS change
      FROM jsonb_each($2::jsonb -> 'tenants') AS w
      LEFT JOIN citus_as_code.tenant_change ch ON ch.grp = $1 AND ch.tenant = w.key
     WHERE w.value ? 'from'
       AND NOT (ch.phase IS NOT DISTINCT FROM 'done' AND ch.from_grp = w.value #>> '{from,group}' AND ch.from_tenant = w.value #>> '{from,tenant}')),
places AS MATERIALIZED (
    SELECT w.tenant, $2::jsonb ->> 'model' AS model, $2::jsonb -> 'tables' AS tables FROM wanted w
     UNION SELECT w.from_tenant, g.spec ->> 'model', g.spec -> 'tables' FROM wanted w JOIN citus_as_code.tenant_group g ON g.grp = w.from_grp),
slices AS MATERIALIZED (
    SELECT p.tenant AS key, t.value ->> 'column' AS col, to_regclass(format('%I.%I', split_part(f.name, '.', 1), split_part(f.name, '.', 2))) AS rel
      FROM places p, jsonb_each(p.tables) AS t, LATERAL (SELECT CASE WHEN position('.' IN t.key) > 0 THEN t.key ELSE 'public.' || t.key END AS name) AS f
     WHERE p.model IN ('rls', 'row') AND t.value ? 'column'
     UNION SELECT '', NULL, c.oid::regclass FROM places p JOIN pg_namespace n ON n.nspname = p.tenant JOIN pg_class c ON c.relnamespace = n.oid
     WHERE p.model = 'schema' AND c.relkind IN ('r', 'p') AND NOT c.relispartition)
SELECT jsonb_build_object(
    'models', (SELECT coalesce(jsonb_object_agg(m.model, m.n), '{}') FROM (SELECT model, count(*) AS n FROM citus_as_code.tenant WHERE grp = $1 GROUP BY model) AS m),
    'gone', (SELECT coalesce(jsonb_object_agg(tenant, detail ->> 'moved_to'), '{}') FROM citus_as_code.tenant WHERE grp = $1 AND state = 'superseded'),
    'pending', (SELECT coalesce(jsonb_object_agg(w.tenant, jsonb_build_object('change', w.change,
                    'group', (SELECT g.spec - 'tenants' || '{"tenants": {}}' FROM citus_as_code.tenant_group g WHERE g.grp = w.from_grp),
                    'source', (SELECT to_jsonb(t) FROM citus_as_code.tenant t WHERE t.grp = w.from_grp AND t.tenant = w.from_tenant),
                    'target', (SELECT to_jsonb(t) FROM citus_as_code.tenant t WHERE t.grp = $1 AND t.tenant = w.tenant))), '{}') FROM wanted w),
    'unwanted', (SELECT coalesce(jsonb_object_agg(c.tenant, jsonb_build_object('other', c.from_grp || '/' || c.from_tenant, 'phase', c.phase)), '{}')
                   FROM citus_as_code.tenant_change c WHERE c.grp = $1 AND c.phase <> 'done' AND NOT EXISTS (SELECT FROM wanted w WHERE w.tenant = c.tenant)),
    'leaving', (SELECT coalesce(jsonb_object_agg(c.from_tenant, jsonb_build_object('other', c.grp || '/' || c.tenant, 'phase', c.phase)), '{}')
                  FROM citus_as_code.tenant_change c WHERE c.from_grp = $1 AND c.phase <> 'done'),
    'shapes', ${shapesSql("c.oid IN (SELECT rel FROM slices)")},
    'counted', (SELECT coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'name', c.relname, 'key', s.key,
                    'rows', CASE WHEN pg_input_is_valid(s.key, (SELECT format_type(a.atttypid, -1) FROM pg_attribute a WHERE a.attrelid = s.rel AND a.attname = s.col)) IS FALSE THEN 0
                        ELSE ((xpath('//n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', s.rel)
                            || CASE WHEN s.col IS NULL THEN '' ELSE format(' WHERE %I = %L', s.col, s.key) END, true, false, '')))[1]::text)::bigint END)), '[]')
                  FROM slices s JOIN pg_class c ON c.oid = s.rel JOIN pg_namespace n ON n.oid = c.relnamespace),
    'rate', (SELECT bytes / seconds FROM citus_as_code.measured WHERE what = 'rows of a change of model')))`;

const RATE = "rows of a change of model";

interface Change {
    readonly context: Context;
    readonly tenant: string;
    /** `group/tenant` that it comes from. */
    readonly from: string;
    readonly source: Place;
    readonly target: Place;
    readonly pairs: readonly Pair[];
}

/** What a change must know again after it was killed. */
interface Detail {
    /** State of the old tenant before; null when nothing was written down about it. */
    readonly was: string | null;
    /** GRANTs that undo the fence. */
    readonly grants: readonly string[];
    readonly fenced?: string;
    /** What this change began to copy into a place that was empty: nothing else is ever taken out of it again. */
    readonly copied?: Prints;
}

async function groupSpec(context: Context, name: string): Promise<GroupSpec> {
    const [row] = await context.session.query<{ spec: GroupSpec }>(
        "SELECT spec FROM citus_as_code.tenant_group WHERE grp = $1",
        [name],
    );
    if (!row) throw new Error(`this cluster knows no group ${name}. Run pulumi up with that group first.`);
    return row.spec;
}

/** One phase after the other; the ledger says which one has begun. @param phase the same as before when undefined */
async function reach(change: Change, phase: Phase | undefined, detail: Partial<Detail> = {}): Promise<void> {
    await change.context.session.query(
        "UPDATE citus_as_code.tenant_change SET phase = coalesce($3, phase), detail = detail || $4::jsonb WHERE grp = $1 AND tenant = $2",
        [change.context.group.name, change.tenant, phase ?? null, JSON.stringify(detail)],
    );
}

interface Written {
    readonly phase: Phase;
    readonly detail: Detail;
}

/** What the ledger has of a change; undefined when it has none. */
async function written(session: Session, group: string, tenant: string): Promise<Written | undefined> {
    const [row] = await session.query<Written>(
        "SELECT phase, detail FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2",
        [group, tenant],
    );
    return row;
}

/** Writes a change down, unless a run that was killed has. */
async function begin({ context, tenant, source }: Change): Promise<Detail> {
    const { session, group } = context;
    await session.query(
        `INSERT INTO citus_as_code.tenant_change (grp, tenant, from_grp, from_tenant, phase, detail)
         SELECT $1, $2, $3, $4, 'plan', jsonb_build_object('grants', '[]'::jsonb,
                'was', (SELECT state FROM citus_as_code.tenant WHERE grp = $3 AND tenant = $4))
             ON CONFLICT DO NOTHING`,
        [group.name, tenant, source.group.name, source.tenant],
    );
    const row = await written(session, group.name, tenant);
    if (!row)
        throw new Error(
            "its change is missing from the ledger (citus_as_code.tenant_change), where it was just written",
        );
    return row.detail;
}

/** @param copy how rows go to another database */
export async function move(context: Context, step: Step, copy: Copy = pipe): Promise<void> {
    const { group, session } = context;
    const tenant = step.tenant ?? "";
    const from = group.tenants[tenant]?.from;
    if (!from) throw new Error(`${tenant}: the program does not say from which tenant it comes (from)`);
    const old = await groupSpec(context, from.group);
    const source = await placeOf(context, old, from.tenant);
    const target = await placeOf(context, group, tenant);
    const paired = pairUp(source.slices, target.slices, Object.keys(group.tenants[tenant]?.values ?? {}));
    if (paired.pairs.length === 0) paired.refusals.push("no table is in both groups");
    paired.refusals.push(...(await refuseLargeObjects(source, target)));
    const name = `${from.group}/${from.tenant}`;
    const change: Change = { context, tenant, from: name, source, target, pairs: paired.pairs };
    try {
        // thrown inside the try: giveUp then lifts a fence that a killed run left
        if (paired.refusals.length > 0) throw new Error(`the tables do not fit:\n${paired.refusals.join("\n")}`);
        const detail = await begin(change);
        const began = Date.now();
        const closed = await fence(change, detail);
        const moved =
            source.session === target.session
                ? await moveWithin(change, closed)
                : await moveBetween(change, detail.copied, copy);
        await closeOld(context, source);
        // an old copy of its own that was hidden there is served again
        await refreshPolicies(context, group);
        const rows = Object.values(moved).reduce((sum, { count }) => sum + Number(count), 0);
        await recordRate(session, RATE, rows, (Date.now() - began) / 1000);
        const [ended] = await session.query<{ seconds: number }>(
            "SELECT extract(epoch FROM clock_timestamp() - (detail ->> 'fenced')::timestamptz)::float8 AS seconds FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2",
            [group.name, tenant],
        );
        context.note(
            `${tenant}: ${old.model} → ${group.model}: ${countOf(change.pairs.length, "table")}, ${countOf(rows, "row")} from ${name}, the same count and checksum. Its writes were blocked for ${(ended?.seconds ?? 0).toFixed(1)} s. The old copy stays.`,
        );
        for (const note of paired.notes) context.note(`${tenant}: from ${name}: ${note}`);
        // the old rows are not shown any more
        if (closed && (old.model === "rls" || old.model === "row")) await refreshPolicies(context, old);
        if (!closed)
            context.warn(
                `${tenant}: group ${from.group} has no policies, so an application can still write to the old rows there. Point the application at ${group.name}/${tenant} now. If the old copy changes, it can't be deleted.`,
            );
    } catch (error) {
        const outcome = await giveUp(change, error as Error).catch(
            (e: Error) =>
                `failed, and it could not be undone:\n${indented(e)}\n${name} may still refuse writes. Run pulumi up again: it goes on from where the database is.`,
        );
        throw new Error(`${tenant}: ${old.model} → ${group.model} from ${name}\n${indented(error)}\nIt ${outcome}`);
    }
}

/** Rows name them by their numbers, and no copy of rows takes them along. */
async function refuseLargeObjects(source: Place, target: Place): Promise<string[]> {
    const named = source.slices.some(({ table }) => table.columns.some(({ type }) => /^(.*[.])?(oid|lo)$/.test(type)));
    if (source.session === target.session || (source.database === undefined && !named)) return [];
    const [row] = await source.session.query<{ n: string }>("SELECT count(*)::text AS n FROM pg_largeobject_metadata");
    if (row === undefined || row.n === "0") return [];
    return [
        `the database that it comes from has ${row.n} large objects, and a change of model copies only rows: keep their content in columns of type bytea, and lo_unlink() them`,
    ];
}

const indented = (error: unknown) => `  ${(error as Error).message.replaceAll("\n", "\n  ")}`;

/**
 * The old place refuses the tenant's writes from here on, those of the superuser aside.
 * @returns whether it does by itself; else only a lock held meanwhile does
 */
async function fence(change: Change, detail: Detail): Promise<boolean> {
    const { context, source } = change;
    const { group: old, tenant } = source;
    await inTransaction(context.session, async () => {
        await context.session.query(
            `UPDATE citus_as_code.tenant_change SET phase = CASE phase WHEN 'plan' THEN 'fence' ELSE phase END,
                    detail = jsonb_build_object('fenced', clock_timestamp()) || detail WHERE grp = $1 AND tenant = $2`,
            [context.group.name, change.tenant],
        );
        await context.session.query(
            `INSERT INTO citus_as_code.tenant (grp, tenant, model, state) VALUES ($1, $2, $3, 'frozen')
                 ON CONFLICT (grp, tenant) DO UPDATE SET state = 'frozen'`,
            [old.name, tenant, old.model],
        );
    });
    if (old.model === "rls" || old.model === "row") return refreshPolicies(context, old);
    const found = await source.session.query<{ revoke: string; grant: string }>(
        `SELECT format('REVOKE %s ON TABLE %I.%I FROM %s', x.privileges, n.nspname, c.relname, x.role) AS revoke,
                format('GRANT %s ON TABLE %I.%I TO %s', x.privileges, n.nspname, c.relname, x.role) AS grant
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
                LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role,
                                string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS privileges
                           FROM aclexplode(c.relacl) AS a
                          WHERE a.grantee <> c.relowner AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
                          GROUP BY a.grantee) AS x
          WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))`,
        [source.slices.map(({ table }) => table.schema), source.slices.map(({ table }) => table.name)],
    );
    if (found.length === 0) return true;
    // written down first: who is killed in between knows what to give back
    await reach(change, undefined, { grants: [...detail.grants, ...found.map(({ grant }) => grant)] });
    await inTransaction(source.session, async () => {
        for (const { revoke } of found) await source.session.query(revoke);
    });
    return true;
}

/** Whether policies keep a group's tenants apart. */
export const hasPolicies = ({ model, rowSecurity }: GroupSpec) => model === "rls" || (model === "row" && rowSecurity);

/** Policies of a group follow what it and the ledger say of its tenants. @returns whether it has any */
export async function refreshPolicies(context: Context, old: GroupSpec): Promise<boolean> {
    if (!hasPolicies(old)) return false;
    const theirs = { ...context, group: old };
    const found = await look(context.session, old, [policies], context.verifier(appRole(old.name)).mark, context.nodes);
    const { steps, refusals } = planAll(old, [policies], found);
    if (refusals.length > 0) throw new Error(explainRefusals(old, refusals));
    for (const batch of batches(steps))
        await policies.run[(batch[0]?.kind ?? "").slice(policies.name.length + 1)]?.(theirs, batch);
    return true;
}

/** A connection that nothing has happened to. */
async function fresh(context: Context, node: string, database?: string): Promise<Session> {
    const kept = await context.open(node, database);
    await kept.close().catch(() => undefined);
    return context.open(node, database);
}

/**
 * A run goes on with a new connection to the coordinator, because the old one may be what failed. A lost connection has lost
 * the lock too. Once the new one has the lock, the old transaction is certainly over.
 */
export async function renewed(context: Context): Promise<Context> {
    const session = await fresh(context, "coordinator");
    const held = await context.session.query("SELECT").then(
        () => true,
        () => false,
    );
    if (!held) await takeLock({ ...context, session });
    return { ...context, session };
}

/**
 * The old place takes writes again, unless the switch was done and only its answer was lost. On connections of its own, as
 * those of the run may be what failed.
 * @returns what became of the change, and what to do
 */
async function giveUp({ context, tenant, from, source, target, pairs }: Change, why: Error): Promise<string> {
    const { group } = context;
    const again = await renewed(context);
    const { session } = again;
    const on = (place: Place) => (place.database === undefined ? session : fresh(context, place.node, place.database));
    const now = await written(session, group.name, tenant);
    if (now?.phase === "done")
        return `was done all the same: the tenant is served from ${group.name}, and ${from} is kept as the old copy. Run pulumi up again for the steps after it.`;
    let left = "";
    if (now) {
        await unfence(again, source, await on(source), now.detail);
        const { copied } = now.detail;
        if (copied !== undefined)
            left = await Promise.resolve(on(target))
                .then((there) => clearCopy(there, pairs, copied, { timeout: group.lockTimeout }))
                .then(
                    () => "",
                    (error: Error) =>
                        error.message === why.message
                            ? ""
                            : `\nThe rows in ${group.name}/${tenant} were left there:\n${indented(error)}\nLook at them, then empty those tables. `,
                );
        await forget(session, group.name, tenant);
    }
    return `was given up: ${from} takes writes again, and is as it was. Nothing was switched.${left || " "}Remove the cause, then run pulumi up again.`;
}

/** Takes the fence of the old place away. Safe to repeat. @param there a connection to it */
async function unfence(
    context: Context,
    { group: old, tenant }: Pick<Place, "group" | "tenant">,
    there: Session,
    { was, grants }: Detail,
): Promise<void> {
    const { session } = context;
    // one that is being deleted by now stays so
    const fenced = "WHERE grp = $1 AND tenant = $2 AND state = 'frozen'";
    if (was === null) await session.query(`DELETE FROM citus_as_code.tenant ${fenced}`, [old.name, tenant]);
    else await session.query(`UPDATE citus_as_code.tenant SET state = $3 ${fenced}`, [old.name, tenant, was]);
    if (old.model === "rls" || old.model === "row") await refreshPolicies(context, old);
    for (const grant of grants)
        await there.query(grant).catch((error: unknown) => {
            if (!isGone(error)) throw error;
            context.warn(
                `${old.name}/${tenant}: one of its rights was not given back, because the role or table that it names is gone: ${grant}\n${indented(error)}`,
            );
        });
}

/** Whether a role, table, schema or database is not there. */
const isGone = (error: unknown) =>
    error instanceof DatabaseError && ["42704", "42P01", "3F000", "3D000"].includes(error.code ?? "");

const forget = (session: Session, group: string, tenant: string) =>
    session.query("DELETE FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2", [group, tenant]);

/** A change that a killed run left and that nobody wants any more. What it copied stays: it may be in use by now. */
async function undo(context: Context, tenant: string): Promise<void> {
    const { session, group } = context;
    const [row] = await session.query<{ from_grp: string; from_tenant: string; phase: Phase; detail: Detail }>(
        "SELECT from_grp, from_tenant, phase, detail FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2 AND phase <> 'done'",
        [group.name, tenant],
    );
    if (!row) return;
    const name = `${row.from_grp}/${row.from_tenant}`;
    try {
        const old = await groupSpec(context, row.from_grp);
        // without GRANTs to give back nothing is done in the old place itself
        const own = old.model === "database" && row.detail.grants.length > 0;
        const place = { group: old, tenant: row.from_tenant };
        if (own) {
            const node = await nodeOfTenant(context, old, row.from_tenant);
            const there = await context.open(node, databaseOf(row.from_tenant)).catch((error: unknown) => {
                if (!isGone(error)) throw error;
                context.warn(`${name}: its database is gone from ${node}, so its rights there were not given back.`);
            });
            await unfence(context, place, there ?? session, there ? row.detail : { ...row.detail, grants: [] });
        } else await unfence(context, place, session, row.detail);
        await forget(session, group.name, tenant);
    } catch (error) {
        throw new Error(
            `${tenant}: its change from ${name} could not be undone\n${said(error)}\n${name} may still refuse writes. Remove the cause, then run pulumi up again: it is safe to repeat.`,
        );
    }
    context.warn(
        `${tenant}: its change from ${name} was begun and not ended, and the program does not name it any more. It was undone: ${name} takes writes again` +
            (row.phase === "copy" || row.phase === "verify"
                ? `. ${group.name}/${tenant} may hold a copy of its rows, which was left there and is no longer updated. Look at it, and empty it before you use it or change from ${name} again.`
                : ". Nothing had been copied."),
    );
}

const lockRows = (places: readonly Pair[], side: "source" | "target") =>
    `LOCK TABLE ${places.map((pair) => nameOf(pair[side].table)).join(", ")} IN SHARE ROW EXCLUSIVE MODE`;

/** The sides of all pairs, over the columns that both have. */
const side = (pairs: readonly Pair[], which: "source" | "target") =>
    pairs.map((pair) => ({ name: pair.name, slice: pair[which], columns: pair.compared }));

/** @throws Error naming the first table that differs */
function compare(pairs: readonly Pair[], before: Prints, after: Prints): void {
    const told = (print: Print | undefined) =>
        `${countOf(Number(print?.count ?? 0), "row")}, checksum ${print?.sum ?? 0}`;
    for (const { name, source, target } of pairs)
        if (!samePrint(before[name], after[name]))
            throw new Error(
                `the copy differs: ${nameOf(source.table)} has ${told(before[name])}, and ${nameOf(target.table)} has ${told(after[name])}`,
            );
}

/** Checksums of all that the old place has, over all its columns; what was summed up already is not read again. */
async function oldPrints({ source, pairs }: Change, known: Prints): Promise<Prints> {
    const kept: Record<string, Print> = {};
    const asked = everything(source.slices).filter(({ name, columns }) => {
        const print = known[name];
        const compared = pairs.find((pair) => pair.name === name)?.compared;
        if (!print || compared?.join("\n") !== columns.join("\n")) return true;
        kept[name] = print;
        return false;
    });
    return { ...kept, ...(await printSlices(source.session, asked)) };
}

/** The new tenant serves, the old one is a copy that is kept; with the copy's present checksum. */
async function switchOver(change: Change, checksum: Prints): Promise<void> {
    const { context, source, target } = change;
    const columns = Object.fromEntries(everything(source.slices).map((slice) => [slice.name, slice.columns]));
    await context.session.query(
        `UPDATE citus_as_code.tenant SET state = 'superseded', since = now(), detail = detail || $3::jsonb WHERE grp = $1 AND tenant = $2`,
        [
            source.group.name,
            source.tenant,
            JSON.stringify({ moved_to: `${target.group.name}/${target.tenant}`, checksum, columns }),
        ],
    );
    await context.session.query(
        `INSERT INTO citus_as_code.tenant (grp, tenant, model, state) VALUES ($1, $2, $3, 'active')
             ON CONFLICT (grp, tenant) DO UPDATE SET state = CASE tenant.state WHEN 'frozen' THEN 'frozen' ELSE 'active' END,
                detail = tenant.detail - '{moved_to,checksum,columns}'::text[]`,
        [target.group.name, target.tenant, target.group.model],
    );
    await reach(change, "done");
}

/** Takes the tenant's rights on the old copy away, so that nobody reads stale rows. If this run dies first, the old group's next `up` does it. */
async function closeOld(context: Context, { session, group, tenant }: Place): Promise<void> {
    if (group.model === "rls" || group.model === "row") await refreshPolicies(context, group);
    if (group.model !== "schema") return;
    const role = tenantRole(group.name, tenant);
    const [row] = await session.query<{ ok: boolean }>("SELECT to_regrole(quote_ident($1)) IS NOT NULL AS ok", [role]);
    if (row?.ok) await inTransaction(session, () => session.query(privileges(schemaOf(tenant), role, "fenced")));
}

async function carryNumbers({ context, pairs, source, target }: Change): Promise<void> {
    await carryLoose(source, target);
    const given = await readSequences(
        source.session,
        pairs.map((pair) => pair.source),
    );
    await advanceSequences(
        context,
        target,
        pairs.map((pair) => pair.target),
        given,
    );
}

/** Both places are in one database, so copy, verification and switch are one transaction. */
async function moveWithin(change: Change, closed: boolean): Promise<Prints> {
    const { context, pairs, target } = change;
    const { session, group } = context;
    const prints = await inTransaction(session, async () => {
        await session.query(SAME_TEXT);
        await session.query(`SET LOCAL lock_timeout = ${group.lockTimeout}`);
        // rows of others are not held up where policies keep this tenant's writes out
        if (!(closed && pairs.some(({ source }) => source.key))) await session.query(lockRows(pairs, "source"));
        if (!pairs.some(({ target }) => target.key)) await session.query(lockRows(pairs, "target"));
        for (const pair of pairs) await refuseRows(session, pair);
        for (const pair of pairs) await refuseKeys(session, pair);
        for (const pair of pairs) await copyRows(session, pair, target.group.tenants[target.tenant]?.values ?? {});
        const before = await printSlices(session, side(pairs, "source"));
        compare(pairs, before, await printSlices(session, side(pairs, "target")));
        await carryNumbers(change);
        await switchOver(change, await oldPrints(change, before));
        return before;
    });
    return prints;
}

async function refuseRows(session: Session, { target }: Pair): Promise<void> {
    if (target.anchor) return;
    const [row] = await session.query<{ n: string }>(
        `SELECT count(*)::text AS n FROM ${nameOf(target.table)}${whereOf(target)}`,
    );
    if (row?.n !== "0")
        throw new Error(`${nameOf(target.table)} has ${countOf(Number(row?.n ?? 0), "row")} of the tenant already`);
}

/** A column of the new place's tenant column's name gets the tenant's key: whatever else it tells apart would be one. */
async function refuseKeys(session: Session, { source, target }: Pair): Promise<void> {
    const column = target.key?.column;
    if (column === undefined || source.key || !source.table.columns.some(({ name }) => name === column)) return;
    const [row] = await session.query<{ n: string }>(
        `SELECT count(DISTINCT ${identifier(column)})::text AS n FROM ${nameOf(source.table)}`,
    );
    if (Number(row?.n ?? 0) > 1)
        throw new Error(
            `${nameOf(source.table)}.${column} has ${row?.n} values, and ${nameOf(target.table)} has the tenant's key in it: rename that column where it comes from`,
        );
}

const typeOf = ({ table }: Pair["target"], column: string) =>
    table.columns.find(({ name }) => name === column)?.type ?? "text";

/** The one row of the table of tenants becomes what it was elsewhere. @returns false where there is none */
async function overwrite(
    session: Session,
    { source, target, columns }: Pick<Pair, "source" | "target" | "columns">,
): Promise<boolean> {
    const [row] = await session.query<{ n: string }>(
        `SELECT count(*)::text AS n FROM ${nameOf(target.table)}${whereOf(target)}`,
    );
    if (row?.n === "0") return false;
    const texts = columns.map((column, i) => `${identifier(column)}::text AS c${i}`);
    const [old] = await session.query<Record<string, string | null>>(
        `SELECT ${texts.join(", ") || "1"} FROM ${nameOf(source.table)}${whereOf(source)}`,
    );
    const set = columns.map((column, i) => {
        const value = old?.[`c${i}`] ?? null;
        return `${identifier(column)} = ${value === null ? "NULL" : `${literal(value)}::${typeOf(target, column)}`}`;
    });
    if (old && set.length > 0)
        await session.query(`UPDATE ${nameOf(target.table)} SET ${set.join(", ")}${whereOf(target)}`);
    return true;
}

async function copyRows(
    session: Session,
    { source, target, columns }: Pair,
    values: Readonly<Record<string, unknown>>,
): Promise<void> {
    const into = columns.map(identifier);
    const selected = columns.map((column) => {
        const [before, after] = [typeOf(source, column), typeOf(target, column)];
        // types of the tables' own schemas have the same name and are not the same
        return before === after ? identifier(column) : `${identifier(column)}::text::${after}`;
    });
    if (target.key) {
        into.push(identifier(target.key.column));
        selected.push(`${literal(target.key.value)}::${typeOf(target, target.key.column)}`);
    }
    // its row was made with the tenant, and others' tables may have rows that go with it when it is deleted
    const kept = target.anchor === true && (await overwrite(session, { source, target, columns }));
    if (!kept)
        await session.query(
            `INSERT INTO ${nameOf(target.table)} (${into.join(", ")}) OVERRIDING SYSTEM VALUE
             SELECT ${selected.join(", ")} FROM ${nameOf(source.table)}${whereOf(source)}`,
        );
    const own = target.anchor ? Object.entries(values).filter(([name]) => columns.includes(name)) : [];
    if (own.length > 0)
        await session.query(
            `UPDATE ${nameOf(target.table)} SET ${own.map(([name, value]) => `${identifier(name)} = ${value === null ? "NULL" : literal(String(value))}`).join(", ")}${whereOf(target)}`,
        );
}

/** Copies into a place that is empty: all of it and nothing else, or nothing. */
export type Copy = (change: Change, wanted: Prints) => Promise<void>;

/** The places are in different databases: a program on the coordinator pipes one into the other, in one transaction there. */
async function moveBetween(change: Change, copied: Prints | undefined, copy: Copy): Promise<Prints> {
    const { context, pairs, source, target } = change;
    const { session, group } = context;
    await source.session.query("BEGIN");
    try {
        await source.session.query(`SET LOCAL lock_timeout = ${group.lockTimeout}`);
        await source.session.query(lockRows(pairs, "source"));
        const before = await printSlices(source.session, side(pairs, "source"));
        // by a connection of its own: what is written in the source's transaction goes with that
        const apart = { ...change, context: { ...context, session: await context.open("coordinator") } };
        if (!(await clearCopy(target.session, pairs, copied, { keep: before }))) {
            await reach(apart, "copy", { copied: before });
            await copy(change, before);
        }
        await reach(apart, "verify");
        const print = () => printSlices(target.session, side(pairs, "target"));
        compare(pairs, before, await inTransaction(target.session, print));
        await carryNumbers(change);
        const checksum = await oldPrints(change, before);
        if (source.session === session) await switchOver(change, checksum);
        else await inTransaction(session, () => switchOver(change, checksum));
        await source.session.query("COMMIT");
        return before;
    } catch (error) {
        await source.session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/**
 * Takes out of the new place what this change copied.
 * @param keep unless it is this
 * @param timeout how long clients of the new place are waited for, in milliseconds. @default for ever
 * @returns whether it was kept
 * @throws Error when there is anything else, and then it is as it was
 */
function clearCopy(
    session: Session,
    pairs: readonly Pair[],
    copied: Prints | undefined,
    { keep, timeout = 0 }: { readonly keep?: Prints; readonly timeout?: number },
): Promise<boolean> {
    const names = targetNames(pairs);
    const same = (found: Prints, prints: Prints | undefined) =>
        pairs.every(({ name }) => samePrint(found[name], prints?.[name]));
    return inTransaction(session, async () => {
        await session.query(`SET LOCAL lock_timeout = ${timeout}`);
        // a killed run's program may be writing still
        await session.query(`LOCK TABLE ${names} IN SHARE MODE`);
        const found = await printSlices(session, side(pairs, "target"));
        const filled = pairs.filter(({ name }) => found[name]?.count !== "0");
        if (filled.length === 0) return false;
        if (!same(found, copied))
            throw new Error(
                `the tables that it goes to have rows that this change did not copy: ${filled
                    .map(({ name, target }) => {
                        const ours = copied === undefined ? "" : `, of which it copied ${copied[name]?.count ?? 0}`;
                        return `${nameOf(target.table)} has ${countOf(Number(found[name]?.count ?? 0), "row")}${ours}`;
                    })
                    .join(
                        "; ",
                    )}. None of these rows was touched: save what you need of them elsewhere, then empty these tables.`,
            );
        if (keep && same(found, keep)) return true;
        await session.query(`TRUNCATE ${names}`);
        return false;
    });
}

const targetNames = (pairs: readonly Pair[]) => pairs.map(({ target }) => nameOf(target.table)).join(", ");

/** A text as psql's \\qecho takes it. */
const echoed = (text: string) => `\\qecho '${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;

/** SQL that fails, naming the first table, when the new place is not as it should be. */
const printCheck = (pairs: readonly Pair[], wanted: Prints) =>
    `DO $check$\n#variable_conflict use_column\nDECLARE f record; BEGIN\n${pairs
        .map(({ name, source, target, compared }) => {
            const { count = "0", sum = "0" } = wanted[name] ?? {};
            const told = [nameOf(source.table), count, sum, nameOf(target.table)].map(literal).join(", ");
            return `${printSql(target, compared).replace(" FROM ", " INTO f FROM ")};
IF (f.count, f.sum) IS DISTINCT FROM (${literal(count)}, ${literal(sum)}) THEN
    RAISE EXCEPTION 'the copy differs: % has % rows, checksum %, and % has % rows, checksum %', ${told}, f.count, f.sum; END IF;`;
        })
        .join("\n")}\nEND $check$;`;

const pipe: Copy = async ({ context, pairs, source, target, tenant }, wanted) => {
    const before = [
        "BEGIN;",
        `LOCK TABLE ${targetNames(pairs)} IN ACCESS EXCLUSIVE MODE;`,
        emptyCheck(pairs.map(({ target }) => target)),
    ];
    // a copy that differs is not there at all: nobody has to tell it from others' rows
    const after = [
        "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL search_path = public;",
        SAME_TEXT,
        printCheck(pairs, wanted),
        "COMMIT;",
    ];
    const read = pairs.flatMap(({ source, target, columns }) => [
        echoed(`COPY ${nameOf(target.table)} (${columns.map(identifier).join(", ")}) FROM stdin;`),
        `COPY (${rowsOf(source, columns)}) TO STDOUT;`,
        echoed("\\."),
    ]);
    const host = ({ node }: Place) =>
        node === "coordinator" ? "-" : (context.nodes.find(({ name }) => name === node)?.host ?? node);
    const database = async (place: Place) => {
        if (place.database !== undefined) return place.database;
        const [row] = await context.session.query<{ name: string }>("SELECT current_database() AS name");
        return row?.name ?? "";
    };
    const ran = await runScript(
        context.shell("coordinator"),
        ["copy-schema.sh", host(source), await database(source), host(target), await database(target)],
        {
            files: {
                "before.sql": `${before.join("\n")}\n`,
                "read.sql": `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n${read.join("\n")}\nCOMMIT;\n`,
                "after.sql": `${after.join("\n")}\n`,
            },
        },
    );
    if (ran.code !== 0) throw new Error(`coordinator: copying ${tenant} failed\n  ${ran.stderr.trim().slice(-1500)}`);
};

/** Tenants of a group of model rls whose tables are distributed now. */
async function follow(context: Context): Promise<void> {
    const { group, session } = context;
    const names = Object.entries(group.tables).flatMap(([name, { column }]) => (column ? [name] : []));
    const local = await session.query<{ name: string }>(
        `SELECT t.name FROM unnest($1::text[], $2::text[]) AS t (name, quoted)
          WHERE NOT EXISTS (SELECT FROM pg_dist_partition p WHERE p.logicalrelid = to_regclass(t.quoted) AND p.partmethod = 'h')`,
        [names, names.map(qualified)],
    );
    if (local.length > 0)
        throw new Error(
            `${group.name}: rls → row: ${local.map(({ name }) => name).join(", ")} ${local.length === 1 ? "is" : "are"} not distributed yet. Its tenants are as they were. Run pulumi up again.`,
        );
    await session.query("UPDATE citus_as_code.tenant SET model = 'row' WHERE grp = $1 AND model = 'rls'", [group.name]);
}

/**
 * Whether a tenant's old copy is as it was when its data went to another group; called before it is deleted.
 * @returns what changed, for a refusal; undefined when nothing did
 */
export async function changedSince(context: Context, group: GroupSpec, tenant: string): Promise<string | undefined> {
    const [row] = await context.session.query<LedgerTenant>(
        "SELECT model, state, node, detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [group.name, tenant],
    );
    if (row?.state !== "superseded") return undefined;
    const then = (row.detail.checksum ?? {}) as Prints;
    const had = (row.detail.columns ?? {}) as Readonly<Record<string, readonly string[]>>;
    const place = await placeOf(context, group, tenant);
    // columns and tables that the group has got since are no change of the copy
    const slices = everything(place.slices).map(({ name, slice, columns }) => ({
        name,
        slice,
        columns: had[name]?.filter((column) => columns.includes(column)) ?? columns,
    }));
    const now = await inTransaction(place.session, () => printSlices(place.session, slices));
    const none = { count: "0", sum: "0" };
    const changed = Object.keys({ ...then, ...now }).filter(
        (name) => !samePrint(then[name] ?? none, now[name] ?? none),
    );
    if (changed.length === 0) return undefined;
    return `${tenant}: its data went to ${String(row.detail.moved_to)}, and the old copy in ${group.name} has changed since: ${changed
        .map((name) => `${name} had ${countOf(Number(then[name]?.count ?? 0), "row")} and has ${now[name]?.count ?? 0}`)
        .join(", ")}${changed.every((name) => then[name]?.count === now[name]?.count) ? ", with other contents" : ""}`;
}

export const change: Facet<ChangeFound> = {
    name: "change",
    sql: (_group, probe) => (probe.ledger ? FOUND : undefined),
    none: NOTHING_FOUND,
    readFiles: async (group, found, read) => {
        const fresh = Object.values(found.pending).some(({ change }) => !change || change.phase === "plan");
        if (!fresh || group.template.length === 0 || (group.model !== "schema" && group.model !== "database"))
            return found;
        // the parser is loaded by whom it serves
        const { tablesMade } = await import("../check/read/made.ts");
        const files = group.template.map(({ path }) => ({ path, sql: read(path) }));
        return { ...found, made: await tablesMade(files, group.model) };
    },
    plan: (group, found) => planChange(group, { ...found, pending: pendingOf(group, found) }),
    run: {
        model: follow,
        undo: async (context, steps) => {
            for (const { tenant = "", text } of steps) {
                context.alive();
                context.progress(text);
                await undo(context, tenant);
            }
        },
        move: async (context, steps) => {
            for (const step of steps) {
                context.alive();
                context.progress(step.text);
                await move(context, step);
            }
        },
    },
};

/** Where there is no ledger yet nothing is known of any other group. */
function pendingOf(group: GroupSpec, found: ChangeFound): ChangeFound["pending"] {
    if (found !== NOTHING_FOUND) return found.pending;
    const wanted = Object.entries(group.tenants).filter(([, { from }]) => from);
    return Object.fromEntries(
        wanted.map(([tenant]) => [tenant, { change: null, group: null, source: null, target: null }]),
    );
}
