/**
 * The only writer of `citus_as_code.tenant` and `citus_as_code.tenant_tombstone`: one function a transition. What is run in a
 * batch with other statements is given as SQL. A row in another state than the transition takes is left as it is; where that
 * would be a fault, the transition fails.
 */

import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";
import { forgetChange } from "./changes.ts";
import { isRow, keyOf, type TenantKey } from "./key.ts";
import { forgetPins } from "./pins.ts";
import { forgetRan, RAN_OF_RECORDS } from "./ran.ts";
import { inState, isServed, type ServedState, type TenantState } from "./states.ts";

/** @throws Error when a transition found its row in none of the states that it takes */
function refuseNone(rows: readonly unknown[], { group, tenant }: TenantKey, before: string, wanted: string): void {
    if (rows.length === 0)
        throw new Error(
            `${group}/${tenant}: the ledger (citus_as_code.tenant) does not have it as ${before}, so it can't be ${wanted}. ` +
                "Its row is as it was. Look at it (npm run psql), then run pulumi up again.",
        );
}

/** SQL that fails unless these tenants are in one of these states. */
const mustBe = (group: string, tenants: readonly string[], ...states: readonly TenantState[]) =>
    `DO ${literal(`DECLARE wrong text; BEGIN
    SELECT string_agg(tenant || ' is ' || state, ', ' ORDER BY tenant) INTO wrong FROM citus_as_code.tenant
     WHERE grp = ${literal(group)} AND tenant IN (${tenants.map(literal).join(", ")}) AND NOT ${inState("state", ...states)};
    IF wrong IS NOT NULL THEN RAISE EXCEPTION 'the ledger has another state: %', wrong; END IF; END`)};`;

// --- made

/** SQL: a tenant is being made. One that is there already stays as it is. */
export const beginCreating = (key: TenantKey, model: string) =>
    `INSERT INTO citus_as_code.tenant (grp, tenant, model, state) VALUES (${keyOf(key)}, ${literal(model)}, 'creating') ON CONFLICT (grp, tenant) DO NOTHING;`;

/** SQL: a tenant that was being made, or whose first statement this is, serves. */
export const activate = (key: TenantKey, model: string) =>
    `INSERT INTO citus_as_code.tenant (grp, tenant, model, state) VALUES (${keyOf(key)}, ${literal(model)}, 'active')
             ON CONFLICT (grp, tenant) DO UPDATE SET state = 'active', since = now() WHERE ${inState("tenant.state", "creating", "active")};
${mustBe(key.group, [key.tenant], "active")}
${unbury(key)}`;

/** SQL: a tenant that was deleted is there again. */
const unbury = (key: TenantKey) => `DELETE FROM citus_as_code.tenant_tombstone WHERE ${isRow(key)};`;

/** SQL: tenants that are rows are there, and serve or are frozen. */
export const enterRows = (group: string, model: string, states: readonly (readonly [string, ServedState])[]) => {
    const given = states.map(([tenant, state]) => `(${[group, tenant, model, state].map(literal).join(", ")})`);
    const tenants = states.map(([tenant]) => tenant);
    return `INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, state) VALUES ${given.join(", ")}
        ON CONFLICT (grp, tenant) DO UPDATE SET state = excluded.state, model = excluded.model, since = now()
        WHERE (t.state, t.model) IS DISTINCT FROM (excluded.state, excluded.model) AND ${inState("t.state", "creating", "active", "frozen")};
        ${mustBe(group, tenants, "active", "frozen")}
        DELETE FROM citus_as_code.tenant_tombstone WHERE grp = ${literal(group)}
           AND tenant IN (${tenants.map(literal).join(", ")});`;
};

/** Databases are being made: writes them down, each with an epoch that no other of its name had. @returns it, by tenant */
export async function beginDatabases(
    session: Session,
    group: string,
    tenants: readonly { readonly tenant: string; readonly node: string }[],
): Promise<Map<string, number>> {
    const rows = await session.query<{ tenant: string; epoch: number }>(
        `WITH new AS (INSERT INTO citus_as_code.tenant (grp, tenant, model, node, detail)
            SELECT $1, t.tenant, 'database', t.node, jsonb_build_object('epoch', floor(extract(epoch FROM clock_timestamp()))::bigint)
              FROM unnest($2::text[], $3::text[]) AS t (tenant, node)
            ON CONFLICT (grp, tenant) DO UPDATE SET node = excluded.node WHERE ${inState("tenant.state", "creating")} RETURNING tenant, detail)
         SELECT tenant, (detail->>'epoch')::float8 AS epoch FROM new`,
        [group, tenants.map(({ tenant }) => tenant), tenants.map(({ node }) => node)],
    );
    const epochs = new Map(rows.map(({ tenant, epoch }) => [tenant, epoch]));
    for (const { tenant } of tenants)
        refuseNone(epochs.has(tenant) ? [tenant] : [], { group, tenant }, "new or creating", "made");
    return epochs;
}

/** Databases that were being made are whole. @param ran files that were run in them */
export async function activateDatabases(
    session: Session,
    group: string,
    tenants: readonly string[],
    ran: readonly { readonly tenant: string; readonly path: string; readonly sha256: string }[],
): Promise<void> {
    await session.query(
        `WITH ran AS (${RAN_OF_RECORDS})
         UPDATE citus_as_code.tenant SET state = 'active', since = now() WHERE grp = $1 AND tenant = ANY($2) AND ${inState("state", "creating")}`,
        [group, tenants, JSON.stringify(ran)],
    );
}

/** SQL, in a function of PL/pgSQL: the application makes a tenant. FOUND says whether it is new. Each is an expression. */
export const onboard = (group: string, tenant: string, model: string) =>
    `INSERT INTO citus_as_code.tenant (grp, tenant, model, state, detail) VALUES (${group}, ${tenant}, ${model}, 'active', '{"onboarded": true}') ON CONFLICT DO NOTHING;`;

/** From here on the program's lines are what counts for these. @returns those for which that is new */
export const adoptOnboarded = (session: Session, group: string, tenants: readonly string[]) =>
    session.query(
        "UPDATE citus_as_code.tenant SET detail = detail - 'onboarded' WHERE grp = $1 AND tenant = ANY($2) AND detail ? 'onboarded' RETURNING tenant",
        [group, tenants],
    );

/** Tenants on servers of others are entries of the shard map. @param entries where each is, as JSON */
export async function enterRouted(
    session: Session,
    group: string,
    tenants: readonly (string | undefined)[],
    entries: readonly string[],
): Promise<void> {
    await session.query(
        `WITH given AS (SELECT g.tenant, g.detail::jsonb FROM unnest($2::text[], $3::text[]) AS g (tenant, detail)),
              alive AS (DELETE FROM citus_as_code.tenant_tombstone t USING given WHERE t.grp = $1 AND t.tenant = given.tenant)
         INSERT INTO citus_as_code.tenant (grp, tenant, model, state, detail)
         SELECT $1, tenant, 'routed', 'active', detail FROM given
         ON CONFLICT (grp, tenant) DO UPDATE SET detail = excluded.detail, state = 'active', since = now()
          WHERE tenant.model = 'routed'`,
        [group, tenants, entries],
    );
}

/** Their entries go; nothing of theirs is here. */
export async function buryRouted(
    session: Session,
    group: string,
    tenants: readonly (string | undefined)[],
): Promise<void> {
    await session.query(
        `WITH removed AS (DELETE FROM citus_as_code.tenant WHERE grp = $1 AND tenant = ANY ($2) AND model = 'routed' RETURNING grp, tenant, model)
         INSERT INTO citus_as_code.tenant_tombstone (grp, tenant, model) SELECT grp, tenant, model FROM removed
         ON CONFLICT (grp, tenant) DO UPDATE SET ended = now(), moved_to = NULL`,
        [group, tenants],
    );
}

// --- served: active ⇄ frozen

/** SQL: a tenant that is served writes, or only reads. */
export const setServed = (key: TenantKey, state: ServedState) =>
    `UPDATE citus_as_code.tenant SET state = ${literal(state)}, detail = detail - 'fenced',
                  since = CASE state WHEN ${literal(state)} THEN since ELSE now() END WHERE ${isRow(key)} AND ${isServed("state")};
${mustBe(key.group, [key.tenant], state)}`;

/** SQL: the role of an old copy of its own can do nothing in it any more. */
export const noteFenced = (key: TenantKey) =>
    `UPDATE citus_as_code.tenant SET detail = detail || '{"fenced": true}' WHERE ${isRow(key)} AND ${inState("state", "superseded")};`;

/** Groups of model rls become model row; their tenants stay what they are. */
export const followModel = (session: Session, group: string) =>
    session.query("UPDATE citus_as_code.tenant SET model = 'row' WHERE grp = $1 AND model = 'rls'", [group]);

/** SQL: what was taken from others while it did not serve them, to be given back. @param grants statements */
export const noteShut = (key: TenantKey, grants: readonly string[]) =>
    `UPDATE citus_as_code.tenant SET detail = jsonb_set(detail, '{shut}', coalesce(detail -> 'shut', '[]') || ${literal(JSON.stringify(grants))}::jsonb) WHERE ${isRow(key)};`;

/** All of that was given back. */
export const forgetShut = (session: Session, { group, tenant }: TenantKey) =>
    session.query("UPDATE citus_as_code.tenant SET detail = detail - 'shut' WHERE grp = $1 AND tenant = $2", [
        group,
        tenant,
    ]);

// --- a change of model: frozen → superseded, and back

/** A tenant is frozen because its data goes elsewhere; one of which nothing was written down gets its row. */
export async function freezeForChange(session: Session, key: TenantKey, model: string): Promise<void> {
    const rows = await session.query(
        `INSERT INTO citus_as_code.tenant (grp, tenant, model, state) VALUES ($1, $2, $3, 'frozen')
                 ON CONFLICT (grp, tenant) DO UPDATE SET state = 'frozen' WHERE ${isServed("tenant.state")} RETURNING tenant`,
        [key.group, key.tenant, model],
    );
    refuseNone(rows, key, "active or frozen", "frozen");
}

/** It was not taken elsewhere after all. One that is being deleted by now stays so. @param was null when it had no row */
export async function unfreeze(session: Session, { group, tenant }: TenantKey, was: string | null): Promise<void> {
    const frozen = `WHERE grp = $1 AND tenant = $2 AND ${inState("state", "frozen")}`;
    if (was === null) await session.query(`DELETE FROM citus_as_code.tenant ${frozen}`, [group, tenant]);
    else await session.query(`UPDATE citus_as_code.tenant SET state = $3 ${frozen}`, [group, tenant, was]);
}

/** Its data is in another group, and here is the old copy. @param detail where it went, and what the copy is */
export async function supersede(session: Session, key: TenantKey, detail: object): Promise<void> {
    const rows = await session.query(
        `UPDATE citus_as_code.tenant SET state = 'superseded', since = now(), detail = detail || $3::jsonb WHERE grp = $1 AND tenant = $2 AND ${inState("state", "frozen")} RETURNING tenant`,
        [key.group, key.tenant, JSON.stringify(detail)],
    );
    refuseNone(rows, key, "frozen", "superseded");
}

/** The data of another group's tenant is here; one that was the old copy of it is reinstated. */
export async function takeOver(session: Session, key: TenantKey, model: string): Promise<void> {
    const rows = await session.query(
        `INSERT INTO citus_as_code.tenant (grp, tenant, model, state) VALUES ($1, $2, $3, 'active')
             ON CONFLICT (grp, tenant) DO UPDATE SET state = CASE tenant.state WHEN 'frozen' THEN 'frozen' ELSE 'active' END,
                detail = tenant.detail - '{moved_to,checksum,columns}'::text[]
              WHERE ${inState("tenant.state", "creating", "active", "frozen", "superseded")} RETURNING tenant`,
        [key.group, key.tenant, model],
    );
    refuseNone(rows, key, "anything but deleting", "served");
}

// --- where it is

/** A move of its database has come so far; it is on this node. @param move undefined when there is none */
export async function placeDatabase(
    session: Session,
    key: TenantKey,
    node: string,
    move: object | undefined,
): Promise<void> {
    const rows = await session.query(
        `UPDATE citus_as_code.tenant SET node = $3, since = now(),
                    detail = CASE WHEN $4::jsonb IS NULL THEN detail - 'move' ELSE jsonb_set(detail, '{move}', $4::jsonb) END
              WHERE grp = $1 AND tenant = $2 RETURNING tenant`,
        [key.group, key.tenant, node, move ? JSON.stringify(move) : null],
    );
    refuseNone(rows, key, "a tenant", "moved");
}

// --- restored

/** A database is being restored: nothing is served, and no empty one is made. @returns what the ledger has of it now */
export async function beginRestoring<T extends object>(
    session: Session,
    key: TenantKey,
    node: string,
    detail: object,
): Promise<T | undefined> {
    const [row] = await session.query<T>(
        `INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, node, detail) VALUES ($1, $2, 'database', $3, $4)
         ON CONFLICT (grp, tenant) DO UPDATE SET node = excluded.node, detail = t.detail || excluded.detail RETURNING node, detail`,
        [key.group, key.tenant, node, JSON.stringify({ ...detail, restoring: true })],
    );
    return row;
}

/** SQL: a tenant that was not restored, and that the ledger did not have before. */
export const forgetRestoring = (key: TenantKey) => `DELETE FROM citus_as_code.tenant WHERE ${isRow(key)};
${forgetRan(key)}`;

/** SQL: a tenant is restored: it serves, or is frozen as it was. @param node SQL for its node */
export const restored = (key: TenantKey, model: string, node: string, detail: object) =>
    `INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, state, node, detail)
VALUES (${keyOf(key)}, ${literal(model)}, 'active', ${node}, ${literal(JSON.stringify(detail))})
ON CONFLICT (grp, tenant) DO UPDATE SET state = CASE t.state WHEN 'frozen' THEN 'frozen' ELSE 'active' END, since = now(), node = excluded.node, detail = t.detail - 'restoring' || excluded.detail
              WHERE ${inState("t.state", "creating", "active", "frozen", "deleting")};
${mustBe(key.group, [key.tenant], "active", "frozen")}
${unbury(key)}`;

// --- deleted

/** It is being deleted: from here on nothing else changes it. What it was is kept, for who goes on. */
export async function beginDeleting(session: Session, { group, tenant }: TenantKey, model: string): Promise<void> {
    await session.query(
        `INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, state) VALUES ($1, $2, $3, 'deleting')
             ON CONFLICT (grp, tenant) DO UPDATE SET state = 'deleting', since = now(),
                detail = CASE t.state WHEN 'deleting' THEN t.detail
                              ELSE t.detail - '{exported,sha256,prints,earlier,dropped,deleted}'::text[] || jsonb_build_object('was', t.state) END`,
        [group, tenant, model],
    );
}

/** How far its deletion is. */
export async function noteDeleting(session: Session, key: TenantKey, detail: object): Promise<void> {
    const rows = await session.query(
        `UPDATE citus_as_code.tenant SET detail = detail || $3::jsonb WHERE grp = $1 AND tenant = $2 AND ${inState("state", "deleting")} RETURNING tenant`,
        [key.group, key.tenant, JSON.stringify(detail)],
    );
    refuseNone(rows, key, "deleting", "deleted");
}

/** SQL: its data is gone, in the transaction that deletes it. @param detail what of it, where that is not all */
export const noteDropped = (key: TenantKey, detail: object = {}) =>
    `UPDATE citus_as_code.tenant SET detail = detail || ${literal(JSON.stringify({ dropped: true, ...detail }))} WHERE ${isRow(key)} AND ${inState("state", "deleting")}`;

/** SQL: the ledger forgets a tenant that was deleted, but for that it was there. @param movedTo where its data went before */
export const bury = (key: TenantKey, model: string, movedTo: string | undefined) =>
    [
        `INSERT INTO citus_as_code.tenant_tombstone (grp, tenant, model, moved_to) VALUES (${keyOf(key)}, ${literal(model)}, ${movedTo === undefined ? "NULL" : literal(movedTo)})
                 ON CONFLICT (grp, tenant) DO UPDATE SET model = excluded.model, ended = now(), moved_to = excluded.moved_to;`,
        forgetPins(key),
        forgetRan(key),
        forgetChange(key),
        mustBe(key.group, [key.tenant], "deleting"),
        `DELETE FROM citus_as_code.tenant WHERE ${isRow(key)};`,
    ].join("\n");

// --- by hand, in what errors tell a person to run

/** SQL for a person: a deletion of an old copy that has changed is given leave. */
export const freezeByHand = (key: TenantKey) =>
    `UPDATE citus_as_code.tenant SET state = 'frozen' WHERE ${whereByHand(key)};`;

/** SQL for a person: a move of its database is forgotten. @param node where it is; as the ledger has it when undefined */
export const forgetMoveByHand = (key: TenantKey, node?: string) =>
    `UPDATE citus_as_code.tenant SET ${node === undefined ? "" : `node = ${literal(node)}, `}detail = detail - 'move' WHERE ${whereByHand(key)};`;

/** SQL for a person: where its database is. */
export const placeByHand = (key: TenantKey, node: string) =>
    `UPDATE citus_as_code.tenant SET node = ${literal(node)} WHERE ${whereByHand(key)};`;

const whereByHand = ({ group, tenant }: TenantKey) => `grp = ${literal(group)} AND tenant = ${literal(tenant)}`;
