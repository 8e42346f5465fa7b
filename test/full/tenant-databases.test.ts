/** Databases of tenants, for real: nobody else gets in, they move whole, also when the run is killed or a worker leaves. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, renameSync, truncateSync } from "node:fs";
import { dirname } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, test } from "vitest";
import { NOWHERE, readOnlyCopies } from "../../core/citus/members/leave.ts";
import { runScript } from "../../core/reach/run.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { moveDatabase } from "../../core/tenants/databases/moveDatabase.ts";
import { copyName, type MoveNode } from "../../core/tenants/databases/moveState.ts";
import { passwordOf } from "../../core/tenants/group/passwords.ts";
import type { GroupSpec, TenantSpec } from "../../core/tenants/group/spec.ts";
import { pause } from "../../core/util/pause.ts";
import { docker, requireEngine, SCHEMA, seed, TestStack } from "../lib.ts";
import { settleApart } from "../settleTenants.ts";
import { as, type Client, EMPTY, fileSpec, plan, SEED, settle, withContext } from "../tenants.ts";

requireEngine();

let stack: TestStack;

const FILES = {
    "sql/1.sql": `CREATE TABLE patients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, seen timestamptz, share double precision);
        CREATE INDEX ON patients (name);`,
    "sql/2.sql": `CREATE SCHEMA extra;
        CREATE TABLE extra.visits (patient bigint REFERENCES public.patients (id), at date, note jsonb, PRIMARY KEY (patient, at));
        CREATE VIEW extra.latest AS SELECT patient, max(at) AS at FROM extra.visits GROUP BY patient;`,
};
const NAMES = ["acme", "b2", "c3", "d4", "e5", "f6"];

let tenants: Record<string, TenantSpec> = {
    ...Object.fromEntries(NAMES.map((name) => [name, { role: true }])),
    b2: { role: true, limits: { connections: 5 } },
};

const group = (wanted = tenants): GroupSpec => ({
    ...EMPTY,
    name: "clinics",
    model: "database",
    template: Object.entries(FILES).map(([path, content]) => fileSpec(path, content)),
    tenants: wanted,
});

const ROWS = `
INSERT INTO patients (name, seen, share) SELECT md5(i::text), '2026-01-02 03:04:05.678+00'::timestamptz + i * interval '1 second', i / 7.0 FROM generate_series(1, $n) i;
INSERT INTO extra.visits SELECT i, date '2026-01-01' + i % 300, jsonb_build_object('n', i) FROM generate_series(1, 500) i;`;

const roleOf = (tenant: string) => `clinics_${tenant}`;

/** As the tenant, where the ledger says that it is. */
async function tenantClient(tenant: string): Promise<Client> {
    return as(stack, roleOf(tenant), await placeOf(tenant), tenant);
}

async function placeOf(tenant: string): Promise<string> {
    const [row] = await stack.sql<{ node: string }>(
        "SELECT node FROM citus_as_code.tenant WHERE grp = 'clinics' AND tenant = $1",
        [tenant],
    );
    return row?.node ?? "";
}

const FINGERPRINT = `
SELECT (SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM patients t) || ' ' ||
       (SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM extra.visits t) AS print`;

async function using<T>(client: Client, use: (client: Client) => Promise<T>): Promise<T> {
    try {
        return await use(client);
    } finally {
        await client.close();
    }
}

const printOf = async (tenant: string) =>
    using(await tenantClient(tenant), async (client) => (await client.query<{ print: string }>(FINGERPRINT))[0]?.print);

/** Nodes that have a database of this name. */
async function nodesWith(database: string): Promise<string[]> {
    const rows = await stack.sql<{ node: string }>(
        `SELECT split_part(n.nodename, '.', 1) AS node
           FROM run_command_on_all_nodes($q$SELECT array_agg(datname)::text FROM pg_database$q$) r JOIN pg_dist_node n USING (nodeid)
          WHERE $1 = ANY (r.result::text[]) ORDER BY 1`,
        [database],
    );
    return rows.map(({ node }) => node);
}

/** Something that only the superuser does, in a database of a node. */
async function asSuperuser(node: string, database: string, ...statements: string[]): Promise<void> {
    const session = await connect({ ...(await stack.access(node)), database }, node);
    try {
        for (const statement of statements) await session.query(statement);
    } finally {
        await session.close();
    }
}

/** What a query says in a database of a node, asked by the superuser. */
async function ask(node: string, database: string, query: string): Promise<object[]> {
    const session = await connect({ ...(await stack.access(node)), database }, node);
    try {
        return await session.query(query);
    } finally {
        await session.close();
    }
}

/** Moves a tenant's database until a statement would be run: then nothing more is done, as when it is killed. */
async function moveUntil(tenant: string, to: string, last: (sql: string, parameters: readonly unknown[]) => boolean) {
    let killed = false;
    const mortal = (session: Session): Session => ({
        ...session,
        query: async <T extends object>(sql: string, parameters: readonly unknown[] = []) => {
            killed ||= last(sql, parameters);
            if (killed) throw new Error("killed");
            return session.query<T>(sql, parameters);
        },
    });
    await withContext(stack, group(), FILES, async ({ session, nodes, open, shell }) => {
        const node = (name: string): MoveNode => {
            const found = nodes.find((other) => other.name === name);
            assert.ok(found, name);
            return {
                ...found,
                server: async () => mortal(await open(name, "postgres")),
                open: (database) => open(name, database),
                run: (script) => runScript(shell(name), script),
            };
        };
        const moving = moveDatabase(mortal(session), { group: "clinics", tenant }, to, {
            node,
            progress: () => undefined,
        });
        await assert.rejects(moving, /killed/);
    });
    assert.ok(killed);
}

const RENAME = (sql: string) => sql.includes("RENAME TO");
const NOTE = (_sql: string, parameters: readonly unknown[]) => String(parameters[3]).includes('"phase":"drop"');
const DROP = (sql: string) => sql.startsWith("DROP DATABASE");

/** A tenant on a node that has rows and no connection limit, and that nothing else here is about. */
async function oneOn(node: string): Promise<string> {
    const [row] = await stack.sql<{ tenant: string }>(
        "SELECT tenant FROM citus_as_code.tenant WHERE node = $1 AND tenant IN ('d4', 'e5', 'f6') ORDER BY 1",
        [node],
    );
    assert.ok(row, `${node} has none`);
    return row.tenant;
}

/** Through the pool of a node. */
async function pooled(
    role: string,
    node: string,
    database: string,
    options: { password?: string; plain?: boolean } = {},
) {
    const access = await stack.access(node);
    const [, port] = docker(["port", stack.container(node), "6432/tcp"])
        .trim()
        .split(":");
    const client = new pg.Client({
        host: "127.0.0.1",
        port: Number(port),
        user: role,
        password: options.password ?? passwordOf(SEED, role),
        database,
        ssl: options.plain ? false : { ca: access.ca, servername: access.serverName },
    });
    client.on("error", () => undefined);
    await client.connect();
    return client;
}

/** `pulumi stack output` takes longer than most of what is tested here. */
async function rememberOutputs(): Promise<void> {
    const outputs = await TestStack.prototype.outputs.call(stack);
    stack.outputs = async <T>() => outputs as T;
}

beforeAll(async () => {
    stack = await TestStack.make({ workers: 3, shardCount: 8, backup: false });
    await stack.up();
    await rememberOutputs();
    await stack.sql(SCHEMA);
    await stack.sql(seed(20));
});

afterAll(() => stack?.destroy());

test("each tenant gets a database, spread over the workers, and then there is nothing to do", async () => {
    const { steps } = await settle(stack, group(), FILES);
    assert.deepEqual(
        steps
            .filter(({ kind }) => kind === "databases.create")
            .map(({ tenant }) => tenant)
            .sort(),
        NAMES,
    );
    const again = await plan(stack, group());
    assert.deepEqual([again.steps, again.refusals], [[], []]);
    const spread = await stack.sql<{ node: string; n: number }>(
        "SELECT node, count(*)::int AS n FROM citus_as_code.tenant WHERE state = 'active' GROUP BY 1 ORDER BY 1",
    );
    assert.deepEqual(
        spread,
        ["worker-1", "worker-2", "worker-3"].map((node) => ({ node, n: 2 })),
    );
    for (const tenant of NAMES) {
        assert.deepEqual(await nodesWith(tenant), [await placeOf(tenant)]);
        await using(await tenantClient(tenant), async (client) => {
            for (const statement of ROWS.replace("$n", tenant === "acme" ? "300000" : "2000").split(";\n"))
                await client.query(statement);
            const [row] = await client.query("SELECT grp, tenant FROM citus_as_code.tenant_identity");
            assert.deepEqual(row, { grp: "clinics", tenant });
        });
    }
});

test("one tenant more touches only that one", async () => {
    const wanted = { ...tenants, g7: { role: true } };
    assert.deepEqual([...new Set((await plan(stack, group(wanted))).steps.map(({ tenant }) => tenant))], ["g7"]);
    const { steps } = await settle(stack, group(wanted), FILES);
    assert.deepEqual([...new Set(steps.map(({ tenant }) => tenant))], ["g7"]);
    tenants = wanted;
});

test("a tenant gets into its own database alone, by the pool too, and reads nothing of the cluster's", async () => {
    const node = await placeOf("acme");
    const other = NAMES.find((name) => name !== "acme") ?? "";
    const elsewhere = await placeOf(other);
    await assert.rejects(as(stack, roleOf(other), node, "acme"), /permission denied for database "acme"/);
    await assert.rejects(as(stack, roleOf("acme"), elsewhere, other), /permission denied for database/);
    await assert.rejects(pooled(roleOf(other), node, "acme"), /permission denied for database "acme"/);
    await assert.rejects(pooled(roleOf("acme"), node, "acme", { password: "wrong" }), /authentication failed/);
    await assert.rejects(pooled(roleOf("acme"), node, "acme", { plain: true }), /SSL required/i);
    const { password } = await stack.access();
    await assert.rejects(pooled("postgres", node, "app", { password }), /authentication failed/);
    for (const from of ["coordinator", node]) {
        await using(await as(stack, roleOf("acme"), from), async (client) => {
            for (const table of ["companies", "users", "plans", "citus_as_code.tenant"])
                await assert.rejects(client.query(`SELECT * FROM ${table}`), /permission denied|does not exist/);
        });
    }
    const client = await pooled(roleOf("acme"), node, "app");
    await assert.rejects(client.query("SELECT * FROM companies"), /permission denied/);
    await client.end();
    await using(await tenantClient("acme"), async (own) => {
        for (const statement of [
            "CREATE TABLE mine ()",
            "DROP TABLE patients",
            "SELECT * FROM citus_as_code.migration",
            "UPDATE citus_as_code.tenant_identity SET tenant = 'x'",
        ])
            await assert.rejects(own.query(statement), /permission denied|must be owner/);
    });
});

test("the pool hands connections on by transaction, and no setting with them", async () => {
    const node = await placeOf("b2");
    const clients = await Promise.all(Array.from({ length: 12 }, () => pooled(roleOf("b2"), node, "b2")));
    const [first, second] = clients as [pg.Client, pg.Client];
    try {
        await first.query("SET app.tenant = '43'");
        await first.query("SET work_mem = '77MB'");
        for (const client of clients) {
            const { rows } = await client.query(
                "SELECT coalesce(current_setting('app.tenant', true), '') AS tenant, current_setting('work_mem') AS mem",
            );
            assert.deepEqual(
                rows.map((row) => [row.tenant, row.mem === "77MB"]),
                [["", false]],
            );
        }
        await second.query("BEGIN");
        await second.query("SET LOCAL app.tenant = '42'");
        assert.equal((await second.query("SELECT current_setting('app.tenant') AS t")).rows[0].t, "42");
        await second.query("COMMIT");
        assert.equal((await second.query("SELECT current_setting('app.tenant', true) AS t")).rows[0].t, "");
        // 12 at once, and 5 that PostgreSQL lets in
        const answers = await Promise.all(
            clients.map((client) => client.query("SELECT pg_sleep(0.05), pg_backend_pid() AS pid")),
        );
        const used = new Set(answers.map(({ rows }) => rows[0].pid));
        assert.ok(used.size >= 1 && used.size <= 5, `${used.size} server connections`);
        const prepared = { name: "one", text: "SELECT $1::int + 1 AS n" };
        for (const [i, client] of clients.entries())
            assert.equal((await client.query({ ...prepared, values: [i] })).rows[0].n, i + 1);
    } finally {
        for (const client of clients) await client.end();
    }
});

test("a database moves to another node whole, with what is said of it", async () => {
    const from = await placeOf("acme");
    const to = from === "worker-1" ? "worker-2" : "worker-1";
    await stack.sql("CREATE ROLE landlord");
    await asSuperuser(
        from,
        "acme",
        "ALTER DATABASE acme OWNER TO landlord",
        "REVOKE CREATE ON DATABASE acme FROM landlord",
        "ALTER DATABASE acme SET search_path = extra, public",
        "ALTER DATABASE acme SET work_mem = '9MB'",
        `ALTER ROLE ${roleOf("acme")} IN DATABASE acme SET statement_timeout = '55s'`,
        "SELECT lo_from_bytea(424242, 'large')",
        `GRANT CONNECT ON DATABASE acme TO ${roleOf("c3")}`,
    );
    const before = await printOf("acme");
    const old = await tenantClient("acme");
    tenants = { ...tenants, acme: { role: true, node: to, limits: { connections: 7 } } };
    const preview = await plan(stack, group());
    assert.ok(preview.steps.some((step) => step.kind === "databases.move" && step.tenant === "acme"));
    const { said } = await settle(stack, group(), FILES);
    console.log(said.join("; "));
    assert.deepEqual([await placeOf("acme"), await nodesWith("acme")], [to, [to]]);
    await assert.rejects(old.query("SELECT 1"));
    await old.close().catch(() => undefined);
    assert.equal(await printOf("acme"), before);
    await using(await tenantClient("acme"), async (client) => {
        const [row] = await client.query<Record<string, unknown>>(
            `SELECT current_setting('search_path') AS path, current_setting('work_mem') AS mem, current_setting('statement_timeout') AS timeout,
                    (SELECT datconnlimit FROM pg_database WHERE datname = 'acme') AS "limit", has_database_privilege('${roleOf("c3")}', 'acme', 'CONNECT') AS guest,
                    has_database_privilege('${roleOf("d4")}', 'acme', 'CONNECT') AS other`,
        );
        assert.deepEqual(row, {
            path: "extra, public",
            mem: "9MB",
            timeout: "55s",
            limit: 7,
            guest: true,
            other: false,
        });
        const [added] = await client.query<{ id: string }>(
            "INSERT INTO patients (name) VALUES ('after the move') RETURNING id",
        );
        assert.equal(added?.id, "300001");
    });
    assert.deepEqual(
        await ask(
            to,
            "postgres",
            `SELECT datdba::regrole::text AS owner, has_database_privilege('landlord', oid, 'CONNECT') AS connect,
                    has_database_privilege('landlord', oid, 'CREATE') AS "create" FROM pg_database WHERE datname = 'acme'`,
        ),
        [{ owner: "landlord", connect: true, create: false }],
    );
    await asSuperuser(to, "postgres", "ALTER DATABASE acme OWNER TO postgres");
    await stack.sql("DROP ROLE landlord");
    await asSuperuser(
        to,
        "acme",
        "SELECT 1 / (count(*) FILTER (WHERE lo_get(oid) = 'large'))::int FROM pg_largeobject_metadata",
    );
    const again = await plan(stack, group());
    assert.deepEqual([again.steps, again.refusals], [[], []]);
});

test("a move that is killed in the middle ends well when it is run again", async () => {
    const from = await placeOf("acme");
    const before = await printOf("acme");
    tenants = { ...tenants, acme: { ...tenants.acme, node: "worker-3" } };
    const child = await settleApart(stack, group(), FILES);
    const ended = new Promise((resolve) => child.on("close", (_code, signal) => resolve(signal)));
    const watcher = await stack.session("worker-3");
    for (let tries = 0; ; tries++) {
        const [copy] = await watcher.query("SELECT FROM pg_database WHERE datname ~ '^citus_as_code_copy_'");
        if (copy) break;
        assert.ok(tries < 3000, "no copy began");
        await pause(10);
    }
    child.kill("SIGKILL");
    assert.equal(await ended, "SIGKILL");
    assert.deepEqual([await placeOf("acme"), (await nodesWith("acme")).includes(from)], [from, true]);
    await assert.rejects(as(stack, roleOf("acme"), from, "acme"), /too many connections/);
    const { said } = await settle(stack, group(), FILES);
    console.log(said.join("; "));
    assert.deepEqual([await placeOf("acme"), await nodesWith("acme")], ["worker-3", ["worker-3"]]);
    assert.equal(await printOf("acme"), before);
    const [left] = await watcher.query("SELECT FROM pg_database WHERE datname ~ '^citus_as_code_copy_'");
    assert.equal(left, undefined);
});

test("a move that was killed between the switch and its note goes on from the switch", async () => {
    const [from, to] = ["worker-1", "worker-2"];
    const tenant = await oneOn(from);
    const before = await printOf(tenant);
    await moveUntil(tenant, to, NOTE);
    assert.deepEqual([await placeOf(tenant), await nodesWith(tenant)], [from, [from, to]]);
    await settle(stack, group(), FILES);
    assert.deepEqual([await placeOf(tenant), await nodesWith(tenant)], [to, [to]]);
    assert.equal(await printOf(tenant), before);
});

test("a move whose old database was let in again by hand before the switch copies what was written since", async () => {
    const [from, to] = ["worker-2", "worker-1"];
    const tenant = await oneOn(from);
    await moveUntil(tenant, to, RENAME);
    await asSuperuser(from, "postgres", `ALTER DATABASE ${tenant} CONNECTION LIMIT -1`);
    await using(await as(stack, roleOf(tenant), from, tenant), (client) =>
        client.query("INSERT INTO patients (name) VALUES ('written meanwhile')"),
    );
    const before = await printOf(tenant);
    await settle(stack, group(), FILES);
    assert.deepEqual([await placeOf(tenant), await nodesWith(tenant)], [to, [to]]);
    assert.equal(await printOf(tenant), before);
    assert.deepEqual(
        await ask(to, "postgres", "SELECT datname FROM pg_database WHERE datname ~ '^citus_as_code_copy_'"),
        [],
    );
});

test("a move after which both databases were written to keeps both, and says so", async () => {
    const [from, to] = ["worker-2", "worker-1"];
    const tenant = await oneOn(from);
    await moveUntil(tenant, to, NOTE);
    await asSuperuser(from, "postgres", `ALTER DATABASE ${tenant} CONNECTION LIMIT -1`);
    for (const node of [from, to])
        await using(await as(stack, roleOf(tenant), node, tenant), (client) =>
            client.query(`INSERT INTO patients (name) VALUES ('on ${node}')`),
        );
    await assert.rejects(settle(stack, group(), FILES), (error: Error) => {
        assert.match(error.message, new RegExp(`both were written to: ${tenant} on ${from} and ${tenant} on ${to}`));
        return true;
    });
    for (const node of [from, to])
        assert.deepEqual(await ask(node, tenant, "SELECT name FROM patients WHERE name ~ '^on '"), [
            { name: `on ${node}` },
        ]);
    // as the message says
    await asSuperuser(from, "postgres", `ALTER DATABASE ${tenant} RENAME TO kept`);
    await stack.sql(
        "UPDATE citus_as_code.tenant SET node = $1, detail = detail - 'move' WHERE grp = 'clinics' AND tenant = $2",
        [to, tenant],
    );
    assert.deepEqual((await plan(stack, group())).refusals, []);
    await asSuperuser(from, "postgres", "DROP DATABASE kept WITH (FORCE)");
});

test("a move drops nothing that is not its own", async () => {
    const [from, to] = ["worker-1", "worker-2"];
    const tenant = await oneOn(from);
    const before = await printOf(tenant);
    await moveUntil(tenant, to, DROP);
    await asSuperuser(
        from,
        "postgres",
        `DROP DATABASE ${tenant} WITH (FORCE)`,
        `CREATE DATABASE ${tenant} CONNECTION LIMIT 0`,
    );
    await asSuperuser(from, tenant, "CREATE TABLE theirs AS SELECT 1 AS x");
    await assert.rejects(settle(stack, group(), FILES), (error: Error) => {
        assert.match(error.message, new RegExp(`clinics/${tenant}: the database ${tenant} on ${from} is not the one`));
        return true;
    });
    assert.deepEqual(await ask(from, tenant, "SELECT x FROM theirs"), [{ x: 1 }]);
    await asSuperuser(from, "postgres", `DROP DATABASE ${tenant}`);
    await settle(stack, group(), FILES);
    assert.deepEqual([await placeOf(tenant), await nodesWith(tenant)], [to, [to]]);
    assert.equal(await printOf(tenant), before);
});

test("a move whose DROP DATABASE did not end drops what is left", async () => {
    const [from, to] = ["worker-2", "worker-1"];
    const tenant = await oneOn(from);
    const before = await printOf(tenant);
    await moveUntil(tenant, to, DROP);
    // what a server that stops in it leaves
    await asSuperuser(from, "postgres", `UPDATE pg_database SET datconnlimit = -2 WHERE datname = '${tenant}'`);
    await settle(stack, group(), FILES);
    assert.deepEqual([await placeOf(tenant), await nodesWith(tenant)], [to, [to]]);
    assert.equal(await printOf(tenant), before);
});

test("a move that can't be done leaves the tenant served where it was", async () => {
    const from = await placeOf("c3");
    const to = from === "worker-1" ? "worker-2" : "worker-1";
    const before = await printOf("c3");
    // under the copy's temporary name its rows are not allowed
    await asSuperuser(
        from,
        "c3",
        "CREATE TABLE stubborn (x int CHECK (current_database() = 'c3'))",
        "INSERT INTO stubborn VALUES (1)",
    );
    const moved = { ...tenants, c3: { role: true, node: to } };
    const copy = copyName({ group: "clinics", tenant: "c3" });
    await asSuperuser(to, "postgres", `CREATE DATABASE ${copy} CONNECTION LIMIT 0`);
    await asSuperuser(to, copy, "CREATE TABLE theirs AS SELECT 1 AS x");
    await assert.rejects(
        settle(stack, group(moved), FILES),
        /nothing says is a copy.*It is served on .* as before\. Remove/s,
    );
    assert.deepEqual(await ask(to, copy, "SELECT x FROM theirs"), [{ x: 1 }]);
    await asSuperuser(to, "postgres", `COMMENT ON DATABASE ${copy} IS 'kept'`);
    await assert.rejects(settle(stack, group(moved), FILES), /its comment is kept.*It is served on/s);
    assert.deepEqual(await ask(to, copy, "SELECT x FROM theirs"), [{ x: 1 }]);
    assert.equal(await printOf("c3"), before);
    await asSuperuser(to, "postgres", `DROP DATABASE ${copy} WITH (FORCE)`);
    await assert.rejects(settle(stack, group(moved), FILES), (error: Error) => {
        assert.match(error.message, /clinics\/c3.*could not be copied/s);
        assert.match(error.message, /violates check constraint/);
        return true;
    });
    assert.deepEqual([await placeOf("c3"), await nodesWith("c3")], [from, [from]]);
    assert.equal(await printOf("c3"), before);
    await asSuperuser(from, "c3", "DROP TABLE stubborn");
    assert.deepEqual((await plan(stack, group())).steps, []);
});

test("a database that is somebody else's is refused, and one that was made half is made whole", async () => {
    await asSuperuser("worker-1", "postgres", "CREATE DATABASE foreign1");
    const refused = await plan(
        stack,
        group({ ...tenants, foreign1: { role: true }, app: { role: true }, h8: { node: "worker-9" } }),
    );
    assert.equal(refused.refusals.length, 3);
    await assert.rejects(settle(stack, group({ ...tenants, foreign1: { role: true } }), FILES), /not made for it/);
    await asSuperuser("worker-1", "postgres", "DROP DATABASE foreign1");

    await asSuperuser("worker-2", "postgres", "CREATE DATABASE i9 TEMPLATE template0 CONNECTION LIMIT 0");
    await stack.sql(
        `INSERT INTO citus_as_code.tenant (grp, tenant, model, node, detail) VALUES ('clinics', 'i9', 'database', 'worker-2', '{"epoch": 1}')`,
    );
    tenants = { ...tenants, i9: { role: true } };
    await settle(stack, group(), FILES);
    await using(await tenantClient("i9"), async (client) => {
        await client.query("INSERT INTO patients (name) VALUES ('x')");
        assert.deepEqual(await client.query("SELECT epoch::int FROM citus_as_code.tenant_identity"), [{ epoch: 1 }]);
    });

    await asSuperuser("worker-2", "postgres", "DROP DATABASE i9 WITH (FORCE)", "CREATE DATABASE i9");
    const [again] = (await plan(stack, group())).refusals;
    assert.match(again ?? "", /not the one that was made for it/);
    await asSuperuser("worker-2", "postgres", "DROP DATABASE i9 WITH (FORCE)");
    const [gone] = (await plan(stack, group())).refusals;
    assert.match(gone ?? "", /is gone/);
    await stack.sql("DELETE FROM citus_as_code.tenant WHERE tenant = 'i9'");
    const { i9: _, ...rest } = tenants;
    tenants = rest;
});

const deleting = (...names: string[]): GroupSpec => ({ ...group(), delete: names });

const detailOf = async (tenant: string) =>
    (
        await stack.sql<{ detail: { epoch: number; exported: string } }>(
            "SELECT detail FROM citus_as_code.tenant WHERE tenant = $1",
            [tenant],
        )
    )[0]?.detail;

test("no database is deleted that was not made for the tenant", async () => {
    await asSuperuser("worker-1", "postgres", "CREATE DATABASE foreign1");
    await asSuperuser("worker-1", "foreign1", "CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 42'");
    // as a create that refused it leaves the ledger
    await stack.sql(
        `INSERT INTO citus_as_code.tenant (grp, tenant, model, node, detail) VALUES ('clinics', 'foreign1', 'database', 'worker-1', '{"epoch": 1}')`,
    );
    const refused = /database foreign1 on worker-1 is not the one that was made for it: it has no comment/;
    await assert.rejects(settle(stack, deleting("foreign1"), FILES), refused);
    await asSuperuser("worker-1", "foreign1", "SELECT 1 / (theirs() = 42)::int");
    await asSuperuser("worker-1", "foreign1", "DROP FUNCTION theirs()");
    // empty, and open as none of ours is before it is whole
    await assert.rejects(settle(stack, deleting("foreign1"), FILES), refused);
    await asSuperuser("worker-1", "postgres", "ALTER DATABASE foreign1 CONNECTION LIMIT 0");
    await settle(stack, deleting("foreign1"), FILES);
    assert.deepEqual(await nodesWith("foreign1"), []);

    await asSuperuser("worker-1", "postgres", "CREATE DATABASE foreign1");
    const { refusals } = await plan(stack, deleting("foreign1"));
    assert.match(refusals.join(), /^foreign1: was deleted, and there is a database of its name on worker-1 again/);
    await asSuperuser("worker-1", "postgres", "DROP DATABASE foreign1");
});

test("a database is deleted with an export that is whole, whatever a killed run left", async () => {
    const names = ["j1", "k2"];
    const own = Object.fromEntries(names.map((name) => [name, { role: true, node: "worker-1" }]));
    await settle(stack, group({ ...tenants, ...own }), FILES);
    for (const name of names) {
        const [seed = ""] = ROWS.replace("$n", "70").split(";\n");
        await asSuperuser("worker-1", name, seed);
        const { epoch } = (await detailOf(name)) ?? {};
        const comment = (n: number) =>
            `COMMENT ON DATABASE ${name} IS 'citus_as_code: clinics/${name}, epoch ${(epoch ?? 0) + n}'`;
        await asSuperuser("worker-1", "postgres", comment(1));
        assert.match((await plan(stack, deleting(name))).refusals.join(), /is not the one that was made for it/);
        await assert.rejects(settle(stack, deleting(name), FILES), /is not the one that was made for it/);
        await asSuperuser("worker-1", "postgres", comment(0));
        // it can't be dropped, so the run ends right there
        await asSuperuser(
            "worker-1",
            name,
            `BEGIN; INSERT INTO patients (name) VALUES ('x'); PREPARE TRANSACTION '${name}'`,
        );
        await assert.rejects(settle(stack, deleting(name), FILES), /could not be deleted.*prepared transaction/s);
        await asSuperuser("worker-1", name, `ROLLBACK PREPARED '${name}'`);
        await asSuperuser("worker-1", name, "SELECT 1 / (count(*) = 70)::int FROM patients");
    }
    const [first, second] = [await detailOf("j1"), await detailOf("k2")];
    assert.ok(first && second);

    truncateSync(first.exported, 100);
    const { said } = await settle(stack, deleting("j1"), FILES);
    const [, file = ""] = /j1: deleted, and nothing of it is left .* its export is (\S+)/.exec(said.join("\n")) ?? [];
    assert.notEqual(file, first.exported);
    const manifest = JSON.parse(readFileSync(`${file}.json`, "utf8"));
    assert.equal(manifest.prints.patients.count, "70");
    assert.equal(createHash("sha256").update(readFileSync(file)).digest("hex"), manifest.sha256);
    assert.deepEqual(await nodesWith("j1"), []);

    // as a DROP DATABASE leaves it that the server did not end
    await asSuperuser("worker-1", "postgres", "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'k2'");
    renameSync(second.exported, `${second.exported}.away`);
    await assert.rejects(settle(stack, deleting("j1", "k2"), FILES), (error: Error) => {
        assert.match(error.message, /k2: could not be deleted.* partly deleted/s);
        assert.ok(error.message.includes(second.exported));
        return true;
    });
    assert.deepEqual(await nodesWith("k2"), ["worker-1"]);
    renameSync(`${second.exported}.away`, second.exported);
    await settle(stack, deleting("j1", "k2"), FILES);
    assert.deepEqual(await nodesWith("k2"), []);
    assert.equal(readdirSync(dirname(second.exported)).length, 2);
    assert.equal(JSON.parse(readFileSync(`${second.exported}.json`, "utf8")).prints.patients.count, "70");
    const again = await plan(stack, deleting("j1", "k2"));
    assert.deepEqual([again.steps, again.refusals], [[], []]);
});

test("databases on a worker that leaves go to those that stay", async () => {
    const leaving = await stack.sql<{ tenant: string }>(
        "SELECT tenant FROM citus_as_code.tenant WHERE node = 'worker-3' ORDER BY 1",
    );
    assert.ok(leaving.length >= 2, "worker-3 has none");
    const names = Object.keys(tenants);
    const prints = async () => {
        const all: Record<string, string | undefined> = {};
        // as the superuser: a pool may hold every connection that a limited tenant has
        for (const name of names) {
            const node = await placeOf(name);
            const session = await connect({ ...(await stack.access(node)), database: name }, node);
            all[name] = (await session.query<{ print: string }>(FINGERPRINT))[0]?.print;
            await session.close();
        }
        return all;
    };
    // one that nobody may connect to is somebody's too
    await asSuperuser("worker-3", "postgres", "CREATE DATABASE shut ALLOW_CONNECTIONS false");
    const only = await readOnlyCopies(await stack.session("worker-3"), NOWHERE);
    assert.deepEqual(
        only.filter((what) => what.startsWith("database ")),
        [...leaving.map(({ tenant }) => `database ${tenant}`), "database shut"],
    );
    await asSuperuser("worker-3", "postgres", "DROP DATABASE shut");
    const before = await prints();
    const { acme, ...rest } = tenants;
    tenants = { ...rest, acme: { role: true, ...(acme?.limits ? { limits: acme.limits } : {}) } };
    await stack.config({ workers: 2 });
    const preview = await stack.pulumi(["preview"]);
    assert.match(preview.output, new RegExp(`moves ${leaving.length} tenants' databases off worker-3`));
    const ran = await stack.up({ workers: 2 });
    await rememberOutputs();
    console.log((ran.output.match(/.*its database moved from worker-3.*/g) ?? []).join("; "));
    const places = await stack.sql<{ node: string }>("SELECT DISTINCT node FROM citus_as_code.tenant ORDER BY 1");
    assert.deepEqual(places, [{ node: "worker-1" }, { node: "worker-2" }]);
    assert.deepEqual(await prints(), before);
    assert.deepEqual(
        (await stack.outputs()).workers.map(({ name }) => name),
        ["worker-1", "worker-2"],
    );
    const again = await plan(stack, group());
    assert.deepEqual([again.steps.filter(({ tenant }) => tenant !== undefined), again.refusals], [[], []]);
});
