/** citus:postDeploy with the files that people have: each runs rightly, or is refused and says truly what was kept. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { requireEngine, TestStack } from "../lib.ts";

let stack: TestStack;

const LONG = `p_${"x".repeat(55)}`;

/** Every one of them runs with plain `psql -f`. */
const RIGHT: Readonly<Record<string, string>> = {
    "tables.sql": `
CREATE TABLE plans (id int PRIMARY KEY);
SELECT create_reference_table('plans');
CREATE TABLE companies (id bigint PRIMARY KEY, name text);
SELECT create_distributed_table('companies', 'id', shard_count => 4);
CREATE TABLE projects (company_id bigint, id bigint, PRIMARY KEY (company_id, id));
SELECT create_distributed_table('projects', 'company_id', colocate_with => 'companies');
INSERT INTO plans VALUES (1);
INSERT INTO companies SELECT g, 'c' || g FROM generate_series(1, 20) g;
INSERT INTO projects SELECT g, g FROM generate_series(1, 20) g;
`,
    "control.sql": "BEGIN;\nCREATE TABLE control_a (id int);\nCOMMIT;\nCREATE TABLE control_b (id int);\n",
    "rollback.sql": "CREATE TABLE rolled (id int);\nROLLBACK;\n",
    "autocommit.sql": "\\set AUTOCOMMIT off\nCREATE TABLE auto_off (id int);\n",
    "role.sql":
        "CREATE ROLE owner1;\nGRANT CREATE ON SCHEMA public TO owner1;\nSET ROLE owner1;\nCREATE TABLE owned (id int);\n",
    "session.sql":
        "CREATE TABLE session_state (id int);\nSET search_path = '';\nSET statement_timeout = '1ms';\nSET SESSION AUTHORIZATION owner1;\n",
    "two-kinds.sql":
        "ALTER TABLE projects ADD COLUMN plan_id int;\nALTER TABLE projects ADD FOREIGN KEY (plan_id) REFERENCES plans (id);\n",
    "both-kinds.sql":
        "ALTER TABLE projects ADD COLUMN note text;\nALTER TABLE plans ADD COLUMN note text;\nUPDATE projects SET note = 'n';\nUPDATE plans SET note = 'n';\n",
    "enum.sql": `
CREATE TYPE mood AS ENUM ('sad');
CREATE TABLE people (id int PRIMARY KEY, mood mood);
`,
    "enum-use.sql": "ALTER TYPE mood ADD VALUE 'calm';\nINSERT INTO people VALUES (1, 'calm');\n",
    "procedure.sql": `
CREATE TABLE steps (n int);
CREATE PROCEDURE step() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO steps VALUES (1); COMMIT; INSERT INTO steps VALUES (2); END $$;
CALL step();
`,
    "columnar.sql": `
CREATE EXTENSION citus_columnar;
CREATE TABLE events (id bigint, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
SELECT create_distributed_table('events', 'id', shard_count => 4, colocate_with => 'none');
CALL alter_old_partitions_set_access_method('events', now() - interval '1 month', 'columnar');
`,
    "slot.sql":
        "CREATE PUBLICATION changes FOR TABLE steps;\nSELECT pg_create_logical_replication_slot('changes', 'pgoutput');\nSELECT pg_drop_replication_slot('changes');\n",
    "isolate.sql":
        "UPDATE companies SET name = 'five' WHERE id = 5;\nSELECT isolate_tenant_to_new_shard('companies', 5, 'CASCADE', shard_transfer_mode => 'block_writes');\n",
    "deferred.sql": `
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO parents VALUES (1);
INSERT INTO children VALUES (1, 1);
ALTER TABLE children ADD COLUMN note text;
`,
    "long-names.sql": `
CREATE TABLE parts (id bigint, at date) PARTITION BY RANGE (at);
CREATE TABLE ${LONG} PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
SELECT create_distributed_table('parts', 'id', shard_count => 4, colocate_with => 'none');
ALTER TABLE parts ADD CONSTRAINT parts_once UNIQUE (id, at);
`,
    "asked.sql": "-- no transaction\nCREATE TABLE asked (id int);\nCREATE INDEX CONCURRENTLY asked_id ON asked (id);\n",
    "empty.sql": "-- nothing yet\n",
};
const files = Object.keys(RIGHT).map((name) => `sql/${name}`);

const ledger = async () => {
    const rows = await stack.sql<{ path: string }>("SELECT path FROM citus_as_code.post_deploy ORDER BY run_at, path");
    return rows.map(({ path }) => path);
};
const there = async (...tables: string[]) => {
    const rows = await stack.sql<{ name: string }>(
        "SELECT t.name FROM unnest($1::text[]) t (name) WHERE to_regclass('public.' || t.name) IS NOT NULL ORDER BY 1",
        [tables],
    );
    return rows.map(({ name }) => name);
};

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({
        workers: 2,
        worker: { memory: "512MB" },
        backup: false,
        rebalance: false,
        postDeploy: files,
    });
    for (const [name, sql] of Object.entries(RIGHT)) stack.write(`sql/${name}`, sql);
});

afterAll(async () => {
    await stack?.destroy();
});

test("files that psql -f runs are run, whatever transaction, session or mode they need", async () => {
    await stack.up();
    assert.deepEqual((await ledger()).sort(), [...files].sort());
    const tables = ["control_a", "control_b", "rolled", "auto_off", "owned", "session_state", "asked"];
    assert.deepEqual(await there(...tables), [...tables].sort());
    const [facts] = await stack.sql(`
        SELECT (SELECT mood::text FROM people) AS mood, (SELECT sum(n)::int FROM steps) AS steps,
               (SELECT tableowner FROM pg_tables WHERE tablename = 'owned') AS owner,
               (SELECT a.amname FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.relname = 'events_old') AS method,
               (SELECT count(*)::int FROM pg_constraint WHERE conrelid = 'projects'::regclass AND contype = 'f') AS keys,
               (SELECT count(*)::int FROM projects WHERE note = 'n') AS noted,
               (SELECT count(*)::int FROM pg_dist_shard WHERE logicalrelid = 'companies'::regclass) AS shards,
               (SELECT count(*)::int FROM children) AS children,
               (SELECT count(*)::int FROM pg_constraint WHERE conname = 'parts_once') AS once`);
    assert.deepEqual(facts, {
        mood: "calm",
        steps: 3,
        owner: "owner1",
        method: "columnar",
        keys: 1,
        noted: 20,
        shards: 6,
        children: 1,
        once: 1,
    });
    await stack.up({}, ["--expect-no-changes"]);
});

test("a file that psql's own commands would take out of the run is refused before anything runs, with its line", async () => {
    stack.write("sql/connect.sql", "CREATE TABLE never (id int);\n\\connect postgres\n");
    stack.write("sql/on.sql", "\\set ON_ERROR_STOP off\nCREATE TABLE never (id int);\n\\ir other.sql\n");
    const refused = await stack.tryUp({ postDeploy: [...files, "sql/connect.sql", "sql/on.sql"] });
    assert.notEqual(refused.code, 0);
    for (const mistake of [
        /postDeploy\[\d+\].*sql\/connect\.sql:2 has \\connect postgres/,
        /postDeploy\[\d+\].*sql\/on\.sql:1 has \\set ON_ERROR_STOP off/,
        /postDeploy\[\d+\].*sql\/on\.sql:3 has \\ir other\.sql/,
    ])
        assert.match(refused.output, mistake);
    assert.deepEqual(await there("never"), []);
});

for (const { name, sql, says, kept } of [
    {
        name: "plain.sql",
        sql: "CREATE TABLE plain_a (id int);\nSELECT nonsense;\n",
        says: [/sql\/plain\.sql:2: ERROR: +column "nonsense"/, /It ran in a transaction, so nothing of it was kept\./],
        kept: [],
    },
    {
        name: "half.sql",
        sql: "BEGIN;\nCREATE TABLE half_a (id int);\nCOMMIT;\nCREATE TABLE half_b (id int);\nSELECT nonsense;\n",
        says: [/sql\/half\.sql:5: ERROR/, /because line 1 has BEGIN\. What it had committed before the error was kept/],
        kept: ["half_a", "half_b"],
    },
    {
        name: "open.sql",
        sql: "CREATE TABLE open_a (id int);\nBEGIN;\nCREATE TABLE open_b (id int);\n",
        says: [/It left a transaction open, which was rolled back/, /was kept/],
        kept: ["open_a"],
    },
    {
        name: "hidden.sql",
        sql: "CREATE TABLE hidden_a (id int);\nSELECT 'COMMIT' \\gexec\n",
        says: [/It ended the transaction that it ran in/, /What it had committed by itself was kept/],
        kept: ["hidden_a"],
    },
    {
        name: "read-only.sql",
        sql: "CREATE TABLE readonly_a (id int);\nSET transaction_read_only = on;\n",
        says: [/It made its transaction read-only/, /nothing of it was kept/],
        kept: [],
    },
])
    test(`${name}: what is said of what was kept is true, and the file counts as not run`, async () => {
        stack.write(`sql/${name}`, sql);
        const failed = await stack.tryUp({ postDeploy: [...files, `sql/${name}`] });
        assert.notEqual(failed.code, 0);
        for (const text of says) assert.match(failed.output, text);
        const made = [...sql.matchAll(/CREATE TABLE (\w+)/g)].map((found) => found[1] as string);
        assert.deepEqual(await there(...made), kept);
        assert.ok(!(await ledger()).includes(`sql/${name}`));
    });
