/** What tenants cost: many schemas, and one tenant's query by each way there is to it. */
import { ShardMap } from "../../client/shardMap.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { publishedAccess } from "../lib.ts";
import { median, type Row, round, type Section, say } from "./section.ts";
import { SIGN_UP_GROUP, SIGN_UP_TEMPLATE, signUps } from "./signUp.ts";
import { BenchStack } from "./stack.ts";

const ROW_TABLES = `
CREATE TABLE companies (id bigint PRIMARY KEY);
CREATE TABLE users (company_id bigint, id bigint, email text, PRIMARY KEY (company_id, id));
`;

/** Planning may grow by this much from the fewest schemas to the most. */
const PLANNING_TARGET = 1.5;
/** A query that goes to the owning worker may take this share of one through the coordinator. */
const DIRECT_TARGET = 0.8;

const schemaName = (i: number) => `t${String(i).padStart(5, "0")}`;

/** Schemas with two tables and a foreign key each, 25 in a transaction. */
async function makeSchemas(session: Session, from: number, to: number): Promise<void> {
    for (let first = from; first <= to; first += 25) {
        const names = Array.from({ length: Math.min(25, to - first + 1) }, (_, i) => schemaName(first + i));
        const made = names.map(
            (name) => `CREATE SCHEMA ${name};
                CREATE TABLE ${name}.users (id bigint PRIMARY KEY, email text);
                CREATE TABLE ${name}.projects (id bigint PRIMARY KEY, user_id bigint REFERENCES ${name}.users (id));
                INSERT INTO ${name}.users SELECT i, 'u' || i FROM generate_series(1, 20) i;`,
        );
        await session.query(`BEGIN; SET LOCAL citus.enable_schema_based_sharding = on; ${made.join("\n")} COMMIT;`);
        if (first % 500 === 1 && first > 1) say(`schemas: ${first - 1}`);
    }
}

const timed = async (work: () => Promise<unknown>) => {
    const began = performance.now();
    await work();
    return performance.now() - began;
};

async function atSchemas(
    open: () => Promise<Session>,
    count: number,
    repeats: number,
): Promise<{ first: number; planning: number; later: number }> {
    const firsts: number[] = [];
    const plannings: number[] = [];
    const laters: number[] = [];
    for (let i = 0; i < repeats; i++) {
        const session = await open();
        const name = schemaName(1 + Math.floor((count - 1) * ((i + 1) / (repeats + 1))));
        const query = () => session.query(`SELECT * FROM ${name}.users WHERE id = 7`);
        firsts.push(await timed(query));
        await query();
        laters.push(await timed(query));
        const rows = await session.query<{ "QUERY PLAN": { "Planning Time": number }[] }>(
            `EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM ${name}.users WHERE id = 7`,
        );
        plannings.push(rows[0]?.["QUERY PLAN"][0]?.["Planning Time"] ?? Number.NaN);
        await session.close();
    }
    return { first: median(firsts), planning: median(plannings), later: median(laters) };
}

const milliseconds = (value: number) => `${value.toFixed(2)} ms`;

/** (g): planning and the first query of a connection at 10, 1,000 and 5,000 schemas; one tenant by three ways. */
export async function tenants(quick: boolean): Promise<Section> {
    const stack = await BenchStack.make({ workers: 2, backup: false });
    stack.write("billing.sql", ROW_TABLES);
    stack.write("signup.sql", SIGN_UP_TEMPLATE);
    await stack.config({
        tenantGroups: JSON.stringify({
            billing: {
                model: "row",
                anchor: "companies",
                tables: { companies: { distributeBy: "id" }, users: { distributeBy: "company_id" } },
                template: "billing.sql",
            },
            practices: SIGN_UP_GROUP,
        }),
    });
    await stack.up();
    const outputs = await stack.outputs();
    const open = (node = "coordinator", database?: string) => {
        const access = publishedAccess(outputs, node);
        return connect(database ? { ...access, database } : access, node);
    };
    const session = await open();
    const rows: Row[] = [];
    const signedUp = await signUps(publishedAccess(outputs, "coordinator"), "practices", quick ? 10 : 50);
    rows.push(...signedUp.rows);
    const sizes = quick ? [10, 200] : [10, 1000, 5000];
    const found: Record<string, { first: number; planning: number; later: number }> = {};
    let made = 0;
    for (const size of sizes) {
        await makeSchemas(session, made + 1, size);
        made = size;
        await session.query("VACUUM ANALYZE pg_class");
        const figures = await atSchemas(open, size, quick ? 5 : 15);
        found[size] = figures;
        say(`${size} schemas: ${JSON.stringify(figures)}`);
        rows.push({
            what: `g  ${size} schemas: first query of a connection, third, planning`,
            figure: `${milliseconds(figures.first)}, ${milliseconds(figures.later)}, ${milliseconds(figures.planning)}`,
            target: "",
            met: undefined,
        });
    }
    const [least, most] = [found[sizes[0] ?? 0], found[sizes.at(-1) ?? 0]];
    const growth = (most?.planning ?? Number.NaN) / (least?.planning ?? Number.NaN);
    rows.push({
        what: `g  planning at ${sizes.at(-1)} schemas against ${sizes[0]}`,
        figure: `${growth.toFixed(2)} x`,
        target: `${PLANNING_TARGET} x`,
        met: growth <= PLANNING_TARGET,
    });
    const ways = await threeWays(session, open, quick ? 300 : 3000);
    await session.close();
    await stack.remove();
    const [plain, coordinator, direct] = [median(ways.plain), median(ways.coordinator), median(ways.direct)];
    const micro = (value: number) => `${(value * 1000).toFixed(0)} us`;
    rows.push(
        { what: "g  one tenant's row, plain PostgreSQL", figure: micro(plain), target: "", met: undefined },
        {
            what: "g  one tenant's row, through the coordinator",
            figure: `${micro(coordinator)} = ${(coordinator / plain).toFixed(2)} x plain`,
            target: "",
            met: undefined,
        },
        {
            what: "g  one tenant's row, on its worker by the shard map",
            figure: `${micro(direct)} = ${(direct / coordinator).toFixed(2)} x coordinator`,
            target: `${DIRECT_TARGET} x coordinator`,
            met: direct / coordinator <= DIRECT_TARGET,
        },
    );
    return {
        rows,
        data: {
            schemas: found,
            growth,
            signUps: signedUp.data,
            plain: round(ways.plain.map((ms) => ms * 1000)),
            ways: { plain, coordinator, direct },
        },
    };
}

/** Side by side, one after the other each time, so that a busy moment meets all three. */
async function threeWays(
    session: Session,
    open: (node?: string, database?: string) => Promise<Session>,
    times: number,
): Promise<{ plain: number[]; coordinator: number[]; direct: number[] }> {
    const fill =
        "INSERT INTO users SELECT c, u, 'u' || u FROM generate_series(1, 1000) c, generate_series(1, 200) u; ANALYZE users";
    const other = await open("coordinator", "postgres");
    await other.query(ROW_TABLES + fill);
    await session.query(fill);
    const [row] = await session.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map");
    const worker = await open(ShardMap.from(row?.map).lookup("42", "billing").node);
    const query = "SELECT email FROM users WHERE company_id = 42 AND id = 7";
    const ways = { plain: [] as number[], coordinator: [] as number[], direct: [] as number[] };
    for (let i = 0; i < times + 50; i++) {
        const took = [
            await timed(() => other.query(query)),
            await timed(() => session.query(query)),
            await timed(() => worker.query(query)),
        ];
        if (i < 50) continue;
        ways.plain.push(took[0] ?? 0);
        ways.coordinator.push(took[1] ?? 0);
        ways.direct.push(took[2] ?? 0);
    }
    await other.close();
    await worker.close();
    return ways;
}
