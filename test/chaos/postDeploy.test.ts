/** `pulumi up` killed while it runs the user's own SQL: each file is run wholly and once, or not at all. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { docker, requireEngine, TestStack } from "../lib.ts";
import { begin, demolish, killAt, lastLines, Summary, tryUp, until, type Victims } from "./chaos.ts";

const ROWS = 600;
/** More than the pipes to psql hold, so that a killed provider leaves psql with half a file; mostly comments, as in a dump. */
const FILE = [
    "CREATE TABLE once (id int);",
    ...Array.from({ length: ROWS }, (_, i) =>
        [`INSERT INTO once SELECT ${i + 1} FROM pg_sleep(0.05);`, `-- ${"a remark. ".repeat(800)}`].join("\n"),
    ),
    "",
].join("\n");
const summary = new Summary("pulumi up killed while it runs citus:postDeploy");

beforeAll(requireEngine);
afterAll(() => summary.print());

for (const victims of ["everything", "the CLI only"] satisfies Victims[]) {
    test(`post-deploy, killed ${victims}`, async () => {
        const stack = await TestStack.make({ workers: 0 });
        try {
            stack.write("big.sql", FILE);
            await stack.up();
            await stack.config({ postDeploy: ["big.sql"] });
            const running = () =>
                docker([
                    "exec",
                    stack.container("coordinator"),
                    "psql",
                    "-XAtq",
                    "-c",
                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO once%'",
                ]).trim() !== "0";
            const up = begin(stack);
            await until(running, 60_000, "the file is run");
            const moment = Date.now() - up.began + 1500;
            const { hit, orphans } = await killAt(stack, up, moment, victims);
            assert.ok(hit, "up was still under way");
            const cancelled = await begin(stack, ["cancel", "--yes"], 60_000).ended;
            assert.equal(cancelled.code, 0, cancelled.output);
            const began = Date.now();
            if (victims === "everything") {
                await until(() => !running(), 120_000, "what psql had been given is run");
                const [there] = await stack.sql<{ name: string | null }>("SELECT to_regclass('once')::text AS name");
                const rows = there?.name ? await stack.sql("SELECT id FROM once") : [];
                assert.ok([0, ROWS].includes(rows.length), `half a file was kept: ${rows.length} of ${ROWS} rows`);
            }
            const ran = await tryUp(stack);
            assert.equal(ran.code, 0, lastLines(ran.output));
            const [row] = await stack.sql<{ n: number; ids: number }>(
                "SELECT count(*)::int AS n, count(DISTINCT id)::int AS ids FROM once",
            );
            assert.deepEqual(row, { n: ROWS, ids: ROWS }, "each statement ran once");
            summary.add(
                "post-deploy",
                `${(moment / 1000).toFixed(1)} s`,
                "converged",
                (Date.now() - began) / 1000,
                `killed ${victims}; ${orphans} processes lived on`,
            );
        } finally {
            await demolish(stack);
        }
    });
}
