/** Brings a file of npm run dump into a fresh, empty cluster: npm run load -- all.sql.gz */
import { resolve } from "node:path";
import { COORDINATOR } from "../core/node/topology.ts";
import type { Session, StreamSession } from "../core/reach/session.ts";
import { describeBytes } from "../core/util/bytes.ts";
import { foundIn, roleNames } from "./dump/empty.ts";
import { type Dump, readDump, type Visitor } from "./dump/file.ts";
import { closeAll, openNodes } from "./dump/moment.ts";
import { openSink } from "./dump/rows.ts";
import { inFile, refusedRow } from "./dump/said.ts";
import { continueSequences } from "./dump/sequences.ts";
import { countStatement, oneLine, readTables } from "./dump/tables.ts";
import { main, script } from "./lib/command.ts";
import { CannotTell, EXIT } from "./lib/exit.ts";
import { nodesOf, onNode, type StackNode } from "./lib/nodes.ts";
import { readCluster } from "./lib/project.ts";
import { readResources } from "./lib/resources.ts";

const EVERY = 5000;

/** Reads the whole file before anything is touched. */
async function inspect(file: string): Promise<{ dump: Dump; roles: string[] }> {
    const roles: string[] = [];
    const dump = await readDump(file, {
        script: async (part, text) => {
            if (part === "before") roles.push(...roleNames(text));
        },
        statement: async () => undefined,
        table: async () => {
            let rows = 0;
            return {
                write: async (chunk) => {
                    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) rows++;
                },
                end: async () => rows,
            };
        },
    });
    return { dump, roles };
}

const TITLES = {
    before: "Making its objects",
    after: "Making foreign keys, views and the rest",
    last: "Setting sequences and filling materialized views",
};
const MISSING = {
    before: "",
    after: "Foreign keys, views or what comes after them are missing.",
    last: "Sequences are not set, and materialized views are empty.",
};

async function runScript(
    node: StackNode,
    database: string,
    file: string,
    part: string,
    text: string,
    line: number,
): Promise<void> {
    const name = `${part}.sql`;
    const words = ["psql.sh", database, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", name];
    const ran = await onNode(node, words, { files: { [name]: text, stdin: "" } });
    if (ran.code !== 0)
        throw new Error(`coordinator: ${inFile(ran.stderr, file, line) || `psql ended with ${ran.code}`}`);
    if (ran.stderr.trim() !== "") console.error(`  ${inFile(ran.stderr, file, line)}`);
}

/** Counts every table, and compares. */
async function compare(coordinator: Session, rows: Dump["rows"]): Promise<string[]> {
    const wrong: string[] = [];
    const tables = new Map((await readTables(coordinator)).map((table) => [oneLine(table.name), table]));
    for (const [name, wanted] of rows) {
        const table = tables.get(name);
        const [row] = table
            ? await coordinator.query<{ n: string }>(countStatement(table, { name: table.name, group: 0 }))
            : [];
        if (Number(row?.n) !== wanted)
            wrong.push(`${name}: ${wanted} rows in the file, ${row?.n ?? "?"} in the cluster`);
    }
    return wrong;
}

async function load(given: string): Promise<void> {
    const file = resolve(process.env.INIT_CWD ?? process.cwd(), given);
    const { dump: found, roles } = await inspect(file).catch((error: Error) => {
        throw new CannotTell(`${error.message}. Nothing was changed.`);
    });
    const total = [...found.rows.values()].reduce((sum, n) => sum + n, 0);
    console.log(`${file} is whole: ${found.of} ${found.rows.size} tables with ${total} rows.`);
    const { stack, outputs } = await readCluster();
    const database = new URL(outputs.connectionString).pathname.slice(1);
    const stackNodes = nodesOf(await readResources(true));
    const node = stackNodes.get(COORDINATOR);
    if (!node)
        throw new CannotTell(`The cluster of stack ${stack} is down. Nothing was changed. npm start brings it back.`);
    const nodes = await openNodes(stackNodes);
    const coordinator = nodes.get(0) as StreamSession;
    try {
        const there = await foundIn(coordinator, roles);
        if (there.length > 0)
            throw new Error(
                `Database ${database} of stack ${stack} is not empty: ${there.slice(0, 8).join(", ")}${there.length > 8 ? ` and ${there.length - 8} more` : ""}.\n` +
                    "Nothing was changed. A dump is loaded into a fresh cluster: npm run pulumi -- stack init NAME && npm start",
            );
        let kept = "Nothing was changed.";
        const again = `To begin again, with an empty cluster: npm run down, then npm start, then npm run load -- ${given}`;
        const stopped = (signal: NodeJS.Signals) => {
            console.error(`\n${signal}: ${kept}\n${again}`);
            process.exit(EXIT.stopped);
        };
        process.on("SIGINT", stopped);
        process.on("SIGTERM", stopped);
        let tables = 0;
        let bytes = 0;
        let last = Date.now();
        const visitor: Visitor = {
            script: async (part, text, line) => {
                console.log(TITLES[part]);
                kept =
                    part === "before"
                        ? "Some of its objects are made and stay. There are no rows."
                        : `Its objects and the rows of ${tables} of ${found.rows.size} tables are there and stay. ${MISSING[part]}`;
                await runScript(node, database, file, part, text, line);
                if (part === "before") kept = "Its objects are made and stay. There are no rows.";
            },
            statement: async (text) => {
                await coordinator.query(text);
            },
            table: async (copy) => {
                const { stream, sink } = openSink(coordinator, copy.statement);
                let failed: Error | undefined;
                stream.on("error", (error) => {
                    failed = error;
                });
                const right = (error: Error) => refusedRow(failed ?? error, copy, file);
                return {
                    write: async (chunk) => {
                        if (failed) throw right(failed);
                        bytes += chunk.length;
                        if (Date.now() - last > EVERY) {
                            last = Date.now();
                            console.log(
                                `  ${describeBytes(bytes)} loaded; table ${tables + 1} of ${found.rows.size}: ${copy.name}`,
                            );
                        }
                        await sink.write(chunk).catch((error: Error) => {
                            throw right(error);
                        });
                    },
                    end: async () => {
                        const rows = await sink.end().catch((error: Error) => {
                            throw right(error);
                        });
                        tables++;
                        kept = `Its objects and the rows of ${tables} of ${found.rows.size} tables are there and stay. Of the table that failed there are none.`;
                        return rows;
                    },
                };
            },
        };
        try {
            await readDump(file, visitor);
            await continueSequences(nodes, found.sequences);
            console.log("Counting");
            const wrong = await compare(coordinator, found.rows);
            if (wrong.length > 0) {
                kept =
                    "Everything was loaded and stays, and something else writes to this cluster, or a rule or trigger of yours did.";
                throw new Error(`The cluster's rows are not those of the file:\n  ${wrong.join("\n  ")}`);
            }
            await coordinator.query("ANALYZE");
        } catch (error) {
            throw new Error(`${(error as Error).message}\n${kept}\n${again}`);
        }
        console.log(
            `Loaded into database ${database} of stack ${stack}: ${found.rows.size} tables with ${total} rows, counted in the cluster.` +
                " Roles have no passwords yet.",
        );
    } finally {
        await closeAll(nodes.values());
    }
}

await main(
    script("load", "Brings a file of npm run dump into a fresh, empty cluster, and compares the rows.")
        .argument("<file>", "what npm run dump wrote, packed or not")
        .action(load),
);
