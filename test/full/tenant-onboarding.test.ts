/** Tenants that an application makes while it runs, on a real cluster: what is made, who may, and what `up` does then. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { afterAll, beforeAll, describe, it } from "vitest";
import { scramVerifier } from "../../core/node/scram.ts";
import type { GroupSpec } from "../../core/tenants/group/spec.ts";
import { requireEngine, TestStack } from "../lib.ts";
import { as, type Client, EMPTY, fileSpec, plan, settle } from "../tenants.ts";

requireEngine();

const NODES = ["coordinator", "worker-1", "worker-2"];

type Files = Record<string, string>;

/** A template with what Citus treats differently: keys to a reference table, identity, sequences, types, functions. */
const CLINIC: Files = {
    "sql/clinic/01.sql": `CREATE TYPE mood AS ENUM ('calm', 'upset');
CREATE SEQUENCE ticket_no;
CREATE TABLE patients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE, plan int NOT NULL DEFAULT 1 REFERENCES public.plans, m mood DEFAULT 'calm');
CREATE TABLE visits (id bigserial PRIMARY KEY, patient bigint NOT NULL REFERENCES patients ON DELETE CASCADE, ticket bigint DEFAULT nextval('ticket_no'));
CREATE INDEX ON visits (patient);
CREATE FUNCTION double_of(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 2 * n $$;
INSERT INTO patients (email) VALUES ('first@example.com');`,
    "sql/clinic/02.sql": `ALTER TABLE visits ADD COLUMN note text NOT NULL DEFAULT 'it''s a "note" \\ %s $1';
CREATE TABLE logs (at timestamptz NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE logs_2026 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');`,
};

const BILLING: Files = {
    "sql/billing/01.sql": `CREATE TABLE companies (id bigint PRIMARY KEY, name text NOT NULL, plan text NOT NULL DEFAULT 'free', ref numeric, ok boolean);`,
};

const LOCAL: Files = {
    "sql/local/01.sql": "CREATE TABLE shops (id uuid PRIMARY KEY, name text NOT NULL);",
};

const template = (files: Files) => Object.entries(files).map(([path, sql]) => fileSpec(path, sql));

const clinics = (files: Files = CLINIC, more: Partial<GroupSpec> = {}): GroupSpec => ({
    ...EMPTY,
    name: "clinics",
    model: "schema",
    template: template(files),
    tenants: { zero: { role: true } },
    onboarding: true,
    // sign-ups whose tables refer to one reference table wait for each other
    lockTimeout: 60_000,
    ...more,
});

const billing = (more: Partial<GroupSpec> = {}): GroupSpec => ({
    ...EMPTY,
    name: "billing",
    model: "row",
    anchor: "companies",
    tables: { companies: { kind: "distributed", column: "id" } },
    template: template(BILLING),
    tenants: { 1: { values: { name: "first" } } },
    onboarding: true,
    ...more,
});

const local: GroupSpec = {
    ...EMPTY,
    name: "shops",
    model: "rls",
    anchor: "shops",
    tables: { shops: { kind: "local", column: "id" } },
    template: template(LOCAL),
    onboarding: true,
};

const call = (client: Client, ...given: readonly unknown[]) =>
    client.query<{ made: string }>(
        `SELECT citus_as_code.create_tenant(${given.map((_, i) => `$${i + 1}`).join(", ")}) AS made`,
        given,
    );

/** Everything about a schema that the catalogs of a node say, without its name and the numbers of its shards. */
const shapeOf = (schema: string) => `
    SELECT replace(regexp_replace(x, '_[0-9]{6}', '_N', 'g'), '${schema}', 'S') AS line FROM (
      SELECT format('column %s.%s %s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid)) AS x
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
       WHERE c.relnamespace = '${schema}'::regnamespace AND c.relkind IN ('r', 'p', 'v')
      UNION ALL SELECT format('constraint %s %s %s', conname, pg_get_constraintdef(oid), convalidated) FROM pg_constraint WHERE connamespace = '${schema}'::regnamespace
      UNION ALL SELECT format('index %s', pg_get_indexdef(c.oid)) FROM pg_class c WHERE c.relnamespace = '${schema}'::regnamespace AND c.relkind = 'i'
      UNION ALL SELECT format('relation %s %s %s %s %s', relname, relkind, relreplident, relowner::regrole, (SELECT string_agg(i::text, ',' ORDER BY i::text) FROM unnest(relacl) i))
        FROM pg_class WHERE relnamespace = '${schema}'::regnamespace
      UNION ALL SELECT format('sequence %s %s %s', s.seqrelid::regclass, s.seqtypid::regtype, (SELECT string_agg(refobjid::regclass::text || deptype::text, ',' ORDER BY 1) FROM pg_depend WHERE objid = s.seqrelid AND deptype IN ('a', 'i')))
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE c.relnamespace = '${schema}'::regnamespace
      UNION ALL SELECT format('function %s', pg_get_functiondef(oid)) FROM pg_proc WHERE pronamespace = '${schema}'::regnamespace
      UNION ALL SELECT format('type %s', typname) FROM pg_type WHERE typnamespace = '${schema}'::regnamespace AND typtype = 'e'
      UNION ALL SELECT format('table %s %s %s', logicalrelid::regclass, partmethod, repmodel) FROM pg_dist_partition JOIN pg_class c ON c.oid = logicalrelid WHERE c.relnamespace = '${schema}'::regnamespace
      UNION ALL SELECT format('default %s %s', defaclobjtype, (SELECT string_agg(i::text, ',' ORDER BY i::text) FROM unnest(defaclacl) i)) FROM pg_default_acl WHERE defaclnamespace = '${schema}'::regnamespace
      UNION ALL SELECT format('schema %s %s', nspname, nspacl) FROM pg_namespace WHERE nspname = '${schema}'
      UNION ALL SELECT format('role %s %s %s %s %s', rolname, rolsuper, rolcanlogin, rolconnlimit, (SELECT string_agg(m.roleid::regrole || ' ' || m.inherit_option || m.set_option || m.admin_option, ',') FROM pg_auth_members m WHERE m.member = r.oid))
        FROM pg_roles r WHERE rolname = 'clinics_${schema}'
      UNION ALL SELECT format('setting %s', array_to_string(setconfig, ',')) FROM pg_db_role_setting WHERE setrole = to_regrole('clinics_${schema}')
    ) y ORDER BY 1`;

describe("tenants that sign up", () => {
    let stack: TestStack;
    let signUp: Client;

    beforeAll(async () => {
        stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
        await stack.up();
        await stack.sql("CREATE TABLE plans (id int PRIMARY KEY, name text NOT NULL)");
        await stack.sql("SELECT create_reference_table('plans')");
        await stack.sql("INSERT INTO plans VALUES (1, 'free'), (2, 'team')");
        await settle(stack, clinics(), CLINIC);
        await settle(stack, billing(), BILLING);
        await settle(stack, local, LOCAL);
        signUp = await as(stack, "clinics_onboarding");
    });
    afterAll(async () => {
        await signUp?.close();
        await stack?.destroy();
    });

    const onNode = async <T extends object>(node: string, sql: string) => {
        const session = await stack.session(node);
        return session.query<T>(sql);
    };
    /** With shards, which a node hides. */
    const shape = async (node: string, schema: string) => {
        await onNode(node, "SET citus.override_table_visibility = off");
        return (await onNode<{ line: string }>(node, shapeOf(schema))).map(({ line }) => line);
    };

    it("makes a schema that differs in nothing from one that up made", async () => {
        deepEqual(await call(signUp, "clinics", "acme"), [{ made: "acme" }]);
        const made = await shape("coordinator", "acme");
        deepEqual(made, await shape("coordinator", "zero"));
        ok(made.length > 40, `${made.length}`);
        const placed = await stack.sql<{ schema: string; tables: number; nodes: number; rows: string }>(
            `SELECT n.nspname AS schema, count(*)::int AS tables, count(DISTINCT p.groupid)::int AS nodes
               FROM pg_dist_schema d JOIN pg_namespace n ON n.oid = d.schemaid JOIN pg_dist_partition t USING (colocationid)
               JOIN pg_dist_shard s USING (logicalrelid) JOIN pg_dist_placement p USING (shardid) GROUP BY 1 ORDER BY 1`,
        );
        deepEqual(placed, [
            { schema: "acme", tables: 4, nodes: 1 },
            { schema: "zero", tables: 4, nodes: 1 },
        ]);
        await rejects(stack.sql("INSERT INTO acme.patients (plan) VALUES (99)"), /violates foreign key constraint/);
        deepEqual(
            await stack.sql("INSERT INTO acme.visits (patient) SELECT id FROM acme.patients RETURNING note, ticket"),
            [{ note: 'it\'s a "note" \\ %s $1', ticket: "1" }],
        );
    });

    it("is the same on the workers, whichever holds the shards", async () => {
        for (const node of ["worker-1", "worker-2"]) {
            const shells = (lines: readonly string[]) => lines.filter((line) => !/_N\b/.test(line));
            deepEqual(shells(await shape(node, "acme")), shells(await shape(node, "zero")));
        }
        const shards = async (schema: string) => {
            const lines = await Promise.all(["worker-1", "worker-2"].map((node) => shape(node, schema)));
            return lines
                .flat()
                .filter((line) => /_N\b/.test(line))
                .sort();
        };
        const made = await shards("acme");
        ok(made.length >= 8, `${made.length}`);
        deepEqual(made, await shards("zero"));
    });

    it("lets a tenant in at once with the password that it chose, and up leaves it", async () => {
        const verifier = scramVerifier("chosen at sign-up", Buffer.from("0123456789abcdef"));
        await call(signUp, "clinics", "globex", "{}", verifier);
        const enter = (node: string) => as(stack, "clinics_globex", node, undefined, "chosen at sign-up");
        for (const node of NODES) {
            const client = await enter(node);
            try {
                deepEqual(await client.query("SELECT email FROM patients"), [{ email: "first@example.com" }]);
                await rejects(client.query("SELECT * FROM acme.patients"), /permission denied for schema acme/);
            } finally {
                await client.close();
            }
        }
        const { steps, notes } = await plan(stack, clinics(), undefined, CLINIC);
        deepEqual(
            steps.map(({ text }) => text),
            ["acme: give role clinics_acme, which signed up without one, a password"],
        );
        match(notes.join("\n"), /acme, globex: made by create_tenant and not in the program/);
        await settle(stack, clinics(), CLINIC);
        deepEqual((await plan(stack, clinics(), undefined, CLINIC)).steps, []);
        await (await as(stack, "clinics_acme")).close();
        await (await enter("worker-1")).close();
    });

    it("makes rows, in row and in rls, with values as they are", async () => {
        const client = await as(stack, "billing_onboarding");
        const shop = await as(stack, "shops_onboarding");
        try {
            const values = { name: "O'Reilly \\ \"x\" %s $1 '); DROP TABLE companies; --", ok: true };
            deepEqual(await call(client, "billing", " +42", JSON.stringify(values)), [{ made: "42" }]);
            await client.query(
                `SELECT citus_as_code.create_tenant('billing', '43', '{"name": "B", "ref": 9007199254740993, "ok": null}')`,
            );
            deepEqual(await stack.sql("SELECT id, name, plan, ref, ok FROM companies WHERE id > 40 ORDER BY id"), [
                { id: "42", name: values.name, plan: "free", ref: null, ok: true },
                { id: "43", name: "B", plan: "free", ref: "9007199254740993", ok: null },
            ]);
            const id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
            deepEqual(await call(shop, "shops", id.toUpperCase(), '{"name": "S"}'), [{ made: id }]);
            await rejects(call(client, "billing", "44", "{}"), /null value in column "name"/);
            await rejects(
                call(client, "billing", "x", "{}"),
                /must be of type bigint, as public\.companies\.id is, got 'x'/,
            );
            await rejects(
                call(client, "billing", "44", '{"nam": 1}'),
                /values must name columns of public\.companies other than id, got nam/,
            );
            await rejects(call(client, "billing", "44", '{"id": 1}'), /got id/);
            await rejects(call(client, "billing", "44", '{"name": ["a"]}'), /values must be texts, numbers/);
            await rejects(call(client, "billing", "42", '{"name": "again"}'), /billing\/42 exists already/);
            deepEqual(await stack.sql("SELECT count(*)::int AS n FROM companies"), [{ n: 3 }]);
        } finally {
            await client.close();
            await shop.close();
        }
        const planned = await plan(stack, billing(), undefined, BILLING);
        deepEqual(planned.steps, []);
        match(planned.notes.join("\n"), /^42, 43: made by create_tenant/m);
        ok(!planned.notes.join("\n").includes("not in the program any more"));
        deepEqual((await plan(stack, local, undefined, LOCAL)).steps, []);
    });

    it("refuses names by the program's rules, other groups, and what is taken", async () => {
        for (const [name, says] of [
            ["pg_x", /must be a schema's name/],
            ["public", /must be a schema's name/],
            ["citus_as_code", /must be a schema's name/],
            ["Acme", /must be a schema's name/],
            ["a\nb", /must be a schema's name/],
            ['a"; DROP TABLE companies; --', /must be a schema's name/],
            ["a".repeat(49), /must be a schema's name/],
            ["", /must be a schema's name/],
            ["app", /none of the group's own, got clinics_app/],
            ["onboarding", /none of the group's own/],
            ["acme", /clinics\/acme exists already/],
            ["zero", /clinics\/zero exists already/],
        ] as const)
            await rejects(call(signUp, "clinics", name), says, name);
        await stack.sql("CREATE SCHEMA by_hand");
        await rejects(call(signUp, "clinics", "by_hand"), /is not this tenant's/);
        await rejects(
            call(signUp, "billing", "77", '{"name": "x"}'),
            /role clinics_onboarding may not make tenants of group billing/,
        );
        await rejects(call(signUp, "nobody", "x"), /may not make tenants of group nobody/);
        await rejects(call(signUp, null, "x"), /may not make tenants of group NULL/);
        await rejects(call(signUp, "clinics", null), /must have a name/);
        await rejects(call(signUp, "clinics", "fine", '{"name": 1}'), /values mean nothing in model schema/);
        await rejects(call(signUp, "clinics", "fine", "{}", "secret"), /and never the password/);
        deepEqual(await stack.sql("SELECT FROM pg_namespace WHERE nspname = 'fine'"), []);
    });

    it("is not fooled by the caller's settings and temporary tables", async () => {
        for (const setting of [
            "citus.enable_ddl_propagation = off",
            "citus.enable_metadata_sync = off",
            "citus.next_shard_id = 102008",
            "citus.shard_replication_factor = 2",
            "standard_conforming_strings = off",
            "default_tablespace = 'pg_default'",
            "application_name = 'citus_internal gpid=10000000001'",
        ]) {
            const client = await as(stack, "clinics_onboarding");
            try {
                await client.query(`SET ${setting}`);
                await rejects(
                    call(client, "clinics", "fooled"),
                    /this connection sets|must not begin with citus_|permission denied/,
                    setting,
                );
            } finally {
                await client.close();
            }
        }
        await signUp.query("SET search_path = pg_temp, public; SET client_min_messages = error");
        await signUp.query(
            "CREATE TEMP TABLE patients (id bigint PRIMARY KEY); CREATE TEMP TABLE plans (id int PRIMARY KEY)",
        );
        await signUp.query(
            "CREATE FUNCTION pg_temp.quote_ident(text) RETURNS text LANGUAGE sql AS $$ SELECT 'public' $$",
        );
        await call(signUp, "clinics", "steady");
        deepEqual(
            (await shape("coordinator", "steady")).filter((line) => line.startsWith("constraint")),
            (await shape("coordinator", "zero")).filter((line) => line.startsWith("constraint")),
        );
        deepEqual(await signUp.query("SHOW search_path"), [{ search_path: "pg_temp, public" }]);
        deepEqual(await signUp.query("SHOW citus.enable_schema_based_sharding"), [
            { "citus.enable_schema_based_sharding": "off" },
        ]);
        await signUp.query(
            "RESET search_path; DROP TABLE pg_temp.patients, pg_temp.plans; DROP FUNCTION pg_temp.quote_ident(text)",
        );
    });

    it("gives a role that can do nothing else, on no node", async () => {
        for (const role of ["clinics_onboarding", "billing_onboarding", "shops_onboarding"])
            for (const node of NODES) {
                const client = await as(stack, role, node);
                try {
                    for (const sql of [
                        "SELECT * FROM acme.patients",
                        "SELECT * FROM companies",
                        "SELECT * FROM plans",
                        "INSERT INTO companies (id, name) VALUES (666, 'x')",
                        "CREATE SCHEMA mine",
                        "CREATE TABLE public.mine (i int)",
                        "CREATE ROLE mine",
                        "DROP SCHEMA acme CASCADE",
                        "SET ROLE clinics_tenants",
                        "SET ROLE billing_app",
                        "SELECT * FROM citus_as_code.tenant",
                        "SELECT * FROM citus_as_code.tenant_template",
                        "UPDATE citus_as_code.tenant_onboarding SET model = 'row'",
                        "SELECT citus_as_code.shard_map()",
                        "ALTER FUNCTION citus_as_code.create_tenant(text, text, jsonb, text) OWNER TO CURRENT_USER",
                        "ALTER ROLE clinics_acme PASSWORD 'x'",
                        "SELECT citus_schema_move('acme', 'worker-1', 5432)",
                        "COPY companies TO PROGRAM 'true'",
                    ])
                        await rejects(
                            client.query(sql),
                            /permission denied|must be (superuser|owner|able)|not exist|not permitted|not allowed/,
                            `${role} on ${node}: ${sql}`,
                        );
                    if (node !== "coordinator")
                        await rejects(
                            call(client, "clinics", "from_worker"),
                            /does not exist|permission denied for schema citus_as_code/,
                        );
                } finally {
                    await client.close();
                }
            }
        for (const role of ["clinics_acme", "billing_app"]) {
            const client = await as(stack, role);
            await rejects(call(client, "clinics", "stolen"), /permission denied/, role);
            await client.close();
        }
        await stack.sql(
            "SET citus.enable_ddl_propagation = off; GRANT EXECUTE ON FUNCTION citus_as_code.create_tenant(text, text, jsonb, text) TO PUBLIC",
        );
        match(
            (await plan(stack, clinics(), undefined, CLINIC)).steps.map(({ text }) => text).join(),
            /PUBLIC may not call it any more/,
        );
        await settle(stack, clinics(), CLINIC);
        deepEqual((await plan(stack, clinics(), undefined, CLINIC)).steps, []);
    });

    it("makes many at once, and of one name one", async () => {
        const clients = await Promise.all(Array.from({ length: 6 }, () => as(stack, "clinics_onboarding")));
        try {
            const made = await Promise.allSettled(clients.map((client, i) => call(client, "clinics", `many_${i}`)));
            deepEqual(
                made.filter(({ status }) => status === "rejected"),
                [],
            );
            const same = await Promise.allSettled(clients.map((client) => call(client, "clinics", "wanted")));
            equal(same.filter(({ status }) => status === "fulfilled").length, 1);
            for (const result of same)
                if (result.status === "rejected") match(String(result.reason), /clinics\/wanted exists already/);
        } finally {
            await Promise.all(clients.map((client) => client.close()));
        }
        deepEqual(
            await stack.sql(
                "SELECT count(*)::int AS n FROM pg_dist_schema d JOIN pg_namespace n ON n.oid = d.schemaid WHERE nspname LIKE 'many%' OR nspname = 'wanted'",
            ),
            [{ n: 7 }],
        );
    });

    it("keeps nothing of a tenant whose transaction is undone", async () => {
        await signUp.query("BEGIN");
        await call(signUp, "clinics", "undone");
        await signUp.query("ROLLBACK");
        deepEqual(await stack.sql("SELECT 1 FROM pg_roles WHERE rolname = 'clinics_undone'"), []);
        deepEqual(await stack.sql("SELECT 1 FROM citus_as_code.tenant WHERE tenant = 'undone'"), []);
        for (const node of NODES)
            deepEqual(await onNode(node, "SELECT 1 FROM pg_namespace WHERE nspname = 'undone'"), []);
    });

    const NEXT: Files = { ...CLINIC, "sql/clinic/03.sql": "ALTER TABLE patients ADD COLUMN phone text;" };

    it("goes on during an up, and up brings what signed up meanwhile along", async () => {
        const group = clinics(NEXT);
        const made: Promise<unknown>[] = [];
        const facets = (await import("../../core/tenants/facets.ts")).FACETS.schema.map((facet) =>
            facet.name !== "state"
                ? facet
                : {
                      ...facet,
                      // after the files went to all tenants, and before they are written down for new ones
                      plan: (...given: Parameters<typeof facet.plan>) => {
                          if (made.length === 0) made.push(call(signUp, "clinics", "meanwhile"));
                          return facet.plan(...given);
                      },
                  },
        );
        const finished = settle(stack, group, NEXT, facets);
        await finished;
        await Promise.all(made);
        await settle(stack, group, NEXT);
        deepEqual((await plan(stack, group, undefined, NEXT)).steps, []);
        const behind = await stack.sql(
            `SELECT n.nspname FROM pg_dist_schema d JOIN pg_namespace n ON n.oid = d.schemaid
              WHERE NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = n.oid AND c.relname = 'patients' AND a.attname = 'phone')`,
        );
        deepEqual(behind, [], "every tenant has the new column, also those that only the database knows");
        await call(signUp, "clinics", "later");
        deepEqual(
            (await plan(stack, group, undefined, NEXT)).steps.map(({ kind }) => kind),
            ["roles.tenant"],
            "made from the new files",
        );
    });

    it("is the program's once it names the tenant: frozen, deleted, and its name is not given away", async () => {
        const named = clinics(NEXT, { tenants: { zero: { role: true }, globex: { role: true, frozen: true } } });
        await settle(stack, named, NEXT);
        deepEqual(await stack.sql("SELECT state, detail FROM citus_as_code.tenant WHERE tenant = 'globex'"), [
            { state: "frozen", detail: {} },
        ]);
        const client = await as(stack, "clinics_globex", "coordinator", undefined, "chosen at sign-up");
        await rejects(client.query("INSERT INTO patients (email) VALUES ('x')"), /permission denied/);
        await client.close();
        const gone = clinics(NEXT, { delete: ["many_0"] });
        await rejects(call(signUp, "clinics", "many_0"), /exists already/);
        await settle(stack, gone, NEXT);
        deepEqual(await stack.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'many_0'"), []);
        await rejects(call(signUp, "clinics", "many_0"), /clinics\/many_0 was deleted, or is to be/);
    });

    it("ends when the option is taken away, and tenants stay", async () => {
        const { onboarding: _, ...closed } = clinics(NEXT, { delete: ["many_0"] });
        await settle(stack, closed, NEXT);
        deepEqual((await plan(stack, closed, undefined, NEXT)).steps, []);
        await rejects(as(stack, "clinics_onboarding"), /password authentication failed|no pg_hba|does not exist/);
        for (const node of NODES)
            deepEqual(await onNode(node, "SELECT 1 FROM pg_roles WHERE rolname = 'clinics_onboarding'"), []);
        deepEqual(await stack.sql("SELECT count(*)::int AS n FROM citus_as_code.tenant_template"), [{ n: 0 }]);
        deepEqual(await stack.sql("SELECT email FROM acme.patients"), [{ email: "first@example.com" }]);
    });
});
