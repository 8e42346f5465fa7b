/** Tenants whose state is `deleted`: fenced, exported, deleted, and shown to be gone on every node. */

import { identifier, literal, qualified } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { countOf } from "../../util/countOf.ts";
import { lasting } from "../../util/lasting.ts";
import { listed } from "../../util/listed.ts";
import { own } from "../../util/ownProperty.ts";
import { changedSince } from "../change/change.ts";
import { different, type Prints } from "../data/checksum.ts";
import { databaseOf } from "../data/shape.ts";
import {
    another,
    type DatabasesFound,
    have,
    INVALID,
    isBegun,
    isEmpty,
    places,
    strayed,
} from "../databases/databaseFound.ts";
import { exportTenant, type Manifest, readExport } from "../exports/export.ts";
import { EXAMPLE } from "../exports/exportTarget.ts";
import { takeExport } from "../exports/givenExport.ts";
import { said, transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { keptOutside, type Outside, outsideRefusal, outsideSql } from "../isolation/outside.ts";
import { ownComment, ownTenantRole } from "../roles/groupRoles.ts";
import { endSessions, privileges } from "../roles/privileges.ts";
import { dropWhole } from "../schemas/drop.ts";
import {
    listUndeclared,
    type Undeclared,
    undeclaredNote,
    undeclaredRefusal,
    undeclaredSql,
} from "../tables/undeclared.ts";
import { changesOthers, REFERENCES, type Reference } from "./removeReferences.ts";
import { DELETE_RATE, deleteRows, locksOthers } from "./removeRows.ts";

interface FoundTenant {
    /** The state in the ledger; null when the ledger does not have the tenant. */
    readonly state: string | null;
    readonly movedTo: string | null;
    /** Whether it was deleted before. */
    readonly tombstone: boolean;
    /** The tenant that its data is on the way to, while a change of model is not done. */
    readonly taken: string | null;
    /** Model schema: whether there is one of its name, and whether Citus has it as a tenant's. */
    readonly schema: boolean;
    readonly distributed: boolean;
}

export interface FoundRemoval {
    readonly tenants: Readonly<Record<string, FoundTenant>>;
    /** Models row and rls: how many rows keys of deleted tenants have, by table. */
    readonly rows: Readonly<Record<string, Readonly<Record<string, number>>>>;
    /** Bytes of a row, by table. */
    readonly widths?: Readonly<Record<string, number>>;
    /** Foreign keys to the group's tables with a tenant column, by their place among these. */
    readonly references?: readonly Reference[];
    /** Rows a second of the last delete; null before the first. */
    readonly rate?: number | null;
    /** Models row and rls: tables that may hold tenants' rows and that the group does not declare. */
    readonly undeclared?: readonly Undeclared[];
    /** Models schema and database: what lies outside a tenant's schema or database. */
    readonly outside?: Readonly<Record<string, Outside>>;
}

const TRIES = 3;

const hasRows = ({ model }: GroupSpec) => model === "row" || model === "rls";

/** Tables with the column that says whose a row is. */
const tenantTables = (group: GroupSpec) =>
    Object.entries(group.tables).flatMap(([table, { column }]) => (column === undefined ? [] : [{ table, column }]));

/** What there is of a name that the ledger does not have. */
function stranger(group: GroupSpec, tenant: string, found: FoundTenant | undefined, databases?: DatabasesFound) {
    if (group.model === "schema" && found?.schema) return "a schema of its name";
    const nodes = group.model === "database" && databases ? places(databases, databaseOf(tenant)) : [];
    return nodes.length === 0 ? undefined : `a database of its name on ${nodes.join(", ")}`;
}

/**
 * Pure.
 * @param onRunner whether files of this machine go when this run has ended
 */
function planRemoval(
    group: GroupSpec,
    all: FoundRemoval,
    databases: DatabasesFound | undefined,
    onRunner: boolean,
): Planned {
    const { tenants, rows, undeclared = [], outside = {} } = all;
    const steps: Step[] = [];
    const refusals: string[] = [];
    const notes: string[] = [];
    for (const tenant of group.delete) {
        const found = own(tenants, tenant);
        const state = found?.state ?? null;
        const beside = own(outside, tenant);
        const tables = Object.keys(rows).filter((table) => own(rows[table] ?? {}, tenant) !== undefined);
        const others = state === null ? stranger(group, tenant, found, databases) : undefined;
        const refused =
            state === null
                ? undefined
                : (refuseSchema(group, tenant, found) ?? refuseDatabase(group, tenant, databases));
        if (others !== undefined) {
            refusals.push(
                `${tenant}: ${found?.tombstone ? `was deleted, and there is ${others} again` : `has the state deleted, and there is ${others}`}, which group ${group.name} did not make. It is not deleted. Take ${tenant} out of tenants, and drop it yourself if nobody needs it.`,
            );
        } else if (refused !== undefined) {
            refusals.push(refused);
        } else if (state === null && tables.length === 0) {
            if (!found?.tombstone) notes.push(`${tenant}: has the state deleted, and nothing of it exists`);
        } else if (found?.taken != null) {
            refusals.push(
                `${tenant}: has the state deleted, and its data is on its way to ${found.taken}. It is not deleted. Take ${tenant} out of tenants and run pulumi up, which ends that change. The old copy can be deleted after that.`,
            );
        } else if (state === null && found?.tombstone) {
            refusals.push(
                `${tenant}: was deleted, and there are rows of it again (${tables.join(", ")}). A name that kept the state deleted does not delete them: take ${tenant} out of tenants. To delete these rows too, give ${tenant} the state active, run pulumi up, then give it the state deleted.`,
            );
        } else if (undeclared.length > 0) {
            refusals.push(undeclaredRefusal(group, tenant, undeclared));
        } else if (outsideRefusal(group, tenant, beside) !== undefined) {
            refusals.push(outsideRefusal(group, tenant, beside) ?? "");
        } else {
            const kept = keptOutside(beside);
            if (kept !== undefined)
                notes.push(`${tenant}: outside its ${group.model}, and kept when it is deleted: ${kept}`);
            const given = own(group.given ?? {}, tenant);
            const to = group.exports === undefined ? "" : ` to ${group.exports}`;
            const what =
                state === "deleting"
                    ? "go on deleting it, and prove that nothing is left"
                    : found?.movedTo != null
                      ? `export its old copy (its data is in ${found.movedTo})${to}, delete it, and prove that nothing is left`
                      : given
                        ? `compare it with its export ${given.file}, delete it, and prove that nothing is left`
                        : `export it${to}, delete it, and prove that nothing is left`;
            const weight = hasRows(group) ? weigh(group, tenant, all) : undefined;
            if (onRunner && group.exports === undefined && !given)
                refusals.push(
                    `${tenant}: is to be deleted, and its export would be a file of this CI runner (CI is set), which goes when the run has ended. It is not deleted.\nSet exports of group ${group.name} to ${EXAMPLE} that outlives the runner.`,
                );
            else if (weight?.refusal !== undefined) refusals.push(weight.refusal);
            else
                steps.push({
                    kind: "removal.delete",
                    tenant,
                    text: `${tenant}: ${what}${weight === undefined ? "" : `; ${weight.text}`}`,
                    detail: { kept },
                });
        }
    }
    // where a tenant is refused for them they are named already
    if (undeclared.length > 0 && !refusals.some((refusal) => refusal.includes(listUndeclared(undeclared))))
        notes.push(undeclaredNote(group, undeclared));
    return { steps, refusals, notes };
}

/** Rows a second, where no delete was measured yet: a part of what a small machine does. */
const RATE = 50_000;

/** Seconds for which others' writes may wait without being allowed to. */
const SECONDS = 5;

/** How much of a tenant there is to delete, how long that takes about, and who waits. */
function weigh(group: GroupSpec, tenant: string, { rows, widths = {}, references = [], rate }: FoundRemoval) {
    const counts = Object.entries(rows).flatMap(([table, keys]) => {
        const count = own(keys, tenant);
        return count === undefined ? [] : [{ table, count, bytes: count * (widths[table] ?? 0) }];
    });
    const total = counts.reduce((sum, { count }) => sum + count, 0);
    const bytes = counts.reduce((sum, one) => sum + one.bytes, 0);
    const seconds = total / (rate ?? RATE);
    const most = counts
        .sort((a, b) => b.count - a.count)
        .map(({ table, count }) => `${table} ${count.toLocaleString("en")}`);
    const lasts = `${countOf(total, "row")} (${listed(most)}), ${describeBytes(bytes)}, ${lasting(total, rate ?? RATE)}${rate == null ? " (no delete was measured yet on this cluster)" : ""}`;
    const tables = tenantTables(group);
    const changing = references.filter((one) =>
        changesOthers(one, one.from === null ? undefined : tables[one.from]?.column, tables[one.to]?.column),
    );
    if (!locksOthers(group, changing.length > 0)) return { text: `${lasts}; nobody else waits` };
    const why =
        changing.length > 0
            ? `a foreign key of ${[...new Set(changing.map(({ other }) => other))].join(", ")} may change rows of others with it`
            : "rowSecurity is false, so nothing else keeps the application from writing to it";
    const text = `${lasts}; other tenants' writes to ${tables.map(({ table }) => table).join(", ")} wait as long, because ${why}`;
    const missing = tables.filter(({ table }) => !group.allow.includes(table)).map(({ table }) => table);
    if (seconds <= SECONDS || missing.length === 0) return { text };
    return {
        text,
        refusal: `${tenant}: is to be deleted: ${text}. It is not deleted.\nTo allow that, put ${missing.map((table) => `"${table}"`).join(", ")} into allow, and run pulumi up at a quiet time.`,
    };
}

/** Why a tenant's schema is not deleted: one that was made by hand under its name is not distributed, so whose it is can't be told. */
function refuseSchema(group: GroupSpec, tenant: string, found: FoundTenant | undefined): string | undefined {
    if (group.model !== "schema" || !found?.schema || found.distributed) return undefined;
    return `${tenant}: its schema is not distributed, so somebody may have made it in the place of the tenant's. It is not deleted.\nIf it is the tenant's: SELECT citus_schema_distribute(${literal(tenant)});\nIf not, rename it: ALTER SCHEMA ${identifier(tenant)} RENAME TO …; then run pulumi up again.`;
}

/** Why the database that the ledger has for a tenant is not deleted. One that may be half-made is looked into when it is. */
function refuseDatabase(group: GroupSpec, tenant: string, databases?: DatabasesFound): string | undefined {
    const row = databases?.ledger.find((one) => one.tenant === tenant);
    // a move that is not ended is ended before
    if (!databases || !row || row.detail.move) return undefined;
    const name = databaseOf(tenant);
    const nodes = places(databases, name);
    const node = nodes.find((one) => one === row.node) ?? nodes[0];
    const comment = have(databases, node, name)?.comment;
    if (node === undefined || comment === undefined) return undefined;
    const halfMade = node === row.node && comment === null && ["creating", "deleting"].includes(row.state);
    return halfMade ? undefined : (another(group, { ...row, node }, comment) ?? strayed(group, row, databases));
}

/** SQL for the tenant that another one's data is on the way to. */
const TAKEN = (group: string, tenant: string) =>
    `(SELECT c.grp || '/' || c.tenant FROM citus_as_code.tenant_change c
       WHERE c.from_grp = ${group} AND c.from_tenant = ${tenant} AND c.phase <> 'done' LIMIT 1)`;

interface Detail {
    readonly was?: string;
    readonly moved_to?: string;
    readonly epoch?: number;
    /** File of its data, the file's checksum, and what is in it by table. */
    readonly exported?: string;
    readonly sha256?: string;
    readonly prints?: Prints;
    /** Files of what was deleted before, when there was more of it afterwards. */
    readonly earlier?: readonly string[];
    /** Written down in the transaction that deleted its data; in model database right before DROP DATABASE. */
    readonly dropped?: boolean;
    /** What of the present export is deleted, by table. */
    readonly deleted?: Prints;
    /** Colocation group of its schema. */
    readonly colocation?: number;
}

interface Row {
    readonly state: string | null;
    readonly node: string | null;
    readonly detail: Detail;
}

/** One tenant on its way out. */
interface Leaving {
    readonly context: Context;
    readonly tenant: string;
    /** Undefined where it can have none of its own. */
    readonly role: string | undefined;
    readonly node: string;
}

const keyOf = ({ context, tenant }: Leaving) => [context.group.name, tenant];

async function rowOf(leaving: Leaving): Promise<Row> {
    const [row] = await leaving.context.session.query<Row>(
        "SELECT state, node, detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        keyOf(leaving),
    );
    return row ?? { state: null, node: null, detail: {} };
}

const detailOf = async (leaving: Leaving): Promise<Detail> => (await rowOf(leaving)).detail;

async function record(leaving: Leaving, detail: Detail): Promise<void> {
    await leaving.context.session.query(
        "UPDATE citus_as_code.tenant SET detail = detail || $3::jsonb WHERE grp = $1 AND tenant = $2",
        [...keyOf(leaving), JSON.stringify(detail)],
    );
}

/** Writes down that it is being deleted. From here on nothing else changes it. */
async function begin(context: Context, tenant: string): Promise<Leaving> {
    const { group, session } = context;
    const [taken] = await session.query<{ by: string | null }>(`SELECT ${TAKEN("$1", "$2")} AS by`, [
        group.name,
        tenant,
    ]);
    if (taken?.by != null)
        throw new Error(
            `its data is on its way to ${taken.by}. Nothing of it was touched. Run pulumi up again when that change has ended.`,
        );
    const role = ownTenantRole(group, tenant);
    const { node } = await rowOf({ context, tenant, role, node: "" });
    const leaving = { context, tenant, role, node: node ?? "coordinator" };
    // nothing is written down and nobody shut out before what is there is known to be the tenant's
    const there = hasRows(group) || (await isThere(leaving));
    const changed = there ? await changedSince(context, group, tenant) : undefined;
    if (changed !== undefined)
        throw new Error(
            `${changed}\nIt is not deleted. Bring what is new over to the other group. If it is not needed: ` +
                `UPDATE citus_as_code.tenant SET state = 'frozen' WHERE grp = ${literal(group.name)} AND tenant = ${literal(tenant)}; then run pulumi up again.`,
        );
    await session.query(
        `INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, state) VALUES ($1, $2, $3, 'deleting')
             ON CONFLICT (grp, tenant) DO UPDATE SET state = 'deleting', since = now(),
                detail = CASE t.state WHEN 'deleting' THEN t.detail
                              ELSE t.detail - '{exported,sha256,prints,earlier,dropped,deleted}'::text[] || jsonb_build_object('was', t.state) END`,
        [group.name, tenant, group.model],
    );
    const [colocation] = await session.query<{ id: number }>(
        `SELECT colocationid AS id FROM pg_dist_schema WHERE schemaid = to_regnamespace(quote_ident($1)) AND $2 = 'schema'`,
        [tenant, group.model],
    );
    if (colocation) await record(leaving, { colocation: colocation.id });
    return leaving;
}

/** Its role, when that is there and this group's own. */
async function ownRole({ context, role }: Leaving): Promise<string | undefined> {
    if (role === undefined) return undefined;
    const [row] = await context.session.query<{ own: boolean }>(
        "SELECT starts_with(shobj_description(oid, 'pg_authid'), $2) AS own FROM pg_authid WHERE rolname = $1",
        [role, ownComment(context.group.name)],
    );
    return row?.own === true ? role : undefined;
}

/** @throws Error when it was deleted, and somebody made another of its name */
async function hasSchema(leaving: Leaving): Promise<boolean> {
    const { context, tenant } = leaving;
    const [row] = await context.session.query<{ ok: boolean }>(
        "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL AS ok",
        [tenant],
    );
    if (!row?.ok) return false;
    const { state, detail } = await rowOf(leaving);
    if (state === "deleting" && detail.dropped)
        throw new Error(
            `its schema was deleted, and there is another of its name, which group ${context.group.name} did not make.\n` +
                "It is not deleted. Rename it, or drop it yourself if nobody needs it, then run pulumi up again.",
        );
    return true;
}

/** A server's own database, with no Citus in it: nothing is handed on to other nodes. */
const serverOf = ({ context, node }: Leaving) => context.open(node, "postgres");

/** @throws Error when a database of its name is not the one that was made for it */
async function findDatabase(leaving: Leaving): Promise<"none" | "whole" | "invalid"> {
    const { context, tenant, node } = leaving;
    const { group } = context;
    const server = await serverOf(leaving);
    const [there] = await server.query<{ comment: string | null; limit: number }>(
        `SELECT shobj_description(oid, 'pg_database') AS comment, datconnlimit AS "limit" FROM pg_database WHERE datname = $1`,
        [databaseOf(tenant)],
    );
    if (!there) return "none";
    const { state, detail } = await rowOf(leaving);
    const refusal = another(group, { tenant, node, detail }, there.comment);
    if (refusal === undefined) return there.limit === INVALID ? "invalid" : "whole";
    const was = state === "deleting" ? detail.was : state;
    if (there.comment === null && there.limit === 0 && was === "creating") {
        const database = await context.open(node, databaseOf(tenant));
        try {
            const { epoch = 0 } = detail;
            if ((await isEmpty(database)) || (await isBegun(database, group, { tenant, epoch }))) return "whole";
        } finally {
            await database.close();
        }
    }
    throw new Error(
        `${refusal}\nIt is not deleted, and is as it was. If it is somebody else's, rename it, then run pulumi up again.`,
    );
}

/** Its role can't come in any more, and what it was doing has ended. */
async function fence(leaving: Leaving): Promise<void> {
    const { context, tenant } = leaving;
    const { group, session } = context;
    const role = await ownRole(leaving);
    if (role !== undefined) {
        await session.query(`ALTER ROLE ${identifier(role)} NOLOGIN`);
        if (group.model === "schema" && (await hasSchema(leaving)))
            await transaction(session, privileges(tenant, role, "fenced"));
        await endSessions(context, role);
    }
    if (group.model === "database" && (await findDatabase(leaving)) === "whole") {
        const server = await serverOf(leaving);
        await server.query(`ALTER DATABASE ${identifier(tenant)} CONNECTION LIMIT 0`);
        await server.query(
            `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
              WHERE datname = $1 AND NOT rolsuper`,
            [tenant],
        );
    }
}

/** Rows of the tenant, by table. */
async function countRows({ context, tenant }: Leaving): Promise<Readonly<Record<string, string>>> {
    const tables = tenantTables(context.group);
    const there = await context.session.query<{ name: string }>(
        "SELECT t.name FROM unnest($1::text[], $2::text[]) AS t (name, quoted) WHERE to_regclass(t.quoted) IS NOT NULL",
        [tables.map(({ table }) => table), tables.map(({ table }) => qualified(table))],
    );
    const counts: Record<string, string> = {};
    for (const { table, column } of tables.filter(({ table }) => there.some(({ name }) => name === table))) {
        const [row] = await context.session.query<{ count: string }>(
            `SELECT count(*)::text AS count FROM ${qualified(table)} WHERE ${identifier(column)} = ${literal(tenant)}`,
        );
        if (row && row.count !== "0") counts[table] = row.count;
    }
    return counts;
}

/** Whether there is anything of its data. */
async function isThere(leaving: Leaving): Promise<boolean> {
    const { model } = leaving.context.group;
    if (model === "schema") return hasSchema(leaving);
    if (model === "database") return (await findDatabase(leaving)) !== "none";
    return Object.keys(await countRows(leaving)).length > 0;
}

/** Writes a tenant's data into a file, with a manifest; the file's path. */
export type Export = (context: Context, tenant: string) => Promise<string>;

async function exportAnew(leaving: Leaving, toFile: Export): Promise<Manifest> {
    const { context, tenant } = leaving;
    const exported = await toFile(context, tenant);
    const manifest = await readExport(context, tenant, exported);
    const { exported: last, earlier = [], dropped } = await detailOf(leaving);
    await record(leaving, {
        exported,
        sha256: manifest.sha256,
        prints: manifest.prints,
        deleted: {},
        // what was deleted is in no later export
        ...(dropped && last && hasRows(context.group) ? { earlier: [...earlier, last] } : {}),
    });
    return manifest;
}

/** Takes the export that the program names, when it is proved. */
async function takeGiven(leaving: Leaving, given: { file: string; sha256: string }): Promise<Manifest> {
    const { context, tenant } = leaving;
    const manifest = await takeExport(context, tenant, given);
    await record(leaving, { exported: given.file, sha256: manifest.sha256, prints: manifest.prints, deleted: {} });
    return manifest;
}

/** The export that the ledger has, or why it can't be relied on. */
async function knownExport({ context, tenant }: Leaving, { exported, sha256 }: Detail): Promise<Manifest | string> {
    if (!exported) return "there is no export of it";
    try {
        const manifest = await readExport(context, tenant, exported);
        // written down without a checksum before there was one: then the manifest's own, to which the file is held, is all there is
        return sha256 === undefined || manifest.sha256 === sha256
            ? manifest
            : `${exported} is not the export that was written down.`;
    } catch (error) {
        return (error as Error).message;
    }
}

/** SQL that writes down that its data is gone. */
const DROPPED = (leaving: Leaving) =>
    `UPDATE citus_as_code.tenant SET detail = detail || '{"dropped": true}' WHERE (grp, tenant) = (${keyOf(leaving).map(literal).join(", ")})`;

/** SQL that writes down what of its export is deleted, with the rows themselves. */
const DELETED = (leaving: Leaving) => (deleted: Prints) =>
    `UPDATE citus_as_code.tenant SET detail = detail || ${literal(JSON.stringify({ dropped: true, deleted }))} WHERE (grp, tenant) = (${keyOf(leaving).map(literal).join(", ")})`;

/** @returns what is not as it was exported; nothing was deleted then */
async function drop(leaving: Leaving, { prints }: Manifest): Promise<string[]> {
    const { context, tenant, node } = leaving;
    const { group } = context;
    if (hasRows(group)) {
        const { deleted = {} } = await detailOf(leaving);
        return deleteRows({ context, tenant, exported: prints, deleted, record: DELETED(leaving) });
    }
    if (group.model === "database" && (await findDatabase(leaving)) === "invalid") {
        // its data can't be looked at any more, and was as it was exported when DROP DATABASE began
        const server = await serverOf(leaving);
        await server.query(`DROP DATABASE ${identifier(databaseOf(tenant))} WITH (FORCE)`);
        return [];
    }
    return dropWhole(context, tenant, node, (_slices, now) => different(prints, now), DROPPED(leaving));
}

/** Deletes what a good export has, and makes one where there is none. */
async function deleteData(leaving: Leaving, toFile: Export): Promise<void> {
    const { context, tenant } = leaving;
    const { group } = context;
    const detail = await detailOf(leaving);
    const known = await knownExport(leaving, detail);
    if (!(await isThere(leaving))) {
        if (detail.exported && typeof known === "string")
            context.warn(
                `${tenant}: its data is deleted. Its export was written to ${detail.exported}, and on this machine it can't be used: ${known}\n` +
                    "Look for that file on the machine that made it. Without it, only a backup of the cluster has the tenant's data.",
            );
        return;
    }
    const partly = hasRows(group)
        ? detail.dropped === true
        : group.model === "database" && (await findDatabase(leaving)) === "invalid";
    if (partly && typeof known === "string")
        throw new Error(
            `its data is partly deleted already, so an export of the rest would not be whole. The export that was made before can't be used: ${known}\n` +
                `Nothing more is deleted. ${detail.exported ? `Put the export, with its manifest, back to ${detail.exported} (it may be on another machine), then run pulumi up again. ` : ""}` +
                `If there is no such export, bring its data back from a backup of the cluster. If its data is not needed, delete the rest of it yourself, then run pulumi up again.`,
        );
    let manifest = typeof known === "string" ? undefined : known;
    const given = partly ? undefined : own(group.given ?? {}, tenant);
    for (let tries = 1; ; tries++) {
        manifest ??= given ? await takeGiven(leaving, given) : await exportAnew(leaving, toFile);
        const changed = await drop(leaving, manifest);
        if (changed.length === 0) return;
        // somebody else deleted what was left of it
        if (hasRows(group) && !(await isThere(leaving))) return;
        manifest = undefined;
        if (given && (await detailOf(leaving)).dropped !== true)
            throw new Error(
                `its rows are not those of ${given.file} (${changed.join(", ")}). Nothing was deleted. Make a new export, or take export of ${tenant} away: then it is exported by pulumi up.`,
            );
        if (tries >= TRIES)
            throw new Error(
                `its rows changed while it was exported, ${TRIES} times (${changed.join(", ")}). Keep the application from writing to it, then run pulumi up again.`,
            );
    }
}

/** Its grants go with it; what it owns does not, as no export has that. */
async function dropRole(leaving: Leaving): Promise<void> {
    const { context } = leaving;
    const role = await ownRole(leaving);
    if (role === undefined) return;
    const owned = await context.session.query<{ node: string; n: string }>(
        `SELECT n.nodename AS node, r.result AS n
           FROM run_command_on_all_nodes(${literal(
               `SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND refobjid = (SELECT oid FROM pg_authid WHERE rolname = ${literal(role)})`,
           )}) r JOIN pg_dist_node n USING (nodeid) WHERE NOT r.success OR r.result <> '0'`,
    );
    if (owned.length > 0)
        throw new Error(
            `role ${role} owns objects on ${owned.map(({ node, n }) => `${node} (${n})`).join(", ")}, and no export has them. ` +
                `To keep them, run there: REASSIGN OWNED BY ${identifier(role)} TO postgres; then run pulumi up again.`,
        );
    await transaction(context.session, `DROP OWNED BY ${identifier(role)};\nDROP ROLE ${identifier(role)}`);
}

/** What is still there, anywhere. */
async function leftOf(leaving: Leaving): Promise<string[]> {
    const { context, tenant, role } = leaving;
    const { group, session } = context;
    const left: string[] = [];
    if (hasRows(group))
        for (const [table, count] of Object.entries(await countRows(leaving)))
            left.push(`${countOf(Number(count), "row")} in ${table}`);
    const { colocation } = await detailOf(leaving);
    const checks = [
        "SELECT '' AS what WHERE false",
        ...(role === undefined
            ? []
            : [
                  `SELECT 'role ' || rolname AS what FROM pg_authid WHERE rolname = ${literal(role)} AND starts_with(shobj_description(oid, 'pg_authid'), ${literal(ownComment(group.name))})`,
              ]),
        ...(group.model === "database"
            ? [`SELECT 'database ' || datname FROM pg_database WHERE datname = ${literal(tenant)}`]
            : []),
        ...(group.model === "schema"
            ? [
                  `SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = ${literal(tenant)}`,
                  ...(colocation === undefined
                      ? []
                      : [
                            `SELECT 'pg_dist_schema row of ' || schemaid FROM pg_dist_schema WHERE colocationid = ${colocation}`,
                            `SELECT 'colocation group ' || colocationid FROM pg_dist_colocation WHERE colocationid = ${colocation}`,
                        ]),
              ]
            : []),
    ].join(" UNION ALL ");
    // those that are disabled are not asked, and may have anything
    const nodes = await session.query<{ node: string; success: boolean | null; result: string | null }>(
        `SELECT n.nodename AS node, r.success, r.result
           FROM run_command_on_all_nodes(${literal(`SELECT coalesce(string_agg(what, ', '), '') FROM (${checks}) c`)}) r
           RIGHT JOIN pg_dist_node n USING (nodeid) WHERE n.noderole = 'primary'`,
    );
    for (const { node, success, result } of nodes)
        if (!success || result !== "")
            left.push(success ? `${result} on ${node}` : `${node} could not be asked: ${result ?? "it is disabled"}`);
    if (group.model !== "database") {
        const tables = tenantTables(group).map(({ table }) => qualified(table).replaceAll('"', ""));
        const cleanup = await session.query<{ name: string }>(
            hasRows(group)
                ? `SELECT object_name AS name FROM pg_dist_cleanup JOIN pg_dist_node n ON n.groupid = node_group_id
                    WHERE policy_type = 2 AND regexp_replace(replace(object_name, '"', ''), '_[0-9]+$', '') = ANY ($1)`
                : "SELECT object_name AS name FROM pg_dist_cleanup WHERE starts_with(object_name, $1 || '.') OR starts_with(object_name, quote_ident($1) || '.')",
            [hasRows(group) ? tables : tenant],
        );
        left.push(...cleanup.map(({ name }) => `${name}, which Citus has not dropped yet`));
    }
    return left;
}

/** The ledger forgets it, but for that it was there. */
async function bury(leaving: Leaving, detail: Detail): Promise<void> {
    const { context, tenant } = leaving;
    const key = [context.group.name, tenant].map(literal).join(", ");
    const moved = detail.moved_to === undefined ? "NULL" : literal(detail.moved_to);
    await transaction(
        context.session,
        [
            `INSERT INTO citus_as_code.tenant_tombstone (grp, tenant, model, moved_to) VALUES (${key}, ${literal(context.group.model)}, ${moved})
                 ON CONFLICT (grp, tenant) DO UPDATE SET model = excluded.model, ended = now(), moved_to = excluded.moved_to;`,
            ...["tenant_pin", "tenant_migration", "tenant_change", "tenant"].map(
                (table) => `DELETE FROM citus_as_code.${table} WHERE (grp, tenant) = (${key});`,
            ),
        ].join("\n"),
    );
}

/** @param kept what stays outside, as the plan found it */
async function removeTenant(context: Context, tenant: string, toFile: Export, kept?: string): Promise<void> {
    const leaving = await begin(context, tenant);
    await fence(leaving);
    await deleteData(leaving, toFile);
    // shards that have moved or were split are on their old nodes for a while
    if (context.group.model !== "database") await context.session.query("CALL citus_cleanup_orphaned_resources()");
    await dropRole(leaving);
    const left = await leftOf(leaving);
    if (left.length > 0) throw new Error(`it was deleted, but this is left:\n  ${left.join("\n  ")}`);
    const detail = await detailOf(leaving);
    await bury(leaving, detail);
    const counts = hasRows(context.group) ? Object.entries(detail.prints ?? {}) : [];
    const rows = counts.map(([table, { count }]) => `${table} ${count}`);
    const files = [...(detail.earlier ?? []), ...(detail.exported ? [detail.exported] : [])];
    const { ignored = [] } = context.group;
    const beside = [
        ...(kept === undefined ? [] : [`kept outside its ${context.group.model}: ${kept}`]),
        ...(ignored.length === 0 ? [] : [`not looked into: ${ignored.join(", ")} (ignore: true)`]),
    ];
    context.note(
        `${tenant}: deleted, and nothing of it is left ${hasRows(context.group) ? "in the group's tables" : "on any node"}${rows.length > 0 ? ` (rows: ${rows.join(", ")})` : ""}; ${beside.map((text) => `${text}; `).join("")}` +
            (files.length === 0
                ? "there was nothing to export"
                : files.length === 1
                  ? `its export is ${files[0]}`
                  : `its exports are ${files.join(" and ")}`),
    );
}

const removeWith =
    (toFile: Export) =>
    async (context: Context, steps: readonly Step[]): Promise<void> => {
        for (const [i, step] of steps.entries()) {
            context.alive();
            context.progress(`${step.text} (${i + 1} of ${steps.length})`);
            const tenant = step.tenant ?? "";
            try {
                await removeTenant(context, tenant, toFile, (step.detail as { kept?: string } | undefined)?.kept);
            } catch (error) {
                const detail = await detailOf({ context, tenant, role: undefined, node: "" }).catch((): Detail => ({}));
                throw new Error(
                    `${tenant}: could not be deleted\n${said(error)}\n` +
                        `${detail.exported ? `It was exported to ${detail.exported}. ` : ""}${i} of ${steps.length} tenants are gone. Remove the cause, then run pulumi up again: it goes on from here.`,
                );
            }
        }
    };

/**
 * SQL for a jsonb of how many rows keys have, and how wide a row is: in queries of their own, so that Citus plans each alone,
 * and in hex, which XML leaves as it is; keys of another type have no rows, nor has a list.
 */
const countKeys = (table: string, column: string, keys: string) =>
    `coalesce((SELECT convert_from(decode((xpath('//x/text()', query_to_xml(format(
        'SELECT encode(convert_to(coalesce(jsonb_object_agg(c.k, c.n)::text, ''{}''), ''UTF8''), ''hex'') AS x FROM (SELECT %1$I::text AS k, count(*) AS n FROM %2$s WHERE %1$I = ANY (%3$L::%4$s[]) GROUP BY 1) c',
        a.attname, ${literal(qualified(table))}, (SELECT coalesce(array_agg(k.key), '{}') FROM unnest(ARRAY[${keys}]::text[]) AS k (key) WHERE pg_input_is_valid(k.key, y.type)), y.type),
        true, false, '')))[1]::text, 'hex'), 'UTF8')::jsonb
       FROM pg_attribute a, LATERAL (SELECT CASE a.atttypid WHEN 'bpchar'::regtype THEN 'bpchar' ELSE format_type(a.atttypid, NULL) END AS type) y
      WHERE a.attrelid = ${literal(qualified(table))}::regclass AND a.attname = ${literal(column)} AND NOT a.attisdropped
        AND y.type NOT LIKE '%[]'), '{}')`;

/** SQL for the bytes that a row of a table takes, from some of them. */
const widthOf = (table: string) =>
    `coalesce((xpath('//x/text()', query_to_xml(${literal(`SELECT avg(pg_column_size(s.*))::int AS x FROM (SELECT * FROM ${qualified(table)} LIMIT 100) s`)}, true, false, '')))[1]::text::int, 0)`;

/** CI systems set it for what they run, and throw the machine away afterwards. */
const isRunner = () => ["1", "true"].includes(process.env.CI ?? "");

/** Deletion with an export and a proof. @param toFile how the export is made. @param onRunner whether files of this machine go with this run */
export const removalWith = (toFile: Export, onRunner: () => boolean = isRunner): Facet<FoundRemoval> => ({
    name: "removal",
    reads: ["databases"],
    none: { tenants: {}, rows: {} },
    sql: (group, { ledger, tables }) => {
        if (group.delete.length === 0 && !hasRows(group)) return undefined;
        const keys = group.delete.map(literal).join(", ");
        const rows =
            hasRows(group) && group.delete.length > 0
                ? tenantTables(group)
                      .filter(({ table }) => tables.includes(table))
                      .map(({ table, column }) => ({
                          table: literal(table),
                          counts: countKeys(table, column, keys),
                          width: widthOf(table),
                      }))
                : [];
        const names = tenantTables(group).map(({ table }) => literal(qualified(table)));
        return `SELECT jsonb_build_object(
            'rows', jsonb_build_object(${rows.map(({ table, counts }) => `${table}, ${counts}`).join(",\n                ")}),
            'widths', jsonb_build_object(${rows.map(({ table, width }) => `${table}, ${width}`).join(", ")}),
            'references', ${rows.length === 0 ? "'[]'::jsonb" : `(${REFERENCES(`ARRAY[${names.join(", ")}]`)})`},
            'rate', ${ledger ? `(SELECT bytes / seconds FROM citus_as_code.measured WHERE what = ${literal(DELETE_RATE)})` : "NULL"},
            'undeclared', ${hasRows(group) ? undeclaredSql(group, ledger) : "'[]'::jsonb"},
            'outside', ${outsideSql(group)},
            'tenants', (SELECT coalesce(jsonb_object_agg(d.tenant, jsonb_build_object(
                'state', ${ledger ? "l.state" : "NULL"}, 'movedTo', ${ledger ? "l.detail ->> 'moved_to'" : "NULL"},
                'tombstone', ${ledger ? "EXISTS (SELECT FROM citus_as_code.tenant_tombstone t WHERE t.grp = $1 AND t.tenant = d.tenant)" : "false"},
                'taken', ${ledger ? TAKEN("$1", "d.tenant") : "NULL"},
                'schema', to_regnamespace(quote_ident(d.tenant)) IS NOT NULL,
                'distributed', EXISTS (SELECT FROM pg_dist_schema s WHERE s.schemaid = to_regnamespace(quote_ident(d.tenant))))), '{}')
              FROM jsonb_array_elements_text($2::jsonb -> 'delete') AS d (tenant)
              ${ledger ? "LEFT JOIN citus_as_code.tenant l ON l.grp = $1 AND l.tenant = d.tenant" : ""}))`;
    },
    plan: (group, found, all) => planRemoval(group, found, all.databases as DatabasesFound | undefined, onRunner()),
    run: { delete: removeWith(toFile) },
});

export const removal = removalWith(exportTenant);
