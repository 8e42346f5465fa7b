/** One broken case for each mistake that a check finds: its SQL, and how a real cluster shows that the check is right. */
import assert from "node:assert/strict";
import type { Session } from "../core/reach/session.ts";
import type { Declared } from "../core/tenants/check/lint.ts";
import type { TableSpec } from "../core/tenants/group/spec.ts";

export interface Cluster {
    readonly coordinator: Session;
    readonly worker: Session;
    /** The schema that is the case's own. */
    readonly schema: string;
}

export interface LintCase {
    readonly rule: string;
    readonly title: string;
    /** The file; the line that is found ends in `-- here`. What stands after `-- refused` is only in the file. */
    readonly sql: string;
    /** By name without schema. */
    readonly tables?: Readonly<Record<string, TableSpec>>;
    readonly model?: NonNullable<Declared["model"]>;
    /** Goes on until the database says what the finding foretold. */
    goOn(cluster: Cluster): Promise<unknown>;
    /** Proves what nobody is told of: goOn then returns whether the harm was done. */
    readonly silent?: boolean;
    /** Whether the living database can hold the mistake. */
    readonly online: boolean;
    /** Whether the fix stands in the place of the statement, rather than after it. */
    readonly instead?: boolean;
    /** Runs the fix that the living database's check gives, which is another one. */
    readonly fixOnline?: boolean;
    /** The fix is advice: nothing to run. */
    readonly advice?: boolean;
    /** After the fix goOn still fails, for a reason of its own. */
    readonly onlyOnce?: boolean;
}

const distributed = (column: string): TableSpec => ({ kind: "distributed", column });
const REFERENCE: TableSpec = { kind: "reference" };

const run =
    (sql: string) =>
    ({ coordinator }: Cluster) =>
        coordinator.query(sql);

/** The statement that stands after `-- refused`. */
const refused =
    (sql: string) =>
    ({ coordinator }: Cluster) =>
        coordinator.query(sql.split("-- refused\n")[1] ?? assert.fail("nothing is refused"));

/** Moves a table's first shard to the other worker. */
const move =
    (table: string) =>
    async ({ coordinator, schema }: Cluster) => {
        await coordinator.query("CALL citus_cleanup_orphaned_resources()");
        const [shard] = await coordinator.query<{ id: string; host: string; other: string }>(
            `SELECT s.shardid AS id, n.nodename AS host,
                (SELECT o.nodename FROM pg_dist_node o WHERE o.shouldhaveshards AND o.nodename <> n.nodename LIMIT 1) AS other
             FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) JOIN pg_dist_node n USING (groupid)
             WHERE s.logicalrelid = $1::regclass ORDER BY 1 LIMIT 1`,
            [`${schema}.${table}`],
        );
        assert.ok(shard);
        await coordinator.query("SELECT citus_move_shard_placement($1, $2, 5432, $3, 5432)", [
            shard.id,
            shard.host,
            shard.other,
        ]);
    };

/** Inserts while a table's shards on one worker are published there, as they are during a move. */
const insertPublished =
    (table: string) =>
    async ({ coordinator, worker, schema }: Cluster): Promise<void> => {
        const shards = await coordinator.query<{ name: string }>(
            `SELECT shard_name AS name FROM citus_shards WHERE table_name = $1::regclass AND nodename LIKE 'worker-1.%'`,
            [`${schema}.${table}`],
        );
        // a tenant's one shard may be on the other worker
        if (shards.length === 0) {
            await moveSchema({ coordinator, worker, schema });
            return insertPublished(table)({ coordinator, worker, schema });
        }
        await worker.query("SET citus.enable_ddl_propagation = off");
        await worker.query(`CREATE PUBLICATION lint_move FOR TABLE ${shards.map(({ name }) => name).join(", ")}`);
        try {
            await coordinator.query(`INSERT INTO ${schema}.${table} SELECT g FROM generate_series(1, 500) g`);
        } finally {
            await worker.query("DROP PUBLICATION lint_move");
            await worker.query("RESET citus.enable_ddl_propagation");
        }
    };

const moveSchema = async ({ coordinator, schema }: Cluster) => {
    await coordinator.query("CALL citus_cleanup_orphaned_resources()");
    await coordinator.query(
        `SELECT citus_schema_move($1::regnamespace, nodename, nodeport) FROM pg_dist_node WHERE shouldhaveshards
         AND groupid NOT IN (SELECT groupid FROM pg_dist_placement JOIN pg_dist_shard USING (shardid)
             JOIN pg_dist_partition USING (logicalrelid) JOIN pg_dist_schema USING (colocationid)
             WHERE schemaid = $1::regnamespace) LIMIT 1`,
        [schema],
    );
};

const onWorker =
    (sql: string) =>
    async ({ worker, schema }: Cluster) => {
        await worker.query(`SET search_path = ${schema}`);
        await worker.query(sql);
    };

async function count({ coordinator }: Cluster, sql: string): Promise<number> {
    return Number((await coordinator.query<{ n: string }>(`SELECT (${sql}) AS n`))[0]?.n);
}

/** Whether the rows of a reference table are the same on every node. */
const copiesDiffer = async (cluster: Cluster, table: string, column: string) =>
    (await count(
        cluster,
        `SELECT count(DISTINCT result) FROM run_command_on_placements('${cluster.schema}.${table}',
            'SELECT string_agg(${column}::text, '','' ORDER BY id) FROM %s')`,
    )) > 1;

const FUNCTION = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;\n";

const added = (what: string) => `CREATE TABLE t (c bigint PRIMARY KEY);
SELECT create_distributed_table('t', 'c');
-- refused
ALTER TABLE t ${what}; -- here
`;

const alteration = (
    rule: string,
    title: string,
    what: string,
    more: Partial<LintCase> = {},
    sql = added(what),
): LintCase => ({ rule, title, sql, goOn: refused(sql), online: false, instead: true, onlyOnce: true, ...more });

export const LINT_CASES: readonly LintCase[] = [
    {
        rule: "L1",
        title: "a primary key without the distribution column",
        sql: `CREATE TABLE companies (id bigint PRIMARY KEY);
CREATE TABLE users (
    company_id bigint NOT NULL,
    id bigint PRIMARY KEY -- here
);
`,
        tables: { companies: distributed("id"), users: distributed("company_id") },
        model: "row",
        goOn: run("SELECT create_distributed_table('users', 'company_id')"),
        online: true,
    },
    {
        rule: "L1",
        title: "a unique constraint without it",
        sql: `CREATE TABLE t (c bigint NOT NULL, id bigint, e text, PRIMARY KEY (c, id));
ALTER TABLE t ADD UNIQUE (e); -- here
`,
        tables: { t: distributed("c") },
        goOn: run("SELECT create_distributed_table('t', 'c')"),
        online: true,
    },
    {
        rule: "L1",
        title: "an exclusion that compares it by another operator than =",
        sql: `CREATE TABLE t (c int4range NOT NULL, e int4range, PRIMARY KEY (c, e),
    CONSTRAINT apart EXCLUDE USING gist (c WITH &&, e WITH &&)); -- here
`,
        tables: { t: distributed("c") },
        goOn: run("SELECT create_distributed_table('t', 'c')"),
        online: true,
    },
    {
        rule: "L1",
        title: "a unique index without it, on a distributed table",
        sql: `CREATE TABLE t (c bigint NOT NULL, id bigint, e text, PRIMARY KEY (c, id));
SELECT create_distributed_table('t', 'c');
-- refused
CREATE UNIQUE INDEX one_e ON t (e); -- here
`,
        goOn: run("CREATE UNIQUE INDEX one_e ON t (e)"),
        online: false,
        instead: true,
        onlyOnce: true,
    },
    {
        rule: "L2",
        title: "a foreign key between tables that are not colocated",
        sql: `CREATE TABLE a (c bigint, id bigint, PRIMARY KEY (c, id));
CREATE TABLE b (c bigint, id bigint, a bigint, PRIMARY KEY (c, id));
SELECT create_distributed_table('a', 'c', colocate_with := 'none');
SELECT create_distributed_table('b', 'c', colocate_with := 'none');
-- refused
ALTER TABLE b ADD CONSTRAINT of_a FOREIGN KEY (c, a) REFERENCES a (c, id); -- here
`,
        goOn: run("ALTER TABLE b ADD CONSTRAINT of_a FOREIGN KEY (c, a) REFERENCES a (c, id)"),
        online: false,
    },
    {
        rule: "L2",
        title: "a foreign key without the distribution column",
        sql: `CREATE TABLE a (c bigint, id bigint UNIQUE, PRIMARY KEY (c, id));
ALTER TABLE a DROP CONSTRAINT a_id_key; ALTER TABLE a ADD COLUMN d bigint, ADD UNIQUE (d, c);
CREATE TABLE b (c bigint, a_c bigint, a bigint, PRIMARY KEY (c, a_c),
    CONSTRAINT of_a FOREIGN KEY (a_c, a) REFERENCES a (c, id)); -- here
`,
        tables: { a: distributed("c"), b: distributed("c") },
        goOn: run("SELECT create_distributed_table('a', 'c'); SELECT create_distributed_table('b', 'c')"),
        online: true,
    },
    {
        rule: "L2",
        title: "a foreign key to a local table",
        sql: `CREATE TABLE plans (id bigint PRIMARY KEY);
CREATE TABLE users (c bigint PRIMARY KEY,
    plan bigint REFERENCES plans (id)); -- here
`,
        tables: { users: distributed("c") },
        goOn: run("SELECT create_distributed_table('users', 'c')"),
        online: true,
    },
    {
        rule: "L2",
        title: "a foreign key from a reference table",
        sql: `CREATE TABLE users (c bigint PRIMARY KEY);
SELECT create_distributed_table('users', 'c');
CREATE TABLE plans (id bigint PRIMARY KEY,
    chosen_by bigint REFERENCES users (c)); -- here
`,
        tables: { plans: REFERENCE },
        goOn: run("SELECT create_reference_table('plans')"),
        online: true,
    },
    {
        rule: "L2",
        title: "a foreign key of a tenant's schema to a local table",
        sql: `CREATE TABLE public.lint_plans (id bigint PRIMARY KEY);
-- refused
CREATE TABLE users (id bigint PRIMARY KEY,
    plan bigint REFERENCES public.lint_plans (id)); -- here
`,
        model: "schema",
        goOn: (cluster) =>
            cluster.coordinator.query(
                "CREATE TABLE users (id bigint PRIMARY KEY, plan bigint REFERENCES public.lint_plans (id))",
            ),
        online: false,
    },
    {
        rule: "L2",
        title: "a foreign key of a tenant's schema to a distributed table",
        sql: `CREATE TABLE public.lint_firms (id bigint PRIMARY KEY);
SELECT create_distributed_table('public.lint_firms', 'id');
CREATE TABLE users (id bigint PRIMARY KEY, firm bigint);
-- refused
ALTER TABLE users ADD FOREIGN KEY (firm) REFERENCES public.lint_firms (id); -- here
`,
        model: "schema",
        goOn: run("ALTER TABLE users ADD FOREIGN KEY (firm) REFERENCES public.lint_firms (id)"),
        online: false,
        instead: true,
        advice: true,
    },
    ...["SET NULL", "SET DEFAULT"].map(
        (action): LintCase => ({
            rule: "L3",
            title: `ON DELETE ${action}`,
            sql: `CREATE TABLE a (c bigint, id bigint, PRIMARY KEY (c, id));
CREATE TABLE b (c bigint, id bigint, a bigint, PRIMARY KEY (c, id),
    FOREIGN KEY (c, a) REFERENCES a (c, id) ON DELETE ${action}); -- here
`,
            tables: { a: distributed("c"), b: distributed("c") },
            goOn: run("SELECT create_distributed_table('a', 'c'); SELECT create_distributed_table('b', 'c')"),
            online: true,
        }),
    ),
    {
        rule: "L3",
        title: "ON UPDATE CASCADE",
        sql: `CREATE TABLE a (c bigint, id bigint, PRIMARY KEY (c, id));
CREATE TABLE b (c bigint, id bigint, a bigint, PRIMARY KEY (c, id),
    FOREIGN KEY (c, a) REFERENCES a (c, id) ON DELETE CASCADE ON UPDATE CASCADE); -- here
`,
        tables: { a: distributed("c"), b: distributed("c") },
        goOn: run("SELECT create_distributed_table('a', 'c'); SELECT create_distributed_table('b', 'c')"),
        online: true,
    },
    {
        rule: "L4",
        title: "no key that a move needs",
        sql: `CREATE TABLE t (c bigint NOT NULL, v text); -- here
SELECT create_distributed_table('t', 'c', colocate_with := 'none');
`,
        goOn: move("t"),
        online: true,
    },
    {
        rule: "L4",
        title: "no key in a tenant's schema",
        sql: "CREATE TABLE t (v text); -- here\n",
        model: "schema",
        goOn: moveSchema,
        online: true,
    },
    {
        rule: "L5",
        title: "UNLOGGED",
        sql: `CREATE UNLOGGED TABLE t (c bigint PRIMARY KEY); -- here
SELECT create_distributed_table('t', 'c', colocate_with := 'none');
`,
        goOn: move("t"),
        online: true,
    },
    {
        rule: "L5",
        title: "UNLOGGED in a tenant's schema",
        sql: "CREATE UNLOGGED TABLE t (id bigint PRIMARY KEY); -- here\n",
        model: "schema",
        goOn: moveSchema,
        online: true,
    },
    {
        rule: "L5",
        title: "columnar",
        sql: `CREATE TABLE t (c bigint) USING columnar; -- here
SELECT create_distributed_table('t', 'c', colocate_with := 'none');
`,
        goOn: insertPublished("t"),
        online: true,
    },
    {
        rule: "L5",
        title: "columnar in a tenant's schema",
        sql: "CREATE TABLE t (c bigint PRIMARY KEY) USING columnar; -- here\n",
        model: "schema",
        goOn: insertPublished("t"),
        online: true,
    },
    {
        rule: "L6",
        title: "columns of other types in one group",
        sql: `CREATE TABLE companies (id bigint PRIMARY KEY);
CREATE TABLE users (
    company_id integer, -- here
    id bigint, PRIMARY KEY (company_id, id));
`,
        tables: { companies: distributed("id"), users: distributed("company_id") },
        model: "row",
        goOn: run(
            "SELECT create_distributed_table('companies', 'id'); SELECT create_distributed_table('users', 'company_id', colocate_with := 'companies')",
        ),
        online: true,
    },
    {
        rule: "L7",
        title: "a computed distribution column",
        sql: `CREATE TABLE t (id bigint NOT NULL,
    c bigint NOT NULL GENERATED ALWAYS AS (id / 1000) STORED, -- here
    PRIMARY KEY (c, id));
`,
        tables: { t: distributed("c") },
        goOn: run("SELECT create_distributed_table('t', 'c')"),
        online: true,
    },
    {
        rule: "L8",
        title: "a trigger on a table that is to be distributed",
        sql: `${FUNCTION}CREATE TABLE t (c bigint PRIMARY KEY);
CREATE TRIGGER touched BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch(); -- here
`,
        tables: { t: distributed("c") },
        goOn: run("SELECT create_distributed_table('t', 'c')"),
        online: true,
    },
    ...(["distributed", "reference"] as const).map(
        (kind): LintCase => ({
            rule: "L8",
            title: `a trigger on a ${kind} table`,
            sql: `${FUNCTION}CREATE TABLE t (c bigint PRIMARY KEY);
SELECT create_${kind}_table('t'${kind === "distributed" ? ", 'c'" : ""});
-- refused
CREATE TRIGGER touched BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch(); -- here
`,
            goOn: run("CREATE TRIGGER touched BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch()"),
            online: false,
            instead: true,
            advice: true,
        }),
    ),
    {
        rule: "L8",
        title: "a trigger in a tenant's schema",
        sql: `${FUNCTION}CREATE TABLE t (id bigint PRIMARY KEY);
-- refused
CREATE TRIGGER touched BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch(); -- here
`,
        model: "schema",
        goOn: run("CREATE TRIGGER touched BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION touch()"),
        online: false,
        instead: true,
        advice: true,
    },
    {
        rule: "L9",
        title: "serial",
        sql: `CREATE TABLE t (c bigint NOT NULL,
    id serial, -- here
    PRIMARY KEY (c, id));
`,
        tables: { t: distributed("c") },
        goOn: async (cluster) => {
            await cluster.coordinator.query("SELECT create_distributed_table('t', 'c')").catch((error: Error) => {
                if (!error.message.includes("already distributed")) throw error;
            });
            await onWorker("INSERT INTO t (c) VALUES (1)")(cluster);
        },
        online: true,
        fixOnline: true,
    },
    {
        rule: "L9",
        title: "an integer identity",
        sql: `CREATE TABLE t (c bigint NOT NULL,
    id int GENERATED BY DEFAULT AS IDENTITY, -- here
    PRIMARY KEY (c, id));
SELECT create_distributed_table('t', 'c');
`,
        goOn: onWorker("INSERT INTO t (c) VALUES (1)"),
        online: true,
        fixOnline: true,
    },
    {
        rule: "L9",
        title: "serial of a reference table",
        sql: `CREATE TABLE t (
    id serial PRIMARY KEY, -- here
    v text);
SELECT create_reference_table('t');
`,
        goOn: onWorker("INSERT INTO t (v) VALUES ('x')"),
        online: true,
        fixOnline: true,
    },
    {
        rule: "L9",
        title: "serial in a tenant's schema",
        sql: `CREATE TABLE t (
    id serial PRIMARY KEY, -- here
    v text);
`,
        model: "schema",
        goOn: onWorker("INSERT INTO t (v) VALUES ('x')"),
        online: true,
        fixOnline: true,
    },
    alteration("L10", "ADD COLUMN serial", "ADD COLUMN q serial"),
    alteration("L10", "ADD COLUMN as identity", "ADD COLUMN q bigint GENERATED ALWAYS AS IDENTITY"),
    alteration("L10", "ADD COLUMN with CHECK", "ADD COLUMN q bigint CHECK (q > 0)", { advice: true }),
    alteration("L10", "ADD COLUMN and a constraint", "ADD COLUMN q bigint, ADD CONSTRAINT p CHECK (q > 0)", {
        advice: true,
    }),
    ...[
        "ALTER COLUMN c SET STATISTICS 500",
        "ALTER COLUMN c SET STORAGE PLAIN",
        "CLUSTER ON t_pkey",
        "DISABLE TRIGGER ALL",
        "ENABLE TRIGGER USER",
        "ALTER COLUMN c TYPE text",
        "DROP COLUMN c",
    ].map((what) => alteration("L10", what, what, { advice: true })),
    alteration(
        "L10",
        "INHERIT",
        "",
        { advice: true },
        `CREATE TABLE above (c bigint);
${added("INHERIT above")}`,
    ),
    alteration(
        "L10",
        "SET STATISTICS in a tenant's schema",
        "",
        { advice: true, model: "schema" },
        `CREATE TABLE t (c bigint PRIMARY KEY);
-- refused
ALTER TABLE t ALTER COLUMN c SET STATISTICS 500; -- here
`,
    ),
    {
        rule: "L10",
        title: "a child that is to be distributed",
        sql: `CREATE TABLE above (c bigint NOT NULL);
CREATE TABLE t (PRIMARY KEY (c)) INHERITS (above); -- here
`,
        tables: { t: distributed("c") },
        goOn: run("SELECT create_distributed_table('t', 'c')"),
        online: true,
    },
    {
        rule: "L10",
        title: "a child in a tenant's schema",
        sql: `CREATE TABLE above (c bigint PRIMARY KEY);
-- refused
CREATE TABLE t (PRIMARY KEY (c)) INHERITS (above); -- here
`,
        model: "schema",
        goOn: run("CREATE TABLE t (PRIMARY KEY (c)) INHERITS (above)"),
        online: false,
        instead: true,
        onlyOnce: true,
    },
    ...["gen_random_uuid()", "now()", "clock_timestamp()", "CURRENT_TIMESTAMP"].map(
        (call): LintCase => ({
            rule: "L11",
            title: `a reference table with a new column by ${call}`,
            sql: `CREATE TABLE t (id bigint PRIMARY KEY);
SELECT create_reference_table('t');
INSERT INTO t SELECT generate_series(1, 3);
ALTER TABLE t ADD COLUMN v ${call === "gen_random_uuid()" ? "uuid" : "timestamptz"} DEFAULT ${call}; -- here
`,
            goOn: (cluster) => copiesDiffer(cluster, "t", "v"),
            silent: true,
            online: true,
            instead: true,
            fixOnline: true,
        }),
    ),
    ...[
        [
            "CURRENT_TIMESTAMP",
            `CREATE TABLE t (id bigint PRIMARY KEY,
    v timestamptz DEFAULT CURRENT_TIMESTAMP); -- here
SELECT create_reference_table('t');
`,
        ],
        [
            "LOCALTIME",
            `CREATE TABLE t (id bigint PRIMARY KEY, v time);
SELECT create_reference_table('t');
ALTER TABLE t ALTER COLUMN v SET DEFAULT LOCALTIME; -- here
`,
        ],
    ].map(
        ([word = "", sql = ""]): LintCase => ({
            rule: "L11",
            title: `a reference table with a column by ${word}`,
            sql,
            goOn: async (cluster) => {
                await cluster.coordinator.query("TRUNCATE t");
                await cluster.coordinator.query("INSERT INTO t (id) VALUES (1)");
                return copiesDiffer(cluster, "t", "v");
            },
            silent: true,
            online: true,
            fixOnline: word === "LOCALTIME",
        }),
    ),
    {
        rule: "L12",
        title: "a RESTRICTIVE policy",
        sql: `CREATE TABLE t (c bigint PRIMARY KEY);
SELECT create_distributed_table('t', 'c');
INSERT INTO t SELECT generate_series(1, 20);
GRANT USAGE ON SCHEMA {schema} TO lint_reader; GRANT SELECT ON t TO lint_reader;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY base ON t USING (c <> 1);
CREATE POLICY frozen ON t AS RESTRICTIVE USING (c <> 2); -- here
`,
        // permissive conditions add up: c = 1 is shown by the second, c = 2 by the first
        goOn: async (cluster) => {
            await cluster.coordinator.query("SET ROLE lint_reader");
            try {
                return (await count(cluster, "SELECT count(*) FROM t WHERE c IN (1, 2)")) === 2;
            } finally {
                await cluster.coordinator.query("RESET ROLE");
            }
        },
        silent: true,
        online: true,
    },
    {
        rule: "L12",
        title: "FORCE ROW LEVEL SECURITY",
        sql: `CREATE TABLE t (c bigint PRIMARY KEY);
SELECT create_distributed_table('t', 'c', colocate_with := 'none');
INSERT INTO t SELECT generate_series(1, 500);
GRANT ALL ON SCHEMA {schema} TO lint_owner;
ALTER TABLE t OWNER TO lint_owner;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t USING (c = nullif(current_setting('app.tenant', true), '')::bigint);
ALTER TABLE t FORCE ROW LEVEL SECURITY; -- here
`,
        goOn: async (cluster) => {
            await cluster.coordinator.query("DELETE FROM t; INSERT INTO t SELECT generate_series(1, 500)");
            const shards = await count(
                cluster,
                `SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = '${cluster.schema}.t'::regclass`,
            );
            await cluster.coordinator.query("SET ROLE lint_owner");
            try {
                await cluster.coordinator.query(
                    `SELECT alter_distributed_table('${cluster.schema}.t', shard_count := ${shards - 1})`,
                );
            } finally {
                await cluster.coordinator.query("RESET ROLE");
            }
            return (await count(cluster, "SELECT count(*) FROM t")) === 0;
        },
        silent: true,
        online: true,
    },
    {
        rule: "L12",
        title: "a sub-query in a policy, before the table is distributed",
        sql: `CREATE TABLE allowed (id bigint PRIMARY KEY);
CREATE TABLE t (c bigint PRIMARY KEY);
CREATE POLICY chosen ON t USING (c IN (SELECT id FROM {schema}.allowed)); -- here
`,
        tables: { t: distributed("c") },
        goOn: run("SELECT create_distributed_table('t', 'c')"),
        online: true,
    },
    {
        rule: "L12",
        title: "a sub-query in a policy of a distributed table",
        sql: `CREATE TABLE allowed (id bigint PRIMARY KEY);
CREATE TABLE t (c bigint PRIMARY KEY);
SELECT create_distributed_table('t', 'c');
-- refused
CREATE POLICY chosen ON t USING (c IN (SELECT id FROM allowed)); -- here
`,
        goOn: run("CREATE POLICY chosen ON t USING (c IN (SELECT id FROM allowed))"),
        online: false,
        instead: true,
        advice: true,
    },
    ...[
        ["a policy that needs its setting", "current_setting('lint.tenant')::bigint", ""],
        [
            "a policy that fails on an emptied setting",
            "current_setting('lint.other', true)::bigint",
            "BEGIN; SET LOCAL lint.other = '1'; COMMIT",
        ],
    ].map(
        ([title = "", condition = "", before = ""]): LintCase => ({
            rule: "L12",
            title,
            sql: `CREATE TABLE t (c bigint PRIMARY KEY);
SELECT create_distributed_table('t', 'c');
INSERT INTO t SELECT generate_series(1, 20);
GRANT USAGE ON SCHEMA {schema} TO lint_reader; GRANT SELECT ON t TO lint_reader;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t USING (c = ${condition}); -- here
`,
            goOn: async (cluster) => {
                await cluster.coordinator.query("SET ROLE lint_reader");
                try {
                    if (before !== "") await cluster.coordinator.query(before);
                    await count(cluster, "SELECT count(*) FROM t");
                } finally {
                    await cluster.coordinator.query("RESET ROLE");
                }
            },
            online: true,
        }),
    ),
    {
        rule: "L12",
        title: "row security without an index of the tenant column",
        sql: `CREATE TABLE t (id bigint PRIMARY KEY, tenant bigint NOT NULL); -- here
INSERT INTO t SELECT i, i / 10 FROM generate_series(1, 2000) i;
GRANT USAGE ON SCHEMA {schema} TO lint_reader; GRANT SELECT ON t TO lint_reader;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t USING (tenant = nullif(current_setting('app.tenant', true), '')::bigint);
`,
        tables: { t: { kind: "local", column: "tenant" } },
        model: "rls",
        goOn: async (cluster) => {
            await cluster.coordinator.query("SET enable_seqscan = off; SET ROLE lint_reader");
            try {
                const plan = await cluster.coordinator.query("EXPLAIN SELECT * FROM t");
                return JSON.stringify(plan).includes("Seq Scan");
            } finally {
                await cluster.coordinator.query("RESET ROLE; RESET enable_seqscan");
            }
        },
        silent: true,
        online: true,
    },
    {
        rule: "L13",
        title: "a distribution column that may be NULL",
        sql: `CREATE TABLE t (
    c bigint, -- here
    v text);
SELECT create_distributed_table('t', 'c');
`,
        goOn: run("INSERT INTO t VALUES (NULL, 'x')"),
        online: true,
        onlyOnce: true,
    },
    {
        rule: "L13",
        title: "rows without a tenant in a table that is to be distributed",
        sql: `CREATE TABLE t (
    c bigint, -- here
    v text);
INSERT INTO t VALUES (NULL, 'x');
`,
        tables: { t: distributed("c") },
        goOn: run("SELECT create_distributed_table('t', 'c')"),
        online: true,
        onlyOnce: true,
        advice: true,
    },
    {
        rule: "L13",
        title: "UPDATE of the distribution column",
        sql: `CREATE TABLE t (c bigint PRIMARY KEY, v text);
SELECT create_distributed_table('t', 'c');
INSERT INTO t VALUES (1, 'x');
-- refused
UPDATE t SET c = 2 WHERE c = 1; -- here
`,
        goOn: run("UPDATE t SET c = 2 WHERE c = 1"),
        online: false,
        instead: true,
        advice: true,
    },
    {
        rule: "L13",
        title: "ON CONFLICT that updates the distribution column",
        sql: `CREATE TABLE t (c bigint PRIMARY KEY, v text);
SELECT create_distributed_table('t', 'c');
INSERT INTO t VALUES (1, 'x') ON CONFLICT (c) DO UPDATE SET c = EXCLUDED.c;
-- refused
INSERT INTO t VALUES (1, 'x') ON CONFLICT (c) DO UPDATE SET c = 2; -- here
`,
        goOn: run("INSERT INTO t VALUES (1, 'x') ON CONFLICT (c) DO UPDATE SET c = 2"),
        online: false,
        instead: true,
        advice: true,
    },
    {
        rule: "L14",
        title: "a rule",
        sql: `CREATE TABLE t (c bigint PRIMARY KEY);
SELECT create_distributed_table('t', 'c');
CREATE RULE nothing AS ON INSERT TO t DO INSTEAD NOTHING; -- here
`,
        goOn: async (cluster) => {
            await cluster.coordinator.query("DELETE FROM t; INSERT INTO t VALUES (1)");
            await onWorker("INSERT INTO t VALUES (2)")(cluster);
            return (await count(cluster, "SELECT count(*) FROM t")) === 1;
        },
        silent: true,
        online: true,
    },
    ...[
        ["numeric", "CREATE TABLE other (c bigint PRIMARY KEY);"],
        ["jsonb", "CREATE TABLE other (c text PRIMARY KEY);"],
    ].map(
        ([type = "", other = ""]): LintCase => ({
            rule: "L15",
            title: `a distribution column of type ${type}`,
            sql: `${other}
CREATE TABLE t (
    c ${type} PRIMARY KEY); -- here
`,
            tables: { t: distributed("c") },
            goOn: run(
                "SELECT create_distributed_table('t', 'c'); SELECT create_distributed_table('other', 'c', colocate_with := 't')",
            ),
            online: true,
        }),
    ),
    {
        rule: "L15",
        title: "a distributed table by a numeric",
        sql: `CREATE TABLE other (c bigint PRIMARY KEY);
CREATE TABLE t (
    c numeric PRIMARY KEY); -- here
SELECT create_distributed_table('t', 'c');
`,
        goOn: run("SELECT create_distributed_table('other', 'c', colocate_with := 't')"),
        online: true,
        fixOnline: true,
    },
    {
        rule: "L15",
        title: "a distribution column of type json",
        sql: `CREATE TABLE t (
    c json NOT NULL, -- here
    id bigint);
`,
        tables: { t: distributed("c") },
        goOn: run("SELECT create_distributed_table('t', 'c')"),
        online: true,
    },
    ...["undistribute_table('t')", "alter_distributed_table('t', shard_count := 8)"].map(
        (call): LintCase => ({
            rule: "L22",
            title: `a table with an identity column, and ${call}`,
            sql: `CREATE TABLE t (c bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
SELECT create_distributed_table('t', 'c', colocate_with := 'none');
-- refused
SELECT ${call}; -- here
`,
            goOn: run(`SELECT ${call}`),
            online: false,
            instead: true,
            advice: true,
        }),
    ),
    ...[
        ["boolean", "boolean", ""],
        ["an enum", "mood", "CREATE TYPE mood AS ENUM ('calm', 'cross'); "],
    ].map(
        ([title, type, before]): LintCase => ({
            rule: "L23",
            title: `a distribution column of type ${title}`,
            sql: `${before}CREATE TABLE t (
    c ${type} NOT NULL, -- here
    id bigint, PRIMARY KEY (c, id));
`,
            tables: { t: distributed("c") },
            goOn: async (cluster) => {
                await cluster.coordinator.query("SELECT create_distributed_table('t', 'c', shard_count := 4)");
                const values = type === "boolean" ? "ARRAY[true, false]" : "enum_range(NULL::mood)";
                await cluster.coordinator.query(
                    `INSERT INTO t SELECT v, i FROM unnest(${values}) v, generate_series(1, 50) i`,
                );
                return (
                    (await count(
                        cluster,
                        "SELECT count(*) FROM run_command_on_shards('t', 'SELECT 1 FROM %s LIMIT 1') WHERE result <> ''",
                    )) <= 2
                );
            },
            silent: true,
            online: true,
            advice: true,
        }),
    ),
    {
        rule: "L16",
        title: "a table without its tenant column",
        sql: `CREATE TABLE companies (id bigint PRIMARY KEY);
CREATE TABLE users (company_id bigint, id bigint, PRIMARY KEY (company_id, id));
CREATE TABLE projects (id bigint); -- here
`,
        tables: { companies: distributed("id"), users: distributed("company_id"), projects: distributed("company_id") },
        model: "row",
        goOn: run("SELECT create_distributed_table('projects', 'company_id')"),
        online: true,
    },
    {
        rule: "L16",
        title: "a table that nobody declared and that has no tenant column",
        sql: `CREATE TABLE companies (id bigint PRIMARY KEY);
CREATE TABLE users (company_id bigint, id bigint, PRIMARY KEY (company_id, id));
CREATE TABLE projects (id bigint); -- here
`,
        tables: { companies: distributed("id"), users: distributed("company_id") },
        model: "row",
        goOn: run("SELECT create_distributed_table('projects', 'company_id')"),
        online: false,
    },
    {
        rule: "L25",
        title: "a unique constraint over all tenants of model rls",
        sql: `CREATE TABLE companies (id bigint PRIMARY KEY);
CREATE TABLE users (company_id bigint NOT NULL, id bigint NOT NULL, email text, PRIMARY KEY (company_id, id),
    UNIQUE (email)); -- here
`,
        tables: { companies: distributed("id"), users: distributed("company_id") },
        model: "rls",
        goOn: run("INSERT INTO users VALUES (1, 1, 'a@example.com'), (2, 1, 'a@example.com')"),
        online: true,
    },
    {
        rule: "L24",
        title: "a table with the tenant column that nobody declared",
        sql: `CREATE TABLE companies (id bigint PRIMARY KEY);
CREATE TABLE users (company_id bigint, id bigint, PRIMARY KEY (company_id, id));
CREATE TABLE invoices ( -- here
    company_id bigint NOT NULL, id bigint NOT NULL, PRIMARY KEY (company_id, id));
`,
        tables: { companies: distributed("id"), users: distributed("company_id") },
        model: "rls",
        silent: true,
        advice: true,
        goOn: async ({ coordinator }) => {
            await coordinator.query(
                "INSERT INTO companies VALUES (1); INSERT INTO users VALUES (1, 1); INSERT INTO invoices VALUES (1, 1)",
            );
            // all that the group declares
            await coordinator.query("DELETE FROM users WHERE company_id = 1; DELETE FROM companies WHERE id = 1");
            const [row] = await coordinator.query<{ n: string }>("SELECT count(*) AS n FROM invoices");
            return row?.n === "1";
        },
        online: true,
    },
];

/** A case's file in a schema of its own; a tenant's schema is made before, and its template names none. */
export const fileOf = (one: LintCase, schema: string) =>
    `${one.model === "schema" ? "" : `SET search_path = ${schema};\n`}${one.sql.replaceAll("{schema}", schema)}`;

/** What the group of a case declares. */
export const declaredOf = (one: LintCase, schema: string): Declared => ({
    ...(one.model === undefined ? {} : { model: one.model }),
    tables: Object.fromEntries(Object.entries(one.tables ?? {}).map(([table, spec]) => [`${schema}.${table}`, spec])),
});

/** Whether the database said what a finding foretold, whatever number the shard has. */
export const foretold = (later: string, said: string) => {
    const parts = later.split("<shard>").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return new RegExp(parts.join("[0-9]+")).test(said);
};

/** The line that ends in `-- here`. */
export const lineOf = (sql: string) => sql.split("\n").findIndex((line) => line.endsWith("-- here")) + 1;

/** The file after its finding's fix. */
export const fixed = (one: LintCase, sql: string, fix: string) =>
    one.instead
        ? sql
              .split("\n")
              .map((line) => (line.endsWith("-- here") ? fix : line))
              .join("\n")
        : `${sql}\n${fix}\n`;
