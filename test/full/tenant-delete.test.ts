/** Tenants that are deleted and brought back, on a real cluster: what is proved, what is refused, and who waits. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import type { GroupSpec } from "../../components/tenants/spec.ts";
import { requireEngine, TestStack } from "../lib.ts";
import { EMPTY, fileSpec, plan, settle } from "../tenants.ts";

requireEngine();

describe("tenants that are deleted", () => {
    let stack: TestStack;
    before(async () => {
        stack = await TestStack.make({ workers: 2, shardCount: 8 });
        await stack.up();
    });
    after(() => stack?.destroy());

    const count = async (sql: string) => Number((await stack.sql<{ n: string }>(`SELECT count(*) AS n ${sql}`))[0]?.n);

    describe("whose rows lie in tables that the group does not name", () => {
        const shop = (name: string, model: "row" | "rls", more: Partial<GroupSpec> = {}): GroupSpec => ({
            ...EMPTY,
            name,
            model,
            anchor: `${name}.companies`,
            tables: {
                [`${name}.companies`]: { kind: "distributed", column: "id" },
                [`${name}.users`]: { kind: "distributed", column: "company_id" },
            },
            ...more,
        });
        const tables = (name: string) => `CREATE SCHEMA ${name};
            CREATE TABLE ${name}.companies (id bigint PRIMARY KEY, name text);
            CREATE TABLE ${name}.users (company_id bigint REFERENCES ${name}.companies (id), id bigint, PRIMARY KEY (company_id, id));
            CREATE TABLE ${name}.invoices (company_id bigint, id bigint, iban text, PRIMARY KEY (company_id, id));
            CREATE TABLE ${name}.lines (company bigint, invoice bigint, id bigint, PRIMARY KEY (company, id), FOREIGN KEY (company, invoice) REFERENCES ${name}.invoices (company_id, id));
            CREATE TABLE ${name}.events (tenant bigint, id bigint, PRIMARY KEY (tenant, id));
            CREATE MATERIALIZED VIEW ${name}.report AS SELECT company_id, count(*) AS n FROM ${name}.users GROUP BY 1;
            CREATE TABLE ${name}.settings (id bigint PRIMARY KEY, value text);`;
        const rows = (name: string) => `INSERT INTO ${name}.companies VALUES (1, 'one'), (2, 'two');
            INSERT INTO ${name}.users VALUES (1, 1), (1, 2), (2, 1);
            INSERT INTO ${name}.invoices VALUES (1, 1, 'DE1'), (2, 1, 'DE2')`;

        for (const model of ["row", "rls"] as const)
            it(`${model}: is refused while they are there, and says afterwards what it left alone`, async () => {
                const name = `hidden_${model}`;
                await stack.sql(tables(name));
                if (model === "row") {
                    await stack.sql(
                        `SELECT create_distributed_table('${name}.companies', 'id', colocate_with => 'none')`,
                    );
                    for (const [table, column] of [
                        ["users", "company_id"],
                        ["invoices", "company_id"],
                        ["lines", "company"],
                        ["events", "tenant"],
                    ])
                        await stack.sql(
                            `SELECT create_distributed_table('${name}.${table}', '${column}', colocate_with => '${name}.companies')`,
                        );
                }
                await stack.sql(rows(name));
                const group = shop(name, model, { tenants: { "1": {}, "2": {} } });
                await settle(stack, group);
                const noted = (await plan(stack, group)).notes.join("\n");
                const expected = [
                    `${name}.invoices (has company_id bigint)`,
                    `${name}.lines (references ${name}.invoices)`,
                    `${name}.report (has company_id bigint)`,
                    ...(model === "row" ? [`${name}.events (is colocated with the anchor)`] : []),
                ];
                for (const text of expected) ok(noted.includes(text), `${text} is not in ${noted}`);
                ok(!/users|settings/.test(noted.replace(/"[^"]*"/g, "")), noted);

                const deleting = { ...group, tenants: { "2": {} }, delete: ["1"] };
                const { refusals, steps } = await plan(stack, deleting);
                deepEqual(
                    steps.filter(({ kind }) => kind.startsWith("removal.")),
                    [],
                );
                for (const text of expected) ok(refusals.join("\n").includes(text), `${text} is not in ${refusals}`);
                await rejects(settle(stack, deleting), /1: is to be deleted, and \d tables may hold rows of it/);
                equal(await count(`FROM ${name}.users WHERE company_id = 1`), 2);

                await stack.sql(`DROP MATERIALIZED VIEW ${name}.report`);
                const named: GroupSpec = {
                    ...deleting,
                    tables: {
                        ...deleting.tables,
                        [`${name}.invoices`]: { kind: "distributed", column: "company_id" },
                        [`${name}.lines`]: { kind: "distributed", column: "company" },
                    },
                    ignored: [`${name}.events`],
                };
                const { said } = await settle(stack, named);
                const [line = ""] = said.filter((text) => text.startsWith("1: deleted"));
                match(line, /invoices 1/);
                if (model === "row") match(line, new RegExp(`not looked into: ${name}.events`));
                equal(await count(`FROM ${name}.invoices`), 1);
                const [, file = ""] = /its export is (\S+)$/.exec(line) ?? [];
                equal(JSON.parse(readFileSync(`${file}.json`, "utf8")).prints.invoices.count, "1");
                await stack.sql(`DROP SCHEMA ${name} CASCADE`);
            });
    });

    it("schema and database: what its role owns elsewhere is refused before anything is touched, on every node", async () => {
        await stack.sql(
            "CREATE TABLE tiers (id bigint PRIMARY KEY); SELECT create_reference_table('tiers'); INSERT INTO tiers VALUES (1)",
        );
        const sql = "CREATE TABLE visits (id bigint PRIMARY KEY, tier bigint REFERENCES public.tiers (id));";
        const template = [fileSpec("sql/visits.sql", sql)];
        const files = { "sql/visits.sql": sql };
        const wells: GroupSpec = {
            ...EMPTY,
            name: "wells",
            model: "schema",
            template,
            tenants: { weyland: { role: true } },
        };
        const plain = "CREATE TABLE visits (id bigint PRIMARY KEY);";
        const safes: GroupSpec = {
            ...EMPTY,
            name: "safes",
            model: "database",
            template: [fileSpec("sql/plain.sql", plain)],
            tenants: { yutani: { role: true, node: "worker-1" } },
        };
        for (const [group, all, tenant] of [
            [wells, files, "weyland"],
            [safes, { "sql/plain.sql": plain }, "yutani"],
        ] as const) {
            await settle(stack, group, all);
            const role = `${group.name}_${tenant}`;
            const deleting: GroupSpec = { ...group, tenants: {}, delete: [tenant] };
            const worker = await stack.session("worker-1");
            await worker.query(`SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO ${role}`);
            const { refusals } = await plan(stack, deleting, undefined, all);
            match(
                refusals.join("\n"),
                new RegExp(`role ${role} owns what is outside its ${group.model}.*: large object 4711 on worker-1`),
            );
            await rejects(settle(stack, deleting, all), /owns what is outside/);
            equal(await count(`FROM citus_as_code.tenant WHERE tenant = '${tenant}' AND state = 'active'`), 1);
            await worker.query("SELECT lo_unlink(4711)");
            const { said } = await settle(stack, deleting, all);
            const line = said.find((text) => text.startsWith(`${tenant}: deleted`)) ?? "";
            match(line, /nothing of it is left on any node/);
            if (group === wells) match(line, /kept outside its schema: rows of tiers/);
        }
    });
});
