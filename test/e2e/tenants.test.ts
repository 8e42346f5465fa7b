/**
 * A thousand row tenants, three hundred schemas, twenty databases and twenty routed ones in one cluster, by the commands
 * that a user has: a second `up` changes nothing, one tenant more touches that one, workers come and go under all of them.
 */
import assert from "node:assert/strict";
import pg from "pg";
import { afterAll, beforeAll, test } from "vitest";
import { docker, fingerprint, requireEngine, TestStack } from "../lib.ts";

const COUNTS = { billing: 1000, clinics: 300, vaults: 20, regions: 20 } as const;
type GroupName = keyof typeof COUNTS;

const BILLING = `
CREATE TABLE companies (id bigint PRIMARY KEY, name text NOT NULL DEFAULT '');
CREATE TABLE users (company_id bigint REFERENCES companies (id), id bigint, email text NOT NULL, PRIMARY KEY (company_id, id));
CREATE TABLE plans (id int PRIMARY KEY, name text NOT NULL);
`;
const CLINIC = `
CREATE TABLE patients (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE visits (id bigint PRIMARY KEY, patient_id bigint NOT NULL REFERENCES patients (id), at timestamptz NOT NULL DEFAULT now());
`;
const VAULT = "CREATE TABLE items (id bigint PRIMARY KEY, body text NOT NULL);";

const DESK =
    "CREATE TABLE desks (id bigint PRIMARY KEY); CREATE TABLE tickets (desk_id bigint, id bigint, body text, PRIMARY KEY (desk_id, id));";

const DESK_GROUP = {
    model: "rls",
    anchor: "desks",
    tables: { desks: { distributeBy: "id" }, tickets: { distributeBy: "desk_id" } },
    template: "sql/desk/*.sql",
    tenants: { 1: { role: true }, 2: {} },
    pool: true,
};

const GROUPS = {
    billing: {
        model: "row",
        anchor: "companies",
        tables: {
            companies: { distributeBy: "id" },
            users: { distributeBy: "company_id" },
            plans: { reference: true },
        },
        template: "sql/billing/*.sql",
        tenants: "tenants/billing.json",
    },
    clinics: { model: "schema", template: "sql/clinic/*.sql", tenants: "tenants/clinics.json" },
    vaults: { model: "database", template: "sql/vault/*.sql", tenants: "tenants/vaults.json" },
    regions: { model: "routed", tenants: "tenants/regions.json" },
};

const key = (prefix: string, i: number) => `${prefix}${String(i).padStart(3, "0")}`;
const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
const KEYS: Readonly<Record<GroupName, (i: number) => string>> = {
    billing: String,
    clinics: (i) => key("c", i),
    vaults: (i) => key("v", i),
    regions: (i) => key("r", i),
};

let stack: TestStack;
/** Seconds of a preview of the cluster without tenants. */
let bare: number;
let prints: Record<string, string>;

/** The groups' files with `more` tenants each. */
function writeTenants(more = 0): void {
    for (const group of Object.keys(COUNTS) as GroupName[]) {
        const tenants = range(COUNTS[group] + more).map((i) => [
            KEYS[group](i),
            group === "regions" ? { host: `pg-${i}.example.com` } : {},
        ]);
        stack.write(`tenants/${group}.json`, JSON.stringify(Object.fromEntries(tenants)));
    }
}

async function seconds(
    work: () => Promise<{ code: number; output: string }>,
): Promise<{ took: number; output: string }> {
    const began = Date.now();
    const ran = await work();
    assert.equal(ran.code, 0, ran.output);
    return { took: (Date.now() - began) / 1000, output: ran.output };
}

/** The quicker of two, because the machine is shared. */
async function previewSeconds(): Promise<number> {
    const runs = [await seconds(() => stack.pulumi(["preview"])), await seconds(() => stack.pulumi(["preview"]))];
    return Math.min(...runs.map(({ took }) => took));
}

const ledger = () =>
    stack.sql<{ grp: string; tenant: string; state: string; node: string | null; version: string }>(
        "SELECT grp, tenant, state, node, xmin::text AS version FROM citus_as_code.tenant ORDER BY 1, 2",
    );

/** Rows of every kind of tenant that the cluster serves. */
async function print(): Promise<Record<string, string>> {
    const session = await stack.session();
    return fingerprint(session, ["companies", "users", "plans", "c001.patients", "c150.visits", "c300.patients"]);
}

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
    stack.write("sql/billing/1.sql", BILLING);
    stack.write("sql/clinic/1.sql", CLINIC);
    stack.write("sql/vault/1.sql", VAULT);
});

afterAll(async () => {
    await stack?.destroy();
    assert.deepEqual(stack?.leftovers() ?? [], [], "destroy left something behind");
});

test("a cluster, and then 1,340 tenants in it by one pulumi up", async () => {
    await stack.up();
    bare = await previewSeconds();
    writeTenants();
    await stack.config({ tenantGroups: GROUPS });
    const ran = await seconds(() => stack.pulumi(["up", "--yes", "--skip-preview"]));
    console.log(`1,340 tenants were made in ${ran.took.toFixed(1)} s`);
    await stack.closeSessions();

    const rows = await ledger();
    for (const group of Object.keys(COUNTS) as GroupName[]) {
        const mine = rows.filter(({ grp }) => grp === group);
        assert.equal(mine.length, COUNTS[group], group);
        assert.ok(
            mine.every(({ state }) => state === "active"),
            group,
        );
    }
    const [found] = await stack.sql<{
        companies: number;
        schemas: number;
        tables: number;
        databases: number;
        reference: number;
    }>(
        `SELECT (SELECT count(*)::int FROM companies) AS companies,
                (SELECT count(*)::int FROM pg_dist_schema) AS schemas,
                (SELECT count(*)::int FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid
                   JOIN pg_dist_schema s ON s.schemaid = c.relnamespace) AS tables,
                (SELECT sum(result::int)::int FROM run_command_on_all_nodes(
                   $$SELECT count(*) FROM pg_database WHERE datname ~ '^v[0-9]{3}$'$$)) AS databases,
                (SELECT count(*)::int FROM pg_dist_placement JOIN pg_dist_shard USING (shardid) WHERE logicalrelid = 'plans'::regclass) AS reference`,
    );
    assert.deepEqual(found, { companies: 1000, schemas: 300, tables: 600, databases: 20, reference: 3 });
});

test("a second up changes nothing, and a preview of them all is quick", async () => {
    await stack.up({}, ["--expect-no-changes"]);
    const took = await previewSeconds();
    console.log(
        `preview: ${bare.toFixed(1)} s without tenants, ${took.toFixed(1)} s with 1,340: ${(took / bare).toFixed(2)} x`,
    );
    assert.ok(took < 3 * bare, `${took} s against ${bare} s`);
});

test("one tenant more in each group touches that one", async () => {
    const before = await ledger();
    writeTenants(1);
    const preview = await seconds(() => stack.pulumi(["preview"]));
    for (const group of Object.keys(COUNTS) as GroupName[])
        assert.match(preview.output, new RegExp(`\\b${KEYS[group](COUNTS[group] + 1)}\\b`), group);
    const ran = await stack.up();
    const [, diagnostics = ""] = ran.output.split("Diagnostics:");
    assert.equal(diagnostics.split("c301: create schema").length, 2, `is not told once:\n${ran.output}`);
    const added = new Set(
        (Object.keys(COUNTS) as GroupName[]).map((group) => `${group} ${KEYS[group](COUNTS[group] + 1)}`),
    );
    const rows = await ledger();
    assert.equal(rows.length, before.length + 4);
    assert.deepEqual(
        rows.filter(({ grp, tenant }) => !added.has(`${grp} ${tenant}`)),
        before,
        "a tenant that nobody named was written to",
    );
    await stack.up({}, ["--expect-no-changes"]);
});

test("a tenant that left the program stays, and is said to", async () => {
    writeTenants(0);
    const ran = await stack.up();
    assert.match(ran.output, /c301/);
    const [row] = await stack.sql<{ n: number }>("SELECT count(*)::int AS n FROM pg_dist_schema");
    assert.equal(row?.n, 301);
});

/** Somebody who logs in with what `npm run tenants -- password` prints, on a node's own port or its pool's. */
async function login(name: string, node: string, pooled: boolean): Promise<pg.Client> {
    const shown = await logins(name);
    const url = new URL(shown);
    const access = await accessTo(node);
    const port = pooled
        ? Number(
              docker(["port", stack.container(node), "6432/tcp"])
                  .trim()
                  .split(":")
                  .at(-1),
          )
        : access.port;
    const client = new pg.Client({
        host: "127.0.0.1",
        port,
        user: decodeURIComponent(url.username),
        password: decodeURIComponent(url.password),
        database: url.pathname.slice(1),
        ssl: { ca: access.ca, servername: "localhost" },
    });
    client.on("error", () => undefined);
    await client.connect();
    return client;
}

const known = new Map<string, Promise<string>>();
/** Asked once each: a command takes seconds. */
function logins(name: string): Promise<string> {
    const found =
        known.get(name) ??
        stack.npm("tenants", "password", name).then(({ code, stdout, output }) => {
            assert.equal(code, 0, output);
            return stdout.trim();
        });
    known.set(name, found);
    return found;
}

const reached = new Map<string, ReturnType<TestStack["access"]>>();
function accessTo(node: string) {
    const found = reached.get(node) ?? stack.access(node);
    reached.set(node, found);
    return found;
}

const NODES = ["coordinator", "worker-1", "worker-2"];

/** The groups with a pool where one can be. */
const pooled = () =>
    Object.fromEntries(
        Object.entries(GROUPS).map(([name, group]) => [name, name === "regions" ? group : { ...group, pool: true }]),
    );

test("no tenant reads or writes another's, in any model, from any node, by itself and through the pool", async () => {
    stack.write("sql/desk/1.sql", DESK);
    await stack.up({ tenantGroups: { ...pooled(), desk: DESK_GROUP } });
    await stack.sql(
        `INSERT INTO users SELECT c, u, md5((c * 1000 + u)::text) FROM generate_series(1, 1000) c, generate_series(1, 5) u;
         INSERT INTO plans SELECT i, 'plan ' || i FROM generate_series(1, 10) i;
         INSERT INTO c001.patients SELECT i, md5(i::text) FROM generate_series(1, 500) i;
         INSERT INTO c150.patients SELECT i, md5(i::text) FROM generate_series(1, 500) i;
         INSERT INTO c150.visits SELECT i, i FROM generate_series(1, 500) i;
         INSERT INTO c300.patients SELECT i, md5(i::text) FROM generate_series(1, 500) i`,
    );
    await stack.sql(
        "INSERT INTO tickets SELECT d, t, md5(t::text) FROM generate_series(1, 2) d, generate_series(1, 7) t",
    );

    /** As a group's application: one tenant's rows are counted, another's are none, and can't be made. */
    const asApplication = async (
        group: string,
        table: string,
        column: string,
        own: number,
        nodes: readonly string[],
    ) => {
        for (const node of nodes)
            for (const through of [false, true]) {
                const client = await login(group, node, through);
                const what = `${group} on ${node}${through ? " through its pool" : ""}`;
                try {
                    await client.query("BEGIN");
                    await client.query("SET LOCAL app.tenant = '1'");
                    const count = async (where: string) =>
                        Number((await client.query(`SELECT count(*) AS n FROM ${table} ${where}`)).rows[0].n);
                    assert.equal(await count(""), own, what);
                    assert.equal(await count(`WHERE ${column} = 2`), 0, what);
                    await assert.rejects(
                        client.query(`INSERT INTO ${table} VALUES (2, 99, 'x')`),
                        /violates row-level security policy/,
                        what,
                    );
                    await client.query("ROLLBACK");
                    // what the transaction said is gone with it: without a tenant there is nothing to see
                    assert.equal(await count(""), 0, what);
                } finally {
                    await client.end();
                }
            }
    };
    await asApplication("billing", "users", "company_id", 5, NODES);
    // its tables are the coordinator's own
    await asApplication("desk", "tickets", "desk_id", 7, ["coordinator"]);
    for (const through of [false, true]) {
        const client = await login("desk/1", "coordinator", through);
        assert.equal(Number((await client.query("SELECT count(*) AS n FROM tickets")).rows[0].n), 7);
        await client.end();
    }
    for (const node of NODES)
        for (const through of [false, true]) {
            const client = await login("clinics/c001", node, through);
            assert.equal(Number((await client.query("SELECT count(*) AS n FROM patients")).rows[0].n), 500);
            await assert.rejects(client.query("SELECT * FROM c150.patients"), /permission denied for schema c150/);
            await assert.rejects(
                client.query("INSERT INTO c150.visits VALUES (9999, 1)"),
                /permission denied for schema c150/,
            );
            await client.end();
        }
    // what is shared by all tenants, or asks every node, is nobody's of them
    for (const [name, nodes] of [
        ["billing", NODES],
        ["desk", ["coordinator"]],
        ["desk/1", ["coordinator"]],
        ["clinics/c001", NODES],
    ] as const)
        for (const node of nodes)
            for (const through of [false, true]) {
                const client = await login(name, node, through);
                // its application may use its own group's anchor, and sees no row without a tenant
                for (const sql of [
                    "SELECT * FROM citus_shards",
                    "SELECT * FROM citus_schemas",
                    "SELECT * FROM run_command_on_all_nodes('SELECT 1')",
                    "SELECT * FROM citus_as_code.tenant",
                    "TRUNCATE plans",
                    "INSERT INTO public.plans VALUES (99, 'x')",
                    "UPDATE desks SET id = 3",
                    "DELETE FROM c150.visits",
                ])
                    if (name !== "desk" || !sql.includes("desks"))
                        await assert.rejects(
                            client.query(sql),
                            /permission denied|does not exist/,
                            `${name} on ${node}${through ? " through its pool" : ""}: ${sql}`,
                        );
                await client.end();
            }
    const [home] = await stack.sql<{ node: string }>("SELECT node FROM citus_as_code.tenant WHERE tenant = 'v001'");
    const [other] = await stack.sql<{ tenant: string; node: string }>(
        "SELECT tenant, node FROM citus_as_code.tenant WHERE grp = 'vaults' AND tenant <> 'v001' AND node = $1 ORDER BY 1 LIMIT 1",
        [home?.node],
    );
    for (const through of [false, true]) {
        const client = await login("vaults/v001", home?.node ?? "", through);
        assert.equal(Number((await client.query("SELECT count(*) AS n FROM items")).rows[0].n), 0);
        await client.end();
        known.set(
            "elsewhere",
            logins("vaults/v001").then((url) => url.replace(/\/v001(?=[?]|$)/, `/${other?.tenant}`)),
        );
        await assert.rejects(login("elsewhere", home?.node ?? "", through), /permission denied for database/);
    }
});

test("scale-out and scale-in with all of them in place", async () => {
    prints = await print();
    const tickets = async () => {
        const client = await login("desk/1", "coordinator", false);
        const { rows } = await client.query("SELECT count(*)::int AS n FROM tickets");
        await client.end();
        return rows[0].n;
    };
    // a whole group leaves the program and comes back: its applications log in as before
    const without = await stack.up({ workers: 3, tenantGroups: pooled() });
    assert.match(without.output, /group desk left the program, and nothing of it is deleted: 2 tenants, /);
    assert.deepEqual(await print(), prints);
    assert.equal(await tickets(), 7);
    const back = await stack.up({ workers: 2, tenantGroups: { ...pooled(), desk: DESK_GROUP } });
    assert.doesNotMatch(back.output, /role desk_/);
    assert.deepEqual(await print(), prints);
    assert.equal(await tickets(), 7);
    await stack.up({}, ["--expect-no-changes"]);
    const [row] = await stack.sql<{ databases: number; nodes: number }>(
        `SELECT (SELECT sum(result::int)::int FROM run_command_on_all_nodes(
                   $$SELECT count(*) FROM pg_database WHERE datname ~ '^v[0-9]{3}$'$$)) AS databases,
                (SELECT count(*)::int FROM pg_dist_node) AS nodes`,
    );
    assert.deepEqual(row, { databases: 21, nodes: 3 });
});
