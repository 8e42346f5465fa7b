/**
 * A database for each tenant, on one node, without Citus in it: made from the template, closed to everybody but the
 * tenant's role, moved when the program names another node. The ledger says where it is; what is there, one question to
 * all nodes tells.
 */
import { runScript } from "../../reach/run.ts";
import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { own } from "../../util/ownProperty.ts";
import { databaseOf } from "../data/shape.ts";
import { filesToMake } from "../files/baseline.ts";
import type { FoundMigrations } from "../files/migrations.ts";
import { commitWords, runFile } from "../files/runFile.ts";
import { databasePlace } from "../files/runMigrations.ts";
import { type TemplateFile, wasRun } from "../files/template.ts";
import { askAlone } from "../group/ask.ts";
import { transaction } from "../group/batch.ts";
import type { Ask, Context, Facet, Planned, Probe, Step } from "../group/facet.ts";
import { notNamed } from "../group/notNamed.ts";
import { type GroupSpec, type TenantSpec, tenantRole } from "../group/spec.ts";
import { newFiles } from "../onboarding/newFiles.ts";
import { databasePrivileges } from "../state/state.ts";
import {
    another,
    type DatabaseFound,
    type DatabasesFound,
    have,
    identity,
    isBegun,
    isEmpty,
    type LedgerRow,
    places,
    strayed,
} from "./databaseFound.ts";
import { describeMove, type MoveNode, moveDatabase } from "./moveDatabase.ts";

const DATABASES = `
SELECT jsonb_agg(jsonb_build_object('name', d.datname, 'limit', d.datconnlimit, 'bytes', pg_database_size(d.oid),
    'comment', shobj_description(d.oid, 'pg_database'),
    'open', d.datacl IS NULL OR EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT'),
    'roles', (SELECT jsonb_agg(r.rolname ORDER BY r.rolname) FROM aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee
               WHERE a.privilege_type = 'CONNECT' AND NOT r.rolsuper))) FROM pg_database d WHERE NOT d.datistemplate`;

/** SQL expression: what a query that returns jsonb finds on each node, the coordinator first; `failed` says why one found nothing. */
export const onAllNodes = (query: string, key: string, ask: Ask = askAlone): string => `
    (SELECT coalesce(jsonb_agg(jsonb_build_object('name', split_part(n.nodename, '.', 1), '${key}', CASE WHEN r.success THEN r.result::jsonb END,
            'failed', CASE WHEN NOT r.success THEN r.result END) ORDER BY n.groupid), '[]')
       FROM ${ask(query)} r JOIN pg_dist_node n USING (nodeid))`;

function sql(_group: GroupSpec, { ledger, ask }: Pick<Probe, "ledger" | "ask">): string {
    const rows = ledger
        ? `(SELECT coalesce(jsonb_agg(jsonb_build_object('tenant', tenant, 'state', state, 'node', node, 'detail', detail)), '[]')
              FROM citus_as_code.tenant WHERE grp = $1 AND model = 'database')`
        : "'[]'::jsonb";
    const others = ledger
        ? `(SELECT coalesce(jsonb_object_agg(tenant, grp), '{}') FROM citus_as_code.tenant WHERE grp <> $1 AND model = 'database')`
        : "'{}'::jsonb";
    const rate = ledger
        ? "(SELECT bytes / seconds FROM citus_as_code.measured WHERE what = 'database copy')"
        : "NULL::double precision";
    return `jsonb_build_object('nodes', ${onAllNodes(DATABASES, "databases", ask)}, 'ledger', ${rows}, 'others', ${others},
        'own', current_database(), 'rate', ${rate})`;
}

const RESERVED = new Set(["postgres", "template0", "template1"]);

/** Databases of tenants, of any group, by node: where the next one goes. */
class Load {
    private readonly counts: Map<string, number>;

    constructor(found: DatabasesFound) {
        this.counts = new Map(
            found.nodes.map(({ name, databases }) => [
                name,
                databases.filter((d) => d.name !== "postgres" && d.name !== found.own).length,
            ]),
        );
    }

    add(node: string): void {
        this.counts.set(node, (this.counts.get(node) ?? 0) + 1);
    }

    /** The worker with the fewest; the coordinator where there is none. */
    least(): string {
        const workers = [...this.counts].filter(([name]) => name !== "coordinator");
        // a sort keeps the order of equals
        return workers.sort((a, b) => a[1] - b[1])[0]?.[0] ?? "coordinator";
    }
}

/** The role that a tenant connects as, when it has one. */
const roleOf = (group: GroupSpec, tenant: string): string | undefined =>
    group.tenants[tenant]?.role ? tenantRole(group.name, tenant) : undefined;

const limitOf = (tenant: TenantSpec | undefined): number => tenant?.limits?.connections ?? -1;

function refuseName(group: GroupSpec, tenant: string, found: DatabasesFound): string | undefined {
    const name = databaseOf(tenant);
    if (RESERVED.has(name) || name === found.own || name.startsWith("citus_as_code"))
        return `${tenant}: a tenant's database can't be called ${name}: PostgreSQL or the cluster uses that name. Choose another name.`;
    if (Buffer.byteLength(name) > 63)
        return `${tenant}: the name is longer than the 63 bytes of a database's name. Choose a shorter one.`;
    const other = found.others[name];
    if (other !== undefined)
        return `${tenant}: group ${other} has a tenant of this name, and each database of a cluster has its own name. Choose another name in ${group.name}.`;
    return undefined;
}

interface CreateDetail {
    readonly node: string;
    /** Files that it is made from, in their order. */
    readonly files: readonly string[];
}

interface MoveDetail {
    readonly to: string;
}

/** What one tenant that is in the ledger needs, once nothing of it is in the way. */
function planKnown(
    group: GroupSpec,
    row: LedgerRow,
    found: DatabasesFound,
    files: readonly string[] = [],
): { steps: Step[]; refusal?: string } {
    const { tenant, detail } = row;
    const name = databaseOf(tenant);
    const wanted = group.tenants[tenant];
    const target = wanted?.node ?? detail.move?.to ?? row.node ?? "";
    const there = have(found, row.node, name);
    // what a restore left is neither made nor moved: it may be half of what it was, or nothing
    if (detail.restoring === true) {
        return {
            steps: [],
            refusal: there
                ? `${tenant}: a restore of its database on ${row.node} was begun and not ended, so it may not be whole. It takes no connections.\nRestore it again: npm run tenants -- restore ${group.name}/${tenant} FILE --replace.`
                : (strayed(group, row, found) ??
                  `${tenant}: a restore of its database on ${row.node} was begun and not ended, and the database does not exist. No empty one is put in its place.\nRestore it from the same export or another: npm run tenants -- restore ${group.name}/${tenant} FILE. Or give it the state deleted.`),
        };
    }
    const moving: Step[] = [];
    if (detail.move !== undefined || target !== row.node) {
        moving.push({
            kind: "databases.move",
            tenant,
            text: describeMove(tenant, row.node ?? "", target, { ...detail, bytes: there?.bytes, rate: found.rate }),
            detail: { to: target } satisfies MoveDetail,
        });
    }
    if (row.state === "creating") {
        const making: Step = {
            kind: "databases.create",
            tenant,
            text: `${tenant}: go on making its database on ${row.node}`,
            detail: { node: row.node ?? "", files } satisfies CreateDetail,
        };
        return { steps: [making, ...moving] };
    }
    if (detail.move !== undefined) {
        const after = there && wanted ? planAccess(group, tenant, { ...there, limit: detail.move.limit }) : [];
        return { steps: [...moving, ...after] };
    }
    if (!there) {
        return {
            steps: [],
            refusal:
                strayed(group, row, found) ??
                `${tenant}: its database should be on ${row.node} and is gone. No empty one is put in its place.\nRestore it from an export (npm run tenants -- restore ${group.name}/${tenant} FILE), or under its name from a backup, or write it under delete.`,
        };
    }
    const refusal = another(group, row, there.comment);
    if (refusal !== undefined) return { steps: [], refusal };
    return { steps: [...moving, ...planAccess(group, tenant, there)] };
}

/** Who may connect, and how often, when that is not as it should be. */
function planAccess(group: GroupSpec, tenant: string, there: DatabaseFound): Step[] {
    const said: string[] = [];
    const role = roleOf(group, tenant);
    const limit = limitOf(group.tenants[tenant]);
    if (there.open) said.push("close its database to everybody else");
    if (role !== undefined && !there.roles?.includes(role)) said.push(`let ${role} in`);
    if (there.limit !== limit)
        said.push(`connection limit ${there.limit < 0 ? "none" : there.limit} → ${limit < 0 ? "none" : limit}`);
    return said.length === 0 ? [] : [{ kind: "databases.access", tenant, text: `${tenant}: ${said.join(", ")}` }];
}

function plan(group: GroupSpec, found: DatabasesFound, all: Readonly<Record<string, unknown>>): Planned {
    const states = Object.fromEntries(found.ledger.map(({ tenant, state }) => [tenant, state]));
    const filesOf = newFiles(group, all.migrations as FoundMigrations | undefined, states);
    const steps: Step[] = [];
    const refusals: string[] = [];
    const ledger = new Map(found.ledger.map((row) => [row.tenant, row]));
    const load = new Load(found);
    const names = found.nodes.map((node) => node.name);
    for (const [tenant, wanted] of Object.entries(group.tenants)) {
        if (group.delete.includes(tenant)) continue;
        const row = ledger.get(tenant);
        if (row?.state === "deleting") {
            refusals.push(
                `${tenant}: its deletion was begun and not ended. Give it the state deleted again until it is gone. After that it can be made anew.`,
            );
            continue;
        }
        // what became of it is said by its change of model
        if (row?.state === "superseded") continue;
        if (wanted.node !== undefined && found.nodes.length > 0 && !names.includes(wanted.node)) {
            refusals.push(
                `${tenant}: there is no node ${wanted.node}: the cluster has ${names.join(", ")}. Name one of them.`,
            );
            continue;
        }
        if (row) {
            const { steps: own, refusal } = planKnown(group, row, found, filesOf(tenant).files);
            steps.push(...own);
            if (refusal !== undefined) refusals.push(refusal);
            continue;
        }
        const refused = refuseName(group, tenant, found);
        const taken = places(found, databaseOf(tenant));
        if (refused !== undefined) {
            refusals.push(refused);
        } else if (taken.length > 0) {
            refusals.push(
                `${tenant}: ${taken.join(", ")} has a database ${databaseOf(tenant)} that was not made for it. That database is left as it is.\nRename that database, or choose another name for the tenant.`,
            );
        } else {
            const node = wanted.node ?? load.least();
            load.add(node);
            const { files, said } = filesOf(tenant);
            steps.push({
                kind: "databases.create",
                tenant,
                text: `${tenant}: make its database on ${node}${said}`,
                detail: { node, files } satisfies CreateDetail,
            });
        }
    }
    // who left the program stays, and is not left half-way
    for (const row of found.ledger) {
        if (row.detail.move && !group.tenants[row.tenant]) steps.push(...planKnown(group, row, found).steps);
    }
    const left = found.ledger
        .filter(
            ({ tenant, state }) =>
                !own(group.tenants, tenant) && !group.delete.includes(tenant) && state !== "superseded",
        )
        .map(({ tenant }) => tenant);
    const notes = left.length === 0 ? [] : [notNamed(left)];
    return { steps: steps.sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind)), refusals, notes };
}

/** Steps of one kind are run together. */
const ORDER = ["databases.create", "databases.move", "databases.access"];

/** Who may connect, and read whose the database is. What they may do in it is the state's. Run inside the database. */
function entry(name: string, role: string | undefined): string {
    const database = identifier(name);
    const closed = `REVOKE ALL ON DATABASE ${database} FROM PUBLIC;`;
    if (role === undefined) return closed;
    const who = identifier(role);
    return `${closed}
GRANT CONNECT, TEMPORARY ON DATABASE ${database} TO ${who};
GRANT USAGE ON SCHEMA citus_as_code TO ${who};
GRANT SELECT ON citus_as_code.tenant_identity TO ${who};`;
}

/** Tables of ours in each tenant's database: what was run there, and whose it is. */
const OWN_TABLES = `
CREATE SCHEMA citus_as_code;
CREATE TABLE citus_as_code.migration (path text PRIMARY KEY, sha256 text NOT NULL, run_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE citus_as_code.tenant_identity (grp text NOT NULL, tenant text NOT NULL, epoch bigint NOT NULL);`;

/** How many tenants one note in the ledger is about: a killed run looks at no more than these again. */
const CHUNK = 20;

function chunks<T>(items: readonly T[], size: number): T[][] {
    return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

const detailOf = <T>(step: Step): T => step.detail as T;
const tenantOf = (step: Step): string => step.tenant ?? "";

/** Writes tenants down before anything of them is made, each with an epoch that no other of its name had. */
async function enter(context: Context, steps: readonly Step[]): Promise<Map<string, number>> {
    const { session, group } = context;
    const rows = await session.query<{ tenant: string; epoch: number }>(
        `WITH new AS (INSERT INTO citus_as_code.tenant (grp, tenant, model, node, detail)
            SELECT $1, t.tenant, 'database', t.node, jsonb_build_object('epoch', floor(extract(epoch FROM clock_timestamp()))::bigint)
              FROM unnest($2::text[], $3::text[]) AS t (tenant, node)
            ON CONFLICT (grp, tenant) DO UPDATE SET node = excluded.node RETURNING tenant, detail)
         SELECT tenant, (detail->>'epoch')::float8 AS epoch FROM new`,
        [group.name, steps.map(tenantOf), steps.map((step) => detailOf<CreateDetail>(step).node)],
    );
    return new Map(rows.map(({ tenant, epoch }) => [tenant, epoch]));
}

async function create(context: Context, steps: readonly Step[]): Promise<void> {
    const filesOf = await filesToMake(
        context,
        steps.map((step) => detailOf<CreateDetail>(step).files),
    );
    for (const chunk of chunks(steps, CHUNK)) {
        context.alive();
        const epochs = await enter(context, chunk);
        const nodes = [...new Set(chunk.map((step) => detailOf<CreateDetail>(step).node))];
        const made: Step[] = [];
        // nodes beside each other, tenants of a node one after the other
        const results = await Promise.allSettled(
            nodes.map(async (node) => {
                for (const step of chunk.filter((s) => detailOf<CreateDetail>(s).node === node)) {
                    const { files } = detailOf<CreateDetail>(step);
                    await make(context, node, {
                        tenant: tenantOf(step),
                        epoch: epochs.get(tenantOf(step)) ?? 0,
                        files: filesOf(files),
                    });
                    made.push(step);
                }
            }),
        );
        await settled(context, made);
        const failed = results.find((result) => result.status === "rejected");
        if (failed) throw failed.reason;
    }
}

/** The ledger, and what it says was run, for tenants whose databases are whole. */
async function settled(context: Context, steps: readonly Step[]): Promise<void> {
    const { session, group } = context;
    const ran = steps.flatMap((step) =>
        detailOf<CreateDetail>(step).files.map((path) => ({
            tenant: tenantOf(step),
            path,
            sha256: group.template.find((file) => file.path === path)?.sha256 ?? "",
        })),
    );
    await session.query(
        `WITH ran AS (INSERT INTO citus_as_code.tenant_migration (grp, tenant, path, sha256)
            SELECT $1, r.tenant, r.path, r.sha256 FROM jsonb_to_recordset($3) AS r (tenant text, path text, sha256 text)
            ON CONFLICT DO NOTHING)
         UPDATE citus_as_code.tenant SET state = 'active', since = now() WHERE grp = $1 AND tenant = ANY($2) AND state = 'creating'`,
        [group.name, steps.map(tenantOf), JSON.stringify(ran)],
    );
}

interface Making {
    readonly tenant: string;
    readonly epoch: number;
    readonly files: readonly TemplateFile[];
}

/** One database, whole or closed: it is opened when every file was run in it. */
async function make(context: Context, node: string, making: Making): Promise<void> {
    const { group } = context;
    const name = databaseOf(making.tenant);
    // there is no Citus in that database, so nothing is handed on to other nodes
    const server = await context.open(node, "postgres");
    const [there] = await server.query<{ comment: string | null }>(
        "SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1",
        [name],
    );
    const own = identity(group.name, making.tenant, making.epoch);
    if (there?.comment === own) return;
    // nobody but a superuser gets in before it is whole
    if (!there) await server.query(`CREATE DATABASE ${identifier(name)} TEMPLATE template0 CONNECTION LIMIT 0`);
    const session = await context.open(node, name);
    try {
        const begun = there !== undefined && (await isBegun(session, group, making));
        if (there && !begun) await refuseForeign(session, group, making.tenant);
        await fill(context, session, making, begun);
    } finally {
        await session.close();
    }
}

/** A database that a killed run made is empty; another is somebody's. */
async function refuseForeign(session: Session, group: GroupSpec, tenant: string): Promise<void> {
    if (await isEmpty(session)) return;
    throw new Error(
        `${group.name}/${tenant}: ${session.node} has a database ${databaseOf(tenant)} that is not empty and was not made for it.\n` +
            "That database is left as it is. Rename it, then run pulumi up again.",
    );
}

/** Its tables of ours, each file in a transaction of its own, and at last who may come in. */
async function fill(context: Context, session: Session, { tenant, epoch, files }: Making, begun: boolean) {
    const { group } = context;
    const name = databaseOf(tenant);
    const role = roleOf(group, tenant);
    let doing = "";
    try {
        if (!begun)
            await transaction(
                session,
                `SET LOCAL client_min_messages = warning; ${OWN_TABLES}
                 INSERT INTO citus_as_code.tenant_identity VALUES (${literal(group.name)}, ${literal(tenant)}, ${epoch});`,
            );
        const ran = await session.query<{ path: string }>("SELECT path FROM citus_as_code.migration");
        const have = new Set(ran.map(({ path }) => path));
        for (const file of files.filter((one) => !wasRun(have, one))) {
            doing = `${file.path}: `;
            await runFile(databasePlace(group, file, session), file);
        }
        doing = "";
        await transaction(
            session,
            `${entry(name, role)}
             ${role === undefined ? "" : await databasePrivileges(session, role, "active")}
             COMMENT ON DATABASE ${identifier(name)} IS ${literal(identity(group.name, tenant, epoch))};
             ALTER DATABASE ${identifier(name)} CONNECTION LIMIT ${limitOf(group.tenants[tenant])};`,
        );
    } catch (error) {
        throw new Error(
            `${group.name}/${tenant}: its database on ${session.node} could not be filled\n  ${doing}${(error as Error).message}\n${commitWords(error)}` +
                "The database keeps the files before that, and takes no connections. The tenants before it are done. Remove the cause, then run pulumi up again.",
        );
    }
}

async function access(context: Context, steps: readonly Step[]): Promise<void> {
    const { group, session } = context;
    const rows = await session.query<{ tenant: string; node: string; state: "active" | "frozen" }>(
        "SELECT tenant, node, state FROM citus_as_code.tenant WHERE grp = $1 AND tenant = ANY($2)",
        [group.name, steps.map(tenantOf)],
    );
    for (const { tenant, node, state } of rows) {
        context.alive();
        const name = databaseOf(tenant);
        const role = roleOf(group, tenant);
        const own = await context.open(node, name);
        try {
            await transaction(
                own,
                `${entry(name, role)}
                 ${role === undefined ? "" : await databasePrivileges(own, role, state)}
                 ALTER DATABASE ${identifier(name)} CONNECTION LIMIT ${limitOf(group.tenants[tenant])}`,
            );
        } finally {
            await own.close();
        }
    }
}

async function move(context: Context, steps: readonly Step[]): Promise<void> {
    const { group, session } = context;
    const node = (name: string): MoveNode => {
        const found = context.nodes.find((n) => n.name === name);
        if (!found) throw new Error(`there is no node ${name}`);
        return {
            name,
            host: found.host,
            port: found.port,
            server: () => context.open(name, "postgres"),
            open: (database) => context.open(name, database),
            run: (script) => runScript(context.shell(name), script),
        };
    };
    for (const step of steps) {
        context.alive();
        const { to } = detailOf<MoveDetail>(step);
        context.note(
            await moveDatabase(session, { group: group.name, tenant: tenantOf(step) }, to, {
                node,
                progress: context.progress,
            }),
        );
    }
}

export const databases: Facet<DatabasesFound> = {
    name: "databases",
    reads: ["migrations"],
    sql,
    none: { nodes: [], ledger: [], others: {}, own: "", rate: null },
    plan,
    run: { create, access, move },
};
