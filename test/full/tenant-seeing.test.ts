/** Who else sees tenants (sign-in, readers), and what is seen of them: costly statements, shares, activity, transactions. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, describe, it } from "vitest";
import { readNodes } from "../../core/citus/catalog.ts";
import { readActivity } from "../../core/citus/health/activity.ts";
import { needsAttention, sentence } from "../../core/citus/health/read/finding.ts";
import { preparedFindings, readTransactions } from "../../core/citus/health/read/transactions.ts";
import { failedJob } from "../../core/citus/rebalance/jobTasks.ts";
import type { Session } from "../../core/reach/session.ts";
import { readHot } from "../../core/tenants/ask/hot.ts";
import type { GroupSpec } from "../../core/tenants/group/spec.ts";
import { explainStatement } from "../../scripts/tenants/explain.ts";
import { findSlow, renderSlow } from "../../scripts/tenants/slow.ts";
import { requireEngine, TestStack, until } from "../lib.ts";
import { as, EMPTY, fileSpec, plan, settle } from "../tenants.ts";

const FILES: Readonly<Record<string, string>> = {
    "billing.sql": `CREATE TABLE companies (id bigint PRIMARY KEY, name text);
        CREATE TABLE users (company_id bigint, id bigint, email varchar(200), secret text, PRIMARY KEY (company_id, id));
        CREATE TABLE plans (id int PRIMARY KEY, name text);`,
    "teams.sql": `CREATE TABLE teams (id uuid PRIMARY KEY, name text);
        CREATE TABLE members (team uuid, id int, email text, PRIMARY KEY (team, id));`,
    "clinics.sql": "CREATE TABLE visits (id int PRIMARY KEY, body text);",
};
const file = (name: string) => fileSpec(name, FILES[name] ?? "");

const billing: GroupSpec = {
    ...EMPTY,
    name: "billing",
    model: "row",
    anchor: "companies",
    template: [file("billing.sql")],
    tables: {
        companies: { kind: "distributed", column: "id" },
        users: { kind: "distributed", column: "company_id" },
        plans: { kind: "reference" },
    },
    tenants: { 1: {}, 2: { role: true }, 42: {} },
    reader: true,
    signIn: { table: "users", column: "email" },
};
const TEAM = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
const teams: GroupSpec = {
    ...EMPTY,
    name: "crew",
    model: "rls",
    anchor: "teams",
    template: [file("teams.sql")],
    tables: { teams: { kind: "distributed", column: "id" }, members: { kind: "distributed", column: "team" } },
    tenants: { [TEAM]: {} },
    reader: true,
    signIn: { table: "members", column: "email" },
};
const clinics: GroupSpec = {
    ...EMPTY,
    name: "clinics",
    model: "schema",
    template: [file("clinics.sql")],
    tenants: { acme: { role: true }, globex: { role: true } },
    reader: true,
};

let stack: TestStack;
let session: Session;

const up = async (group: GroupSpec) => {
    const ran = await settle(stack, group, FILES);
    session = await stack.session();
    return ran.steps.map(({ text }) => text);
};
const planned = async (group: GroupSpec) => (await plan(stack, group)).steps.map(({ text }) => text);

/** As a role of the application, closed afterwards. */
async function asRole<T>(
    role: string,
    use: (client: Awaited<ReturnType<typeof as>>) => Promise<T>,
    node = "coordinator",
) {
    const client = await as(stack, role, node);
    try {
        return await use(client);
    } finally {
        await client.close();
    }
}

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
    await stack.up();
    for (const group of [billing, teams, clinics]) await up(group);
    await session.query(
        `INSERT INTO users SELECT c, u, u || '@' || c, 'secret' FROM unnest('{1,2,42}'::bigint[]) c, generate_series(1, 5) u`,
    );
    await session.query("INSERT INTO users VALUES (1, 99, 'both@example.com', 's'), (42, 99, 'both@example.com', 's')");
    await session.query("INSERT INTO plans VALUES (1, 'free')");
    await session.query(`INSERT INTO members VALUES ('${TEAM}', 1, 'ada@example.com')`);
    await session.query("INSERT INTO acme.visits VALUES (1, 'a')");
    await session.query("INSERT INTO globex.visits VALUES (1, 'b'), (2, 'b')");
});

afterAll(() => stack?.destroy());

describe("sign-in without knowing the tenant", () => {
    const ask = (value: string | null, role = "billing_app") =>
        asRole(role, async (client) =>
            (await client.query<{ key: string }>("SELECT citus_as_code.sign_in_billing($1) AS key", [value])).map(
                ({ key }) => key,
            ),
        );

    it("is made once, and gives the tenants of one value", async () => {
        for (const group of [billing, teams]) assert.deepEqual(await planned(group), []);
        assert.deepEqual(await ask("3@42"), ["42"]);
        assert.deepEqual(await ask("both@example.com"), ["1", "42"]);
        for (const nobody of ["3@43", "", "%", null]) assert.deepEqual(await ask(nobody), []);
        const found = await asRole("crew_app", (client) =>
            client.query("SELECT citus_as_code.sign_in_crew('ada@example.com') AS key"),
        );
        assert.deepEqual(found, [{ key: TEAM }]);
        await asRole("billing_app", async (client) =>
            assert.deepEqual(await client.query("SELECT * FROM users"), [], "no row without a tenant"),
        );
    });

    it("is nobody else's, and its role reads two columns and lets nobody in", async () => {
        await assert.rejects(ask("3@42", "billing_2"), /permission denied/);
        await assert.rejects(ask("3@42", "crew_app"), /permission denied/);
        await assert.rejects(as(stack, "billing_sign_in"), /password authentication failed/);
        await session.query("SET ROLE billing_sign_in");
        try {
            assert.equal((await session.query("SELECT company_id, email FROM users")).length, 17);
            for (const sql of [
                "SELECT secret FROM users",
                "SELECT * FROM companies",
                "DELETE FROM users",
                "SELECT detail FROM citus_as_code.tenant",
            ])
                await assert.rejects(session.query(sql), /permission denied/, sql);
        } finally {
            await session.query("RESET ROLE");
        }
        const { tasks } = await explainStatement(session, "SELECT company_id FROM users WHERE email = 'x'");
        assert.equal(tasks, 8, "each shard by its index");
        const indexes = await session.query(
            "SELECT FROM pg_indexes WHERE tablename = 'users' AND indexdef LIKE '%(email)%'",
        );
        assert.equal(indexes.length, 1);
    });

    it("does not find a tenant that went to another group", async () => {
        await session.query(
            "UPDATE citus_as_code.tenant SET state = 'superseded' WHERE (grp, tenant) = ('billing', '42')",
        );
        assert.deepEqual(await ask("both@example.com"), ["1"]);
        await session.query("UPDATE citus_as_code.tenant SET state = 'active' WHERE (grp, tenant) = ('billing', '42')");
        assert.deepEqual(await planned(billing), []);
    });

    it("is mended when somebody changes it, and goes when the program says so", async () => {
        const off = "SET LOCAL citus.enable_ddl_propagation = off";
        for (const sql of [
            "GRANT SELECT ON companies TO billing_sign_in",
            "GRANT SELECT (secret) ON users TO billing_sign_in",
            `BEGIN; ${off}; GRANT EXECUTE ON FUNCTION citus_as_code.sign_in_billing TO PUBLIC; COMMIT`,
            `BEGIN; ${off}; CREATE OR REPLACE FUNCTION citus_as_code.sign_in_billing(varchar) RETURNS SETOF text LANGUAGE sql AS 'SELECT NULL::text'; COMMIT`,
            "ALTER ROLE billing_sign_in PASSWORD 'x'",
        ]) {
            await session.query(sql);
            const steps = await planned(billing);
            assert.equal(steps.length, 1, `${sql}: ${steps.join("; ")}`);
            await up(billing);
            assert.deepEqual(await planned(billing), [], sql);
        }
        assert.deepEqual(await ask("3@42"), ["42"]);
        const { signIn: _, ...without } = billing;
        assert.match((await up(without)).join(), /sign_in_billing\(\) and its role go/);
        assert.deepEqual(await planned(without), []);
        await assert.rejects(ask("3@42"), /does not exist/);
        assert.deepEqual(await session.query("SELECT FROM pg_roles WHERE rolname = 'billing_sign_in'"), []);
        await up(billing);
        assert.deepEqual(await ask("3@42"), ["42"]);
    });
});

describe("a reader of all tenants", () => {
    const reads = (role: string, sql: string, node?: string) =>
        asRole(
            role,
            async (client) => (await client.query<{ n: string }>(`SELECT count(*) AS n FROM ${sql}`))[0]?.n,
            node,
        );

    it("reads every tenant's rows in each model, from any node, and writes none", async () => {
        assert.deepEqual(await planned(clinics), []);
        for (const node of ["coordinator", "worker-1"]) {
            assert.equal(await reads("billing_reader", "users", node), "17");
            assert.equal(await reads("billing_reader", "plans", node), "1");
            assert.equal(await reads("clinics_reader", "(TABLE acme.visits UNION ALL TABLE acme.visits) v", node), "2");
            assert.equal(await reads("clinics_reader", "globex.visits", node), "2");
        }
        assert.equal(await reads("crew_reader", "members"), "1");
        const writes: readonly (readonly [string, string])[] = [
            ["billing_reader", "INSERT INTO users VALUES (1, 1000, 'x', 'x')"],
            ["billing_reader", "DELETE FROM users WHERE company_id = 1"],
            ["billing_reader", "TRUNCATE plans"],
            ["clinics_reader", "UPDATE acme.visits SET body = 'x'"],
            ["clinics_reader", "CREATE TABLE acme.mine (id int)"],
            ["crew_reader", "DELETE FROM members"],
        ];
        for (const [role, sql] of writes)
            await asRole(role, async (client) => {
                await client.query("SET default_transaction_read_only = off");
                await assert.rejects(client.query(sql), /permission denied|must be owner/, sql);
            });
        await assert.rejects(reads("billing_reader", "members"), /permission denied/, "another group's");
        await assert.rejects(reads("clinics_reader", "users"), /permission denied/);
    });

    it("is mended when somebody changes it", async () => {
        for (const [group, sql] of [
            [billing, "GRANT INSERT ON users TO billing_reader"],
            [billing, "REVOKE SELECT ON companies FROM billing_reader"],
            [billing, "ALTER ROLE billing_reader NOBYPASSRLS"],
            [clinics, "CREATE TABLE acme.later (id int PRIMARY KEY)"],
            [clinics, "GRANT DELETE ON globex.visits TO clinics_reader"],
        ] as const) {
            await session.query(sql);
            const steps = await planned(group);
            assert.equal(steps.length, 1, `${sql}: ${steps.join("; ")}`);
            await up(group);
            assert.deepEqual(await planned(group), [], sql);
        }
        assert.equal(await reads("clinics_reader", "acme.later"), "0");
        for (const [role, member] of [
            ["pg_write_all_data", "billing_reader"],
            ["billing_sign_in", "billing_app"],
        ]) {
            await session.query(`GRANT ${role} TO ${member}`);
            assert.match(
                (await plan(stack, billing)).refusals.join(),
                new RegExp(`role ${member} is a member of ${role}`),
            );
            await session.query(`REVOKE ${role} FROM ${member}`);
        }
    });

    it("is out when the program has it no more", async () => {
        const open = await as(stack, "billing_reader");
        assert.match(
            (await up({ ...billing, reader: false })).join(),
            /role billing_reader may not log in and read any more/,
        );
        await assert.rejects(open.query("SELECT 1"), /terminat|closed|not queryable|ECONNRESET|EPIPE/);
        await assert.rejects(as(stack, "billing_reader"), /password|not permitted to log in/);
        assert.deepEqual(await planned({ ...billing, reader: false }), []);
        assert.match((await up({ ...clinics, reader: false })).join(), /clinics_reader may not log in/);
        await up(billing);
        assert.equal(await reads("billing_reader", "users"), "17");
    });
});

describe("what is seen of tenants", () => {
    const every = async (sql: string) => {
        for (const node of ["coordinator", "worker-1", "worker-2"]) await (await stack.session(node)).query(sql);
    };

    it("the statements that cost most, whichever node took them, with what each asks", async () => {
        await every("SELECT pg_stat_statements_reset()");
        for (const node of ["coordinator", "worker-1"])
            await asRole(
                "billing_app",
                async (client) => {
                    await client.query("BEGIN");
                    await client.query("SET LOCAL app.tenant = '42'");
                    await client.query("SELECT * FROM users WHERE email = 'x'");
                    await client.query("SELECT * FROM users WHERE company_id = $1 AND id = ANY ($2)", [42, [1, 2]]);
                    await client.query("COMMIT");
                },
                node,
            );
        await asRole("clinics_acme", (client) => client.query("SELECT body FROM visits WHERE id = 1"));
        const slow = await findSlow(session, 50);
        assert.deepEqual(slow.silent, []);
        const of = (text: string, role: string) =>
            slow.statements.find((one) => one.text.startsWith(text) && one.role === role);
        const all = of("SELECT * FROM users WHERE email", "billing_app");
        assert.deepEqual(
            [all?.calls, all?.nodes.toSorted(), all?.advice?.tasks, all?.advice?.verdict],
            [2, ["coordinator", "worker-1"], 8, "all"],
        );
        const one = of("SELECT * FROM users WHERE company_id", "billing_app");
        assert.deepEqual([one?.calls, one?.advice?.tasks, one?.advice?.verdict], [2, 1, "one"]);
        assert.equal(of("SELECT body FROM visits", "clinics_acme")?.advice?.tasks, 1, "by its role's search_path");
        assert.ok(
            !slow.statements.some(({ text }) => /users_\d{6}|pg_dist/.test(text)),
            "no shard's, none of Citus' own",
        );
        assert.match(renderSlow(slow), /every shard: The statement asks 8 of 8 shards of users/);

        // the cure can be pasted, and cures
        for (const sql of (all?.advice?.cure ?? []).filter((line) => !line.startsWith("--"))) await session.query(sql);
        const lookup = await explainStatement(session, "SELECT company_id FROM users_by_email WHERE email = '3@42'");
        assert.deepEqual([lookup.verdict, lookup.tasks], ["one", 1]);
        assert.deepEqual(await session.query("SELECT company_id FROM users_by_email WHERE email = '3@42'"), [
            { company_id: "42" },
        ]);
        await session.query("DROP TABLE users_by_email");
    });

    it("each tenant's share, and that a node does not count", async () => {
        assert.deepEqual((await readHot(session))?.untracked.toSorted(), ["coordinator", "worker-1", "worker-2"]);
        await every("ALTER SYSTEM SET citus.stat_tenants_track = 'all'");
        await every("SELECT pg_reload_conf()");
        try {
            await until("tracking", 10, async () => (await readHot(session))?.untracked.length === 0);
            for (let i = 0; i < 9; i++) await session.query("SELECT count(*) FROM users WHERE company_id = 42");
            await session.query("SELECT count(*) FROM acme.visits");
            const hot = await readHot(session);
            assert.deepEqual(hot?.tenants.map(({ group, tenant, queries }) => [group, tenant, queries]).toSorted(), [
                ["billing", "42", 9],
                ["clinics", "acme", 1],
            ]);
            assert.ok((hot?.tenants.reduce((sum, { cpuShare }) => sum + cpuShare, 0) ?? 0) > 0.99);
        } finally {
            await every("ALTER SYSTEM RESET citus.stat_tenants_track");
            await every("SELECT pg_reload_conf()");
        }
    });

    it("who works for which tenant, and whom they wait for", async () => {
        const [holder, waiter] = [await as(stack, "billing_2", "worker-1"), await as(stack, "billing_2")];
        await holder.query("BEGIN");
        await holder.query("UPDATE users SET secret = 'x' WHERE company_id = 2 AND id = 1");
        const waits = waiter.query("UPDATE users SET secret = 'y' WHERE company_id = 2 AND id = 1");
        await until("a wait that is seen", 15, async () => {
            const { active } = await readActivity(session);
            const waiting = active.find(({ waitsFor }) => waitsFor.length > 0);
            const holds = active.find(({ gpid }) => gpid === waiting?.waitsFor[0]);
            return (
                waiting?.tenant === "billing/2" &&
                waiting.node === "coordinator" &&
                holds?.node === "worker-1" &&
                holds.state === "idle in transaction"
            );
        });
        await holder.query("COMMIT");
        await waits;
        await holder.close();
        await waiter.close();
    });

    it("transactions over several nodes, those in doubt with what was decided, and a rebalance that was given up", async () => {
        const before = await readTransactions(session);
        await session.query("SET citus.enable_stat_counters = on");
        // enough companies for both nodes
        await session.query("INSERT INTO users SELECT c, 1, 'x', 'z' FROM generate_series(100, 120) c");
        await session.query("SELECT pg_stat_force_next_flush()");
        await until("what was counted", 10, async () => {
            const now = await readTransactions(session);
            return (now?.prepares ?? 0) > (before?.prepares ?? 0) && (now?.commits ?? 0) > (before?.commits ?? 0);
        });

        const worker = await stack.session("worker-1");
        // Citus' recovery would end them
        await every("ALTER SYSTEM SET citus.recover_2pc_interval = -1");
        await every("SELECT pg_reload_conf()");
        // a name as Citus gives it, of a node that is not there, and one whose node decided to commit it
        for (const gid of ["citus_77_1_1_1", "citus_0_999999_1_1", "by hand"]) {
            await worker.query("BEGIN");
            await worker.query(`SELECT pg_advisory_xact_lock_shared(${gid.length})`);
            await worker.query(`PREPARE TRANSACTION '${gid}'`);
        }
        try {
            await session.query("INSERT INTO pg_dist_transaction (groupid, gid) VALUES (1, 'citus_0_999999_1_1')");
            await until(
                "that they are a minute old",
                90,
                async () => (await readTransactions(session))?.prepared.length === 3,
            );
            const found = await readTransactions(session);
            assert.ok(found);
            const said = preparedFindings(found, await readNodes(session));
            const problems = said.filter(needsAttention).map(sentence);
            const notes = said.filter((finding) => !needsAttention(finding)).map(sentence);
            assert.match(problems.join("\n"), /worker-1: .*'citus_77_1_1_1'.*has left the cluster/);
            assert.match(notes.join("\n"), /'citus_0_999999_1_1'.*coordinator committed it/);
            assert.match(notes.join("\n"), /ROLLBACK PREPARED 'by hand'/);
        } finally {
            await session.query("DELETE FROM pg_dist_transaction WHERE gid = 'citus_0_999999_1_1'");
            for (const gid of ["citus_77_1_1_1", "citus_0_999999_1_1", "by hand"])
                await worker.query(`ROLLBACK PREPARED '${gid}'`).catch(() => undefined);
            await every("ALTER SYSTEM RESET citus.recover_2pc_interval");
            await every("SELECT pg_reload_conf()");
        }

        assert.equal(await failedJob(session), undefined);
        await session.query(
            `INSERT INTO pg_dist_background_job (state, job_type, description) VALUES ('failed', 'rebalance', 'as Citus leaves it')`,
        );
        assert.deepEqual([(await failedJob(session))?.done, (await failedJob(session))?.total], [0, 0]);
        const status = await stack.npm("status");
        assert.doesNotMatch(status.output, /was given up/, "nothing is left to move, so nothing is missing");
        await session.query("DELETE FROM pg_dist_background_job WHERE description = 'as Citus leaves it'");
    });
});
