/**
 * A thousand row tenants, three hundred schemas, twenty databases and twenty routed ones in one cluster, by the commands
 * that a user has: a second `up` changes nothing, one tenant more touches that one, workers come and go under all of them.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fingerprint, requireEngine, TestStack } from "../lib.ts";

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

before(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
    stack.write("sql/billing/1.sql", BILLING);
    stack.write("sql/clinic/1.sql", CLINIC);
    stack.write("sql/vault/1.sql", VAULT);
});

after(async () => {
    await stack?.destroy();
    assert.deepEqual(stack?.leftovers() ?? [], [], "destroy left something behind");
});

test("a cluster, and then 1,340 tenants in it by one pulumi up", async () => {
    await stack.up();
    bare = await previewSeconds();
    writeTenants();
    await stack.config({
        tenantGroups: {
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
        },
    });
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
    await stack.up();
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

test("scale-out and scale-in with all of them in place", async () => {
    const session = await stack.session();
    await session.query(
        `INSERT INTO users SELECT c, u, md5((c * 1000 + u)::text) FROM generate_series(1, 1000) c, generate_series(1, 5) u;
         INSERT INTO plans SELECT i, 'plan ' || i FROM generate_series(1, 10) i;
         INSERT INTO c001.patients SELECT i, md5(i::text) FROM generate_series(1, 500) i;
         INSERT INTO c150.patients SELECT i, md5(i::text) FROM generate_series(1, 500) i;
         INSERT INTO c150.visits SELECT i, i FROM generate_series(1, 500) i;
         INSERT INTO c300.patients SELECT i, md5(i::text) FROM generate_series(1, 500) i`,
    );
    prints = await print();
    await stack.up({ workers: 3 });
    assert.deepEqual(await print(), prints);
    await stack.up({ workers: 2 });
    assert.deepEqual(await print(), prints);
    await stack.up({}, ["--expect-no-changes"]);
    const [row] = await stack.sql<{ databases: number; nodes: number }>(
        `SELECT (SELECT sum(result::int)::int FROM run_command_on_all_nodes(
                   $$SELECT count(*) FROM pg_database WHERE datname ~ '^v[0-9]{3}$'$$)) AS databases,
                (SELECT count(*)::int FROM pg_dist_node) AS nodes`,
    );
    assert.deepEqual(row, { databases: 21, nodes: 3 });
});
