/** The examples of each model, on one real cluster: their programs are deployed, and what their applications send is sent. */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, it } from "vitest";
import { fromDatabase, type Place, ShardMapClient } from "../../client/index.ts";
import { scramVerifier } from "../../core/node/scram.ts";
import { QUERIES as database } from "../../examples/database/queries.ts";
import type { Query } from "../../examples/query.ts";
import { QUERIES as rls } from "../../examples/rls/queries.ts";
import { QUERIES as routed } from "../../examples/routed/queries.ts";
import { QUERIES as row } from "../../examples/row/queries.ts";
import { QUERIES as schema } from "../../examples/schema/queries.ts";
import { testImage } from "../image.ts";
import { docker, ROOT, requireEngine, TestStack, until } from "../lib.ts";

requireEngine();

/** The project's own program, with the groups of all examples in the place of the configuration's. */
function programOf(port: number): string {
    const program = readFileSync(join(ROOT, "index.ts"), "utf8");
    const models = { rls: "helpdesk", row: "billing", schema: "practices", database: "banks", routed: "regions" };
    const imports = Object.entries(models).map(
        ([model, group]) => `import { ${group} } from "./examples/${model}/group.ts";`,
    );
    const given = program.replace(
        /const groups = Object\.entries[^;]*;/,
        `const helpdesks = helpdesk(cluster), billings = billing(cluster), clinics = practices(cluster), bank = banks(cluster);
    const groups = [helpdesks, billings, clinics, bank, regions(cluster, { host: "127.0.0.1", port: ${port} })];
    const logins = {
        helpdesk_app: helpdesks.app.connectionString, billing_app: billings.app.connectionString,
        practices_acme: clinics.tenant("acme").login.connectionString, practices_globex: clinics.tenant("globex").login.connectionString,
        banks_first_bank: bank.tenant("first_bank").login.connectionString, banks_second_bank: bank.tenant("second_bank").login.connectionString,
        practices_onboarding: clinics.onboarding.connectionString, billing_onboarding: billings.onboarding.connectionString,
        helpdesk_onboarding: helpdesks.onboarding.connectionString,
    };`,
    );
    if (given === program) throw new Error("index.ts makes its groups otherwise now");
    return `${imports.join("\n")}\n${given.replace("status: cluster.status,", "status: cluster.status,\n        logins,")}`;
}

describe("the examples", () => {
    let stack: TestStack;
    let map: ShardMapClient;
    let logins: Record<string, string> = {};
    const server = `citus-examples-${randomBytes(3).toString("hex")}`;
    const pools: pg.Pool[] = [];

    const poolOf = async (role: string, place: Pick<Place, "node" | "host" | "port" | "database">) => {
        const password = decodeURIComponent(new URL(logins[role] ?? "").password);
        const access = await stack.access(place.node);
        const ssl = { ca: access.ca, servername: access.serverName };
        const { host, port, database: name } = place;
        const pool = new pg.Pool({ host, port, database: name, user: role, password, ssl, max: 2 });
        pools.push(pool);
        return pool;
    };

    beforeAll(async () => {
        docker(["create", "--name", server, "-e", "POSTGRES_PASSWORD=far away", "-p", "127.0.0.1::5432", testImage()]);
        const scripts = `${server}:/docker-entrypoint-initdb.d`;
        docker(["cp", "-q", join(ROOT, "test", "otherServer.sql"), `${scripts}/100-clients.sql`]);
        docker(["cp", "-q", join(ROOT, "examples", "routed", "sql", "server.sql"), `${scripts}/101-orders.sql`]);
        docker(["start", server]);
        const port = Number(/:(\d+)/.exec(docker(["port", server, "5432"]))?.[1]);
        const far = { host: "127.0.0.1", port, database: "postgres", user: "postgres", password: "far away", max: 2 };
        await until("the other server", 180, async () => {
            const client = new pg.Client(far);
            await client.connect();
            await client.query("SELECT FROM orders");
            await client.end();
            return true;
        });
        stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
        writeFileSync(join(stack.dir, "index.ts"), programOf(port));
        // here all are in one project, whose folder their files are named from
        for (const model of ["rls", "row", "schema", "database"]) {
            const file = join(stack.dir, "examples", model, "group.ts");
            writeFileSync(file, readFileSync(file, "utf8").replaceAll('"sql/', `"examples/${model}/sql/`));
        }
        await stack.up();
        logins = (await stack.outputs<{ logins: Record<string, string> }>()).logins;
        map = await new ShardMapClient({ fetch: fromDatabase(await asRouter()) }).start();
        pools.push(new pg.Pool(far));
    });
    afterAll(async () => {
        map?.close();
        for (const pool of pools) await pool.end().catch(() => undefined);
        docker(["rm", "-f", "-v", server]);
        await stack?.destroy();
    });

    /** A pool that reads the map of all groups. */
    async function asRouter() {
        const session = await stack.session();
        return { query: async (text: string, values?: unknown[]) => ({ rows: await session.query(text, values) }) };
    }

    const send = async (group: string, { tenant, sql, values }: Query, role: (tenant: string) => string) => {
        const at = map.lookup(tenant, group);
        const pool =
            group === "regions"
                ? (pools.find(({ options }) => options.password === "far away") as pg.Pool)
                : await poolOf(role(tenant), at);
        return map.withTenant(
            () => pool,
            tenant,
            group,
            async (db) => (await db.query(sql, values && [...values])).rows,
        );
    };

    const EXAMPLES: readonly (readonly [group: string, queries: readonly Query[], role: (tenant: string) => string])[] =
        [
            ["helpdesk", rls, () => "helpdesk_app"],
            ["billing", row, () => "billing_app"],
            ["practices", schema, (tenant) => `practices_${tenant}`],
            ["banks", database, (tenant) => `banks_${tenant}`],
            ["regions", routed, () => ""],
        ];
    for (const [group, queries, role] of EXAMPLES)
        it(`${group}: what its application sends`, async () => {
            for (const query of queries) deepEqual(await send(group, query, role), query.rows, query.what);
        });

    it("customers sign up, and are at work at once", async () => {
        const at = map.lookup("acme", "practices");
        const coordinator = { ...at, ...(await stack.outputs()).coordinator, node: "coordinator" };
        const create = async (role: string, ...given: readonly unknown[]) => {
            const pool = await poolOf(role, coordinator);
            const places = given.map((_, i) => `$${i + 1}`).join(", ");
            return (await pool.query(`SELECT citus_as_code.create_tenant(${places}) AS made`, [...given])).rows[0]
                ?.made;
        };
        const verifier = scramVerifier("umbrella's own", Buffer.from("0123456789abcdef"));
        equal(await create("practices_onboarding", "practices", "umbrella", "{}", verifier), "umbrella");
        equal(await create("billing_onboarding", "billing", "43", '{"name": "Umbrella"}'), "43");
        equal(await create("helpdesk_onboarding", "helpdesk", "3", '{"name": "Umbrella"}'), "3");
        logins.practices_umbrella = `postgresql://x:${encodeURIComponent("umbrella's own")}@x/x`;
        await map.refresh();
        const [patient] = schema;
        if (patient)
            deepEqual(
                await send("practices", { ...patient, tenant: "umbrella" }, (tenant) => `practices_${tenant}`),
                patient.rows,
            );
        deepEqual(
            await send(
                "billing",
                { what: "", tenant: "43", sql: "SELECT name FROM companies WHERE id = 43", rows: [] },
                () => "billing_app",
            ),
            [{ name: "Umbrella" }],
        );
        deepEqual(
            await send(
                "helpdesk",
                { what: "", tenant: "3", sql: "SELECT name FROM desks", rows: [] },
                () => "helpdesk_app",
            ),
            [{ name: "Umbrella" }],
        );
        await rejects(create("practices_onboarding", "practices", "umbrella"), /practices\/umbrella exists already/);
    });

    it("and a second up changes nothing", async () => {
        const ran = await stack.pulumi(["preview", "--expect-no-changes"]);
        equal(ran.code, 0, ran.output);
        match(ran.output, /umbrella: made by create_tenant and not in the program/);
    });
});
