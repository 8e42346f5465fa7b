/**
 * A database for each tenant, on one node, without Citus in it: made from the template, closed to everybody but the
 * tenant's role, moved when the program names another node. The ledger says where it is; what is there, one question to
 * all nodes tells.
 */

import { runScript } from "../../reach/run.ts";
import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { databaseOf } from "../data/shape.ts";
import { filesToMake } from "../files/baseline.ts";
import { commitWords, runFile } from "../files/runFile.ts";
import { databasePlace } from "../files/runMigrations.ts";
import { type TemplateFile, wasRun } from "../files/template.ts";
import { askAlone } from "../group/ask.ts";
import { transaction } from "../group/batch.ts";
import type { Ask, Context, Facet, Probe, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { makeOwn } from "../ledger/ownDatabase.ts";
import type { ServedState } from "../ledger/states.ts";
import { activateDatabases, beginDatabases } from "../ledger/tenants.ts";
import { databasePrivileges } from "../state/state.ts";
import { type DatabasesFound, identity, isBegun, isEmpty } from "./databaseFound.ts";
import { type CreateDetail, limitOf, type MoveDetail, plan, roleOf } from "./databasesPlan.ts";
import { moveDatabase } from "./moveDatabase.ts";
import type { MoveNode } from "./moveState.ts";

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

/** Who may connect, and read whose the database is. What they may do in it is the state's. Run inside the database. */
function entrySql(name: string, role: string | undefined): string {
    const database = identifier(name);
    const closed = `REVOKE ALL ON DATABASE ${database} FROM PUBLIC;`;
    if (role === undefined) return closed;
    const who = identifier(role);
    return `${closed}
GRANT CONNECT, TEMPORARY ON DATABASE ${database} TO ${who};
GRANT USAGE ON SCHEMA citus_as_code TO ${who};
GRANT SELECT ON citus_as_code.tenant_identity TO ${who};`;
}

/** How many tenants one note in the ledger is about: a killed run looks at no more than these again. */
const CHUNK = 20;

function chunks<T>(items: readonly T[], size: number): T[][] {
    return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

const detailOf = <T>(step: Step): T => step.detail as T;
const tenantOf = (step: Step): string => step.tenant ?? "";

/** Writes tenants down before anything of them is made, each with an epoch that no other of its name had. */
async function recordBegun(context: Context, steps: readonly Step[]): Promise<Map<string, number>> {
    return beginDatabases(
        context.session,
        context.group.name,
        steps.map((step) => ({ tenant: tenantOf(step), node: detailOf<CreateDetail>(step).node })),
    );
}

async function create(context: Context, steps: readonly Step[]): Promise<void> {
    const filesOf = await filesToMake(
        context,
        steps.map((step) => detailOf<CreateDetail>(step).files),
    );
    for (const chunk of chunks(steps, CHUNK)) {
        context.alive();
        const epochs = await recordBegun(context, chunk);
        const nodes = [...new Set(chunk.map((step) => detailOf<CreateDetail>(step).node))];
        const made: Step[] = [];
        // nodes beside each other, tenants of a node one after the other
        const results = await Promise.allSettled(
            nodes.map(async (node) => {
                for (const step of chunk.filter((s) => detailOf<CreateDetail>(s).node === node)) {
                    const { files } = detailOf<CreateDetail>(step);
                    await makeDatabase(context, node, {
                        tenant: tenantOf(step),
                        epoch: epochs.get(tenantOf(step)) ?? 0,
                        files: filesOf(files),
                    });
                    made.push(step);
                }
            }),
        );
        await recordMade(context, made);
        const failed = results.find((result) => result.status === "rejected");
        if (failed) throw failed.reason;
    }
}

/** The ledger, and what it says was run, for tenants whose databases are whole. */
async function recordMade(context: Context, steps: readonly Step[]): Promise<void> {
    const { session, group } = context;
    const ran = steps.flatMap((step) =>
        detailOf<CreateDetail>(step).files.map((path) => ({
            tenant: tenantOf(step),
            path,
            sha256: group.template.find((file) => file.path === path)?.sha256 ?? "",
        })),
    );
    await activateDatabases(session, group.name, steps.map(tenantOf), ran);
}

interface Making {
    readonly tenant: string;
    readonly epoch: number;
    readonly files: readonly TemplateFile[];
}

/** One database, whole or closed: it is opened when every file was run in it. */
async function makeDatabase(context: Context, node: string, making: Making): Promise<void> {
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
        await fillDatabase(context, session, making, begun);
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
async function fillDatabase(context: Context, session: Session, { tenant, epoch, files }: Making, begun: boolean) {
    const { group } = context;
    const name = databaseOf(tenant);
    const role = roleOf(group, tenant);
    let doing = "";
    try {
        if (!begun)
            await transaction(
                session,
                `SET LOCAL client_min_messages = warning; ${makeOwn({ group: group.name, tenant }, epoch)}`,
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
            `${entrySql(name, role)}
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
    const rows = await session.query<{ tenant: string; node: string; state: ServedState }>(
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
                `${entrySql(name, role)}
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
