/** Each broken case of the check, built on a real cluster: Citus says what the check foretold, and the fix mends it. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, test } from "vitest";
import { type Finding, lintDatabase, lintSql } from "../../core/tenants/check/lint.ts";
import { requireEngine, TestStack } from "../lib.ts";
import { type Cluster, declaredOf, fileOf, foretold, LINT_CASES, type LintCase, lineOf } from "../lintCases.ts";

const FILE = "sql/001.sql";
let stack: TestStack;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 4, backup: false });
    await stack.up();
    // its script resets the search_path of whoever makes it
    await stack.sql("CREATE EXTENSION citus_columnar");
    await stack.sql(
        "CREATE ROLE lint_reader LOGIN; CREATE ROLE lint_owner LOGIN; GRANT CREATE ON DATABASE app TO lint_owner",
    );
});

afterAll(() => stack?.destroy());

const shown = (findings: readonly Finding[]) => findings.map(({ rule, where, says }) => `${rule} ${where}: ${says}`);

/** What the check says of the case's own tables. */
const online = async (one: LintCase, { coordinator, schema }: Cluster) =>
    (await lintDatabase(coordinator, declaredOf(one, schema))).filter(
        ({ rule, where }) => rule === one.rule && where.startsWith(`${schema}.`),
    );

/** What the database says when one goes on; undefined when it goes well. */
const said = async (one: LintCase, cluster: Cluster) => {
    try {
        return one.silent && (await one.goOn(cluster)) === true
            ? "harm"
            : await one.goOn(cluster).then(() => undefined);
    } catch (error) {
        return (error as Error).message;
    } finally {
        await cluster.coordinator.query("ROLLBACK");
    }
};

describe("each broken case", () => {
    LINT_CASES.forEach((one, i) => {
        test(`${one.rule}: ${one.title}`, async () => {
            const schema = `lint_${i}`;
            const cluster: Cluster = {
                coordinator: await stack.session(),
                worker: await stack.session("worker-1"),
                schema,
            };
            const sql = fileOf(one, schema);
            const declared = declaredOf(one, schema);
            const [found] = (await lintSql([{ path: FILE, sql }], declared)).filter(({ rule }) => rule === one.rule);
            assert.ok(found);
            assert.equal(found.line, lineOf(sql));

            await stack.sql("SET row_security = on");
            if (one.model === "schema") await stack.sql("SET citus.enable_schema_based_sharding = on");
            await stack.sql(`CREATE SCHEMA ${schema}`);
            await stack.sql(`RESET citus.enable_schema_based_sharding; SET search_path = ${schema}`);
            for (const statement of (sql.split("-- refused\n")[0] ?? "").split(/;\n|; -- here\n/))
                await stack.sql(statement);
            const living = await online(one, cluster);
            if (one.online) assert.equal(living.length, 1, shown(living).join("\n"));

            const error = await said(one, cluster);
            if (one.silent) assert.equal(error, "harm");
            else assert.ok(foretold(found.later, error ?? ""), `foretold: ${found.later}\nsaid: ${error}`);

            const fix = one.fixOnline ? (await online(one, cluster))[0]?.fix : found.fix;
            assert.ok(fix);
            if (one.advice || fix.includes("/* ")) return;
            // one by one, as psql does: Citus hands some statements on with the whole text that they came in
            for (const statement of fix.split(/;\s+(?=[A-Z])/)) await stack.sql(statement);
            if (!one.onlyOnce) assert.equal(await said(one, cluster), undefined);
            assert.deepEqual(shown(await online(one, cluster)), []);
        });
    });
});

test("several groups see their own tables, and the same mistake in many schemas is said once", async () => {
    for (const statement of [
        "RESET search_path",
        "CREATE SCHEMA lint_groups",
        "CREATE TABLE lint_groups.notes (id bigint PRIMARY KEY, tenant bigint NOT NULL)",
        "CREATE INDEX ON lint_groups.notes (tenant)",
        "CREATE TABLE lint_groups.firms (id bigint PRIMARY KEY)",
        "CREATE TABLE lint_groups.staff (id bigint PRIMARY KEY, firm bigint NOT NULL)",
        ...["a", "b", "c"].flatMap((name) => [
            "SET citus.enable_schema_based_sharding = on",
            `CREATE SCHEMA lint_many_${name}`,
            "RESET citus.enable_schema_based_sharding",
            `CREATE TABLE lint_many_${name}.visits (at timestamptz)`,
        ]),
    ])
        await stack.sql(statement);
    const findings = await lintDatabase(await stack.session(), [
        { model: "rls", tables: { "lint_groups.notes": { kind: "distributed", column: "tenant" } } },
        {
            model: "row",
            anchor: "lint_groups.firms",
            tables: {
                "lint_groups.firms": { kind: "distributed", column: "id" },
                "lint_groups.staff": { kind: "distributed", column: "firm" },
            },
        },
    ]);
    assert.deepEqual(
        findings.flatMap(({ rule, where }) => (where.startsWith("lint_groups.") ? [`${rule} ${where}`] : [])),
        ["L25 lint_groups.notes", "L1 lint_groups.staff"],
    );
    const many = findings.filter(({ where }) => where.startsWith("lint_many_"));
    assert.deepEqual(shown(many).length, 1, shown(many).join("\n"));
    assert.match(many[0]?.says ?? "", /\(and the same in 2 other schemas\)$/);
});

test("policies that differ on a worker, and a subscription into a distributed table", async () => {
    const worker = await stack.session("worker-1");
    for (const statement of [
        "RESET search_path",
        "CREATE SCHEMA lint_nodes",
        "CREATE TABLE lint_nodes.t (c bigint PRIMARY KEY)",
        "SELECT create_distributed_table('lint_nodes.t', 'c')",
        "ALTER TABLE lint_nodes.t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON lint_nodes.t USING (c = nullif(current_setting('app.tenant', true), '')::bigint)",
    ])
        await stack.sql(statement);
    const findings = async () =>
        (await lintDatabase(await stack.session()))
            .filter(({ where }) => where.includes("lint_nodes"))
            .map(({ rule, later }) => `${rule} ${later}`);
    assert.deepEqual(await findings(), []);
    await worker.query("SET citus.enable_ddl_propagation = off");
    await worker.query("ALTER POLICY own ON lint_nodes.t USING (true)");
    await worker.query("RESET citus.enable_ddl_propagation");
    assert.deepEqual(await findings(), [
        "L12 no error: rows are shown or hidden depending on the node that they are on",
    ]);

    // as a subscription leaves it once it has copied the table
    await stack.sql("CREATE SUBSCRIPTION lint_sub CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)");
    await stack.sql(
        "INSERT INTO pg_subscription_rel SELECT oid, 'lint_nodes.t'::regclass, 'r', NULL FROM pg_subscription WHERE subname = 'lint_sub'",
    );
    assert.deepEqual((await findings()).sort(), [
        "DATA no error: the rows arrive where no query sees them",
        "L12 no error: rows are shown or hidden depending on the node that they are on",
    ]);
});
