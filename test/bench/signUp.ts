/** What a sign-up costs: create_tenant for a schema of 10 tables, each but the first with a foreign key and an index. */
import pg from "pg";
import type { DirectAccess } from "../../core/node/reach.ts";
import { judge, median, type Row, round } from "./section.ts";

/** Milliseconds that one may take. */
const TARGET = 150;

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

/** One after the other, on one connection: an application's, as create_tenant refuses the settings that this project's have. */
export async function signUps(access: DirectAccess, group: string, count: number): Promise<{ row: Row; ms: number[] }> {
    const { host, port, user, password, database, ca, serverName } = access;
    const client = new pg.Client({ host, port, user, password, database, ssl: { ca, servername: serverName } });
    const ms: number[] = [];
    await client.connect();
    try {
        for (let i = 0; i < count; i++) {
            const began = performance.now();
            await client.query("SELECT citus_as_code.create_tenant($1, $2)", [group, `signed_up_${i}`]);
            ms.push(performance.now() - began);
        }
    } finally {
        await client.end();
    }
    const middle = median(ms);
    return {
        row: {
            what: "g  a sign-up: create_tenant, a schema of 10 tables",
            figure: `${middle.toFixed(0)} ms`,
            target: `${TARGET} ms`,
            ...judge(middle, TARGET),
        },
        ms: round(ms),
    };
}
