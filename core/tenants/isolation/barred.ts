/**
 * Which tenants of models row and rls do not write, and which are not seen: one list on every node, which all of a group's
 * policies ask. The lists are check constraints of domains. Citus hands a change of one on to all nodes in one transaction,
 * no table is locked for it, and a node that joins has them before its first shard.
 */

import { createHash } from "node:crypto";
import { DatabaseError } from "../../reach/session.ts";
import { given } from "../../sql/given.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { joinNames } from "../../util/joinNames.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import { pause } from "../../util/pause.ts";
import { askAlone } from "../group/ask.ts";
import { asDoBlock, databaseMessage, transaction } from "../group/batch.ts";
import type { Context, Probe, Step } from "../group/facet.ts";
import { appRole, type GroupSpec, tenantsRole } from "../group/spec.ts";
import { inState } from "../ledger/states.ts";

/** `reads` has the tenants that are seen, `writes` those that also write. */
export type Right = "reads" | "writes";

const BOTH: readonly Right[] = ["reads", "writes"];

interface FoundDomain {
    /** Changes with its list. */
    readonly print: string;
    /** Whether it is of its type, and has the one constraint of its list. */
    readonly whole: boolean;
    /** Set when every write that began before the list was changed has ended. */
    readonly comment: string | null;
}

export interface FoundBarred {
    /** The group's domains on the coordinator, by name. */
    readonly domains: Readonly<Record<string, FoundDomain>>;
    /** Nodes whose domains, or the roles' right to ask them, are not as on the coordinator. */
    readonly stale: readonly string[];
    /** Whether the group's roles may ask them on the coordinator. */
    readonly usable: boolean;
    /** Keys that are no values of a type, by type. */
    readonly unfit: Readonly<Record<string, readonly string[]>>;
    /** Tenants that don't write because of the ledger, and those that are not seen either. */
    readonly fenced: readonly string[];
    readonly hidden: readonly string[];
    /** Old copies that are deleted and still in the program: what hid them stays as long. */
    readonly buried: readonly string[];
}

export const NOTHING_BARRED: FoundBarred = {
    domains: {},
    stale: [],
    usable: true,
    unfit: {},
    fenced: [],
    hidden: [],
    buried: [],
};

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

/** Part of a name for a type: its own name where that can't be taken for anything else. */
const typeName = (type: string) => (/^[a-z][a-z0-9]{0,19}$/.test(type) ? type : md5(type).slice(0, 12));

const domainName = (group: string, right: Right, type: string) => `${group}_${right}_${typeName(type)}`;

/**
 * The key that a policy compares with, or NULL where the tenant has not the right. The domain is named in a text, so that no
 * policy depends on it: Citus does not make what a policy depends on before the table, when a node joins. A domain that is
 * not there is an error, and shows nothing.
 * @param key SQL expression for the key as text
 * @param type of the tenant column, without its modifier
 */
export const keyWith = (group: GroupSpec, right: Right, key: string, type: string) =>
    `CASE WHEN pg_input_is_valid(${key}, ${literal(`citus_as_code.${domainName(group.name, right, type)}`)}) THEN nullif(${key}, '')::${type} END`;

/** Who lacks a right by the program and the ledger; who is to be deleted does not write from before its export on. */
function lackingOf(group: GroupSpec, right: Right, type: string, found: FoundBarred): string[] {
    const frozen = Object.keys(group.tenants).filter((tenant) => group.tenants[tenant]?.frozen);
    const unseen = [...found.hidden, ...found.buried];
    const names = right === "reads" ? unseen : [...frozen, ...found.fenced, ...group.delete, ...unseen];
    const unfit = new Set(ownProperty(found.unfit, type));
    return [...new Set(names)].filter((name) => !unfit.has(name)).sort();
}

function checkOf(keys: readonly string[], type: string): string {
    const elements = keys.map((key) => `"${key.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`);
    return `CHECK (VALUE <> ALL (${literal(`{${elements.join(",")}}`)}::${type}[]))`;
}

interface Wanted {
    readonly name: string;
    readonly right: Right;
    readonly type: string;
    readonly keys: readonly string[];
    readonly check: string;
}

/** @param types of the group's tenant columns */
export function wantedDomains(group: GroupSpec, types: readonly string[], found: FoundBarred): Wanted[] {
    return [...new Set(types)].flatMap((type) =>
        BOTH.map((right) => {
            const keys = lackingOf(group, right, type, found);
            return { name: domainName(group.name, right, type), right, type, keys, check: checkOf(keys, type) };
        }),
    );
}

export const commentOf = (check: string, print: string) => `citus_as_code ${md5(check)} ${print}`;

const asWanted = ({ name, check }: Wanted, { domains }: FoundBarred) => {
    const is = ownProperty(domains, name);
    return is?.whole === true && is.comment === commentOf(check, is.print);
};

/** Pure. One step, however many tenants and tables. */
export function planBarred(group: GroupSpec, types: readonly string[], found: FoundBarred): Step[] {
    const wanted = wantedDomains(group, types, found);
    if (wanted.length === 0) return [];
    const step = (text: string): Step[] => [{ kind: "policies.bar", text: `group ${group.name}: ${text}` }];
    if (wanted.some((domain) => !asWanted(domain, found)))
        return step(
            "the list of tenants that write and are seen is set on every node, in one transaction that locks no table",
        );
    if (found.stale.length > 0)
        return step(`the list of tenants that write and are seen is set again on ${joinNames(found.stale, 3)}`);
    if (!found.usable)
        return step(`${appRole(group.name)} and ${tenantsRole(group.name)} may ask which tenants write and are seen`);
    return [];
}

/** What a node has, run there. */
const onNode = (group: GroupSpec) => `SELECT jsonb_build_object(
    'domains', (SELECT coalesce(jsonb_object_agg(d.name, d.print), '{}') FROM (${domainsOf(group)}) d), 'usable', ${usable(group)})`;

/** SQL query (name, oid, print, whole) for the group's domains. */
const domainsOf = ({
    name,
}: GroupSpec) => `SELECT t.typname::text AS name, t.oid, md5(format_type(t.typbasetype, t.typtypmod) || ' '
        || coalesce(string_agg(c.conname || ' ' || pg_get_constraintdef(c.oid), ',' ORDER BY c.conname), '')) AS print,
        count(*) FILTER (WHERE c.conname = 'barred') = 1 AND count(c.oid) = 1 AS whole
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_constraint c ON c.contypid = t.oid
   WHERE n.nspname = 'citus_as_code' AND t.typtype = 'd' AND t.typname ~ ${given(`^${name}_(reads|writes)_[a-z0-9]+$`)} GROUP BY t.oid`;

const usable = ({
    name,
}: GroupSpec) => `(SELECT count(*) FROM pg_roles r JOIN pg_namespace n ON n.nspname = 'citus_as_code'
    WHERE r.rolname IN (${given(appRole(name))}, ${given(tenantsRole(name))}) AND has_schema_privilege(r.oid, n.oid, 'USAGE')) = 2`;

/**
 * SQL expression of type jsonb for what there is. @param types SQL query (type) for those of the group's tenant columns
 * @param ledger whether the ledger is there
 */
export function barredSql(
    group: GroupSpec,
    types: string,
    { ledger, ask = askAlone }: Pick<Probe, "ledger" | "ask">,
): string {
    const lists = ledger
        ? `'fenced', (SELECT coalesce(jsonb_agg(t.tenant), '[]') FROM citus_as_code.tenant t WHERE t.grp = $1 AND (${inState("t.state", "deleting")}
               OR ${inState("t.state", "frozen")} AND (NOT (SELECT $2::jsonb -> 'tenants') ? t.tenant OR EXISTS (
                  SELECT 1 FROM citus_as_code.tenant_change c WHERE c.from_grp = $1 AND c.from_tenant = t.tenant AND c.phase <> 'done')))),
           'hidden', (SELECT coalesce(jsonb_agg(tenant), '[]') FROM citus_as_code.tenant WHERE grp = $1 AND (${inState("state", "superseded")} OR detail ? 'moved_to')),
           'buried', (SELECT coalesce(jsonb_agg(tenant), '[]') FROM citus_as_code.tenant_tombstone WHERE grp = $1 AND moved_to IS NOT NULL AND $2::jsonb -> 'delete' ? tenant)`
        : "'fenced', '[]'::jsonb, 'hidden', '[]'::jsonb, 'buried', '[]'::jsonb";
    return `(WITH lists AS MATERIALIZED (SELECT jsonb_build_object(${lists}) AS l),
        keys AS (SELECT jsonb_array_elements_text($2::jsonb -> 'delete') AS key UNION SELECT w.key FROM jsonb_each((SELECT $2::jsonb -> 'tenants')) w WHERE w.value ? 'frozen'
            UNION SELECT jsonb_array_elements_text(e.value) FROM lists, jsonb_each(lists.l) e),
        unfit AS (SELECT y.type, k.key FROM (SELECT DISTINCT q.type FROM (${types}) q WHERE q.type IS NOT NULL) y, keys k WHERE NOT pg_input_is_valid(k.key, y.type)),
        here AS MATERIALIZED (SELECT * FROM (${domainsOf(group)}) d),
        answered AS MATERIALIZED (SELECT n.nodename AS host, n.groupid, a.success, a.result FROM ${ask(onNode(group))} a JOIN pg_dist_node n USING (nodeid))
        SELECT lists.l || jsonb_build_object(
            'domains', (SELECT coalesce(jsonb_object_agg(h.name, jsonb_build_object('print', h.print, 'whole', h.whole, 'comment', obj_description(h.oid, 'pg_type'))), '{}') FROM here h),
            'usable', ${usable(group)},
            'unfit', (SELECT coalesce(jsonb_object_agg(u.type, u.keys), '{}') FROM (SELECT type, jsonb_agg(key) AS keys FROM unfit GROUP BY 1) u),
            'stale', (SELECT coalesce(jsonb_agg(a.host ORDER BY a.host), '[]') FROM answered a WHERE a.success
                AND (CASE WHEN a.success THEN a.result::jsonb END) IS DISTINCT FROM jsonb_build_object('usable', true, 'domains', coalesce(
                      (SELECT CASE WHEN c.success THEN c.result::jsonb -> 'domains' END FROM answered c WHERE c.groupid = 0),
                      (SELECT coalesce(jsonb_object_agg(h.name, h.print), '{}') FROM here h)))),
            'nodes', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.host, 'failed', a.result)), '[]') FROM answered a WHERE NOT a.success)) FROM lists)`;
}

/** What there is now, of the lists alone: types of the tables that are there, and the lists. */
async function barredNow({ group, session }: Context, tables: readonly string[]) {
    const columns = tables.map((table) => group.tables[table]?.column ?? "");
    const types = await session.query<{ name: string; type: string }>(
        `SELECT t.name, format_type(a.atttypid, -1) AS type FROM unnest($1::text[], $2::text[], $3::text[]) AS t (name, quoted, col)
           JOIN pg_attribute a ON a.attrelid = to_regclass(t.quoted) AND a.attname = t.col AND NOT a.attisdropped`,
        [tables, tables.map(qualified), columns],
    );
    const known = [...new Set(types.map(({ type }) => type))];
    const values = known.length === 0 ? "NULL::text" : known.map(literal).join("), (");
    const [row] = await session.query<{ found: FoundBarred & { nodes: readonly { name: string; failed: string }[] } }>(
        `SELECT ${barredSql(group, `SELECT v.type FROM (VALUES (${values})) v (type)`, { ledger: true })} AS found FROM (SELECT $1::text, $2::jsonb) AS given`,
        [group.name, JSON.stringify(group)],
    );
    if (!row) throw new Error("the database gave no answer about which tenants write");
    const [silent] = row.found.nodes;
    if (silent) throw new DatabaseError(silent.name, "asking it who writes", { message: silent.failed });
    return { there: types.map(({ name }) => name), types: known, found: row.found };
}

/**
 * Makes the lists what they should be, everywhere at once. Safe to repeat.
 * @param columns tables with a tenant column
 */
export async function setBarred(context: Context, columns: readonly string[]): Promise<void> {
    const { group, session } = context;
    const { there: tables, types, found } = await barredNow(context, columns);
    const changed = wantedDomains(group, types, found).filter(
        (domain) => found.stale.length > 0 || !asWanted(domain, found),
    );
    const names = [appRole(group.name), tenantsRole(group.name)].map(identifier).join(", ");
    const full = ({ name }: Wanted) => `citus_as_code.${identifier(name)}`;
    // policies that were there before these lists are changed under a lock, which waits for whoever writes
    const waits: Wanted[] = [];
    for (const domain of changed) if (await losesWriters(context, domain, found)) waits.push(domain);
    const statements = changed.flatMap((domain) => {
        const is = ownProperty(found.domains, domain.name);
        // dropped also where another node alone has it
        return is?.whole !== true || found.stale.length > 0
            ? [
                  `DROP DOMAIN IF EXISTS ${full(domain)}`,
                  `CREATE DOMAIN ${full(domain)} AS ${domain.type} CONSTRAINT barred ${domain.check}`,
              ]
            : [
                  `COMMENT ON DOMAIN ${full(domain)} IS NULL`,
                  `ALTER DOMAIN ${full(domain)} DROP CONSTRAINT barred`,
                  `ALTER DOMAIN ${full(domain)} ADD CONSTRAINT barred ${domain.check}`,
              ];
    });
    try {
        await transaction(
            session,
            `SET LOCAL client_min_messages = warning;\n${asDoBlock([`GRANT USAGE ON SCHEMA citus_as_code TO ${names}`, ...statements])}`,
        );
    } catch (error) {
        throw new Error(
            `group ${group.name}: the list of tenants that write could not be set\n${databaseMessage(error)}\nThe list is as it was, on every node. Run pulumi up again: it is safe to repeat.`,
        );
    }
    if (waits.length > 0) await writersEnd(context, tables);
    const marks = changed.map(({ name, check }) => `(${literal(name)}, ${literal(commentOf(check, ""))})`);
    if (marks.length > 0)
        await transaction(
            session,
            `DO $do$ DECLARE x record; BEGIN
                FOR x IN SELECT d.name, w.mark || d.print AS comment FROM (${domainsOf(group)}) d JOIN (VALUES ${marks.join(", ")}) AS w (name, mark) USING (name)
                LOOP EXECUTE format('COMMENT ON DOMAIN citus_as_code.%I IS %L', x.name, x.comment); END LOOP; END $do$`,
        );
}

/** Whether somebody that writes now will not, or whether it is not known that all who don't have ended. */
async function losesWriters({ session }: Context, domain: Wanted, found: FoundBarred): Promise<boolean> {
    const is = ownProperty(found.domains, domain.name);
    if (domain.right !== "writes" || is === undefined) return false;
    if (found.stale.length > 0 || !is.whole || !is.comment?.endsWith(` ${is.print}`)) return true;
    const [row] = await session.query<{ loses: boolean }>(
        "SELECT coalesce(bool_or(pg_input_is_valid(k, $2)), false) AS loses FROM unnest($1::text[]) k",
        [domain.keys, `citus_as_code.${domain.name}`],
    );
    return row?.loses !== false;
}

/** How long a write that began before may still take. */
const PATIENCE = 60_000;

interface Writer {
    readonly node: string;
    /** The same as long as its transaction lasts. */
    readonly id: string;
    readonly pid: number | null;
    readonly role: string | null;
    readonly since: string | null;
}

/**
 * Transactions that hold a lock for writing on one of the tables or their shards. What Citus itself copies by a superuser's
 * connections, and what applies a subscription, is no client.
 */
const WRITERS = (tables: readonly string[]) => `
    SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object('id', l.virtualtransaction, 'pid', l.pid, 'role', a.usename, 'since', a.xact_start)), '[]')
      FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_roles r ON r.oid = a.usesysid
      LEFT JOIN pg_dist_shard s ON s.shardid = substring(c.relname FROM '_([0-9]{1,18})$')::int8
     WHERE l.locktype = 'relation' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
       AND coalesce(s.logicalrelid, c.oid) IN (SELECT to_regclass(t) FROM unnest(ARRAY[${tables.map((table) => literal(qualified(table))).join(", ")}]::text[]) t)
       AND (a.pid IS NULL OR a.backend_type = 'client backend' AND NOT (r.rolsuper AND starts_with(a.application_name, 'citus_')))`;

async function writers({ session }: Pick<Context, "session">, tables: readonly string[]): Promise<Writer[]> {
    const answers = await session.query<{ node: string; success: boolean; result: string }>(
        `SELECT n.nodename AS node, a.success, a.result FROM run_command_on_all_nodes(${literal(WRITERS(tables))}) a JOIN pg_dist_node n USING (nodeid)`,
    );
    return answers.flatMap(({ node, success, result }) => {
        if (!success) throw new DatabaseError(node, "asking it who writes", { message: result });
        return (JSON.parse(result) as Omit<Writer, "node">[]).map((writer) => ({ ...writer, node }));
    });
}

/** Waits until everybody has ended who may have written before the list was changed. @throws Error naming who has not */
export async function writersEnd(
    context: Pick<Context, "session" | "group" | "alive" | "progress">,
    tables: readonly string[],
    patience = PATIENCE,
): Promise<void> {
    const key = ({ node, id }: Writer) => `${node} ${id}`;
    let left = await writers(context, tables);
    const end = Date.now() + patience;
    for (let wait = 20; left.length > 0; wait = Math.min(wait * 2, 500)) {
        context.alive();
        const [first] = left;
        if (first && Date.now() >= end)
            throw new Error(
                `group ${context.group.name}: on every node the list says who writes, but a transaction that began before is still open and may have written:\n` +
                    `  process ${first.pid ?? `of prepared transaction ${first.id}`}${first.role ? ` of ${first.role}` : ""} on ${first.node}${first.since ? `, since ${first.since}` : ""}\n` +
                    `Wait for it to end, or end it there${first.pid === null ? "" : `: SELECT pg_terminate_backend(${first.pid});`}\nThen run pulumi up again: it goes on from here.`,
            );
        context.progress(
            `waits for ${left.length} ${left.length === 1 ? "transaction" : "transactions"} that began before (${joinNames(
                left.map(({ node, pid }) => `${pid ?? "prepared"} on ${node}`),
                3,
            )})`,
        );
        await pause(wait);
        const now = new Set((await writers(context, tables)).map(key));
        left = left.filter((writer) => now.has(key(writer)));
    }
}
