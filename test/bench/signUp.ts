/** What a sign-up costs: create_tenant for a schema of 10 tables, each but the first with a foreign key and an index. */
import pg from "pg";
import type { DirectAccess } from "../../core/node/reach.ts";
import { judge, median, type Row, round } from "./section.ts";

/** Milliseconds that one should take. */
const GOAL = 150;
/** How many times as long as the same tables by hand it may take. */
const TARGET = 1.3;

export const SIGN_UP_TEMPLATE = [
    "CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text UNIQUE);",
    ...Array.from(
        { length: 9 },
        (_, i) =>
            `CREATE TABLE t${i} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint REFERENCES users ON DELETE CASCADE, name text NOT NULL);
CREATE INDEX ON t${i} (user_id);`,
    ),
].join("\n");

export const SIGN_UP_GROUP = { model: "schema", template: "signup.sql", onboarding: true };

/** The least that Citus can do it in: the same tables in a new schema, which is then distributed. @returns milliseconds */
async function byHand(client: pg.Client, name: string): Promise<number> {
    const began = performance.now();
    await client.query("BEGIN");
    await client.query(`CREATE SCHEMA ${name}`);
    await client.query(`SET LOCAL search_path = ${name}`);
    await client.query(SIGN_UP_TEMPLATE);
    await client.query(`SELECT citus_schema_distribute('${name}')`);
    await client.query("COMMIT");
    return performance.now() - began;
}

/** One after the other, on one connection each: an application's, as create_tenant refuses the settings that this project's have. */
export async function signUps(
    access: DirectAccess,
    group: string,
    count: number,
): Promise<{ rows: Row[]; data: object }> {
    const { host, port, user, password, database, ca, serverName } = access;
    const open = async () => {
        const client = new pg.Client({ host, port, user, password, database, ssl: { ca, servername: serverName } });
        await client.connect();
        return client;
    };
    const [client, hand] = [await open(), await open()];
    const made: number[] = [];
    const floors: number[] = [];
    try {
        // in turn, so that a busy moment meets both
        for (let i = 0; i < count; i++) {
            floors.push(await byHand(hand, `by_hand_${i}`));
            const began = performance.now();
            await client.query("SELECT citus_as_code.create_tenant($1, $2)", [group, `signed_up_${i}`]);
            made.push(performance.now() - began);
        }
    } finally {
        await client.end();
        await hand.end();
    }
    const [middle, floor] = [median(made), median(floors)];
    return {
        rows: [
            {
                what: "g  a schema of 10 tables by hand, distributed by Citus",
                figure: `${floor.toFixed(0)} ms`,
                target: "",
                met: undefined,
            },
            {
                what: "g  a sign-up: create_tenant, a schema of 10 tables",
                figure: `${middle.toFixed(0)} ms = ${(middle / floor).toFixed(2)} x by hand`,
                target: `${GOAL} ms, or ${TARGET} x by hand`,
                ...judge(Math.min(middle / GOAL, middle / floor / TARGET), 1),
            },
        ],
        data: { signUps: round(made), byHand: round(floors) },
    };
}
