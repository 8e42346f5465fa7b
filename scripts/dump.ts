/** The cluster's database as one SQL file: npm run dump -- all.sql.gz */
import { resolve } from "node:path";
import { InvalidArgumentError } from "commander";
import { COORDINATOR } from "../core/node/topology.ts";
import type { Session } from "../core/reach/session.ts";
import { describeBytes } from "../core/util/bytes.ts";
import { LOUD, QUIET, trailer } from "./dump/file.ts";
import { type Moment, takeMoment } from "./dump/moment.ts";
import { type Output, openOutput } from "./dump/output.ts";
import { readRows } from "./dump/rows.ts";
import { sequenceStatements, workerSequences } from "./dump/sequences.ts";
import { oneLine, type RowTable, writeStatement } from "./dump/tables.ts";
import { main, script } from "./lib/command.ts";
import { CannotTell } from "./lib/exit.ts";
import { nodesOf, onNode, type StackNode } from "./lib/nodes.ts";
import { readCluster } from "./lib/project.ts";
import { readResources } from "./lib/resources.ts";
import { summary } from "./schema/calls.ts";
import { assemble, heading, restricted, scripts } from "./schema/file.ts";
import { readShape } from "./schema/read.ts";

/** Seconds between two lines of progress. */
const EVERY = 5;

/** @throws Error saying why the coordinator can't be asked */
async function findNodes(stack: string): Promise<{ nodes: ReadonlyMap<string, StackNode>; coordinator: StackNode }> {
    const nodes = nodesOf(await readResources(true));
    const coordinator = nodes.get(COORDINATOR);
    if (!coordinator)
        throw new CannotTell(`The cluster of stack ${stack} is down. Nothing was written. npm start brings it back.`);
    const facts = await onNode(coordinator, ["facts.sh"]);
    if (facts.code !== 0)
        throw new Error(
            `The coordinator can't be asked: ${facts.stderr.trim()}. Nothing was written. npm run status says more; npm run pulumi -- up --refresh brings back what is gone.`,
        );
    return { nodes, coordinator };
}

/** Materialized views with rows, in an order in which they can be filled. */
const VIEWS = `
SELECT oid::pg_catalog.regclass::text AS name FROM pg_catalog.pg_class
 WHERE relkind = 'm' AND relispopulated AND relnamespace NOT IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'citus_as_code') ORDER BY pg_class.oid`;

/** What a person may take for part of the database, and is not in the file. */
async function notIn({ nodes, coordinator }: Moment): Promise<string[]> {
    const left: string[] = [];
    const [objects] = await coordinator.query<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_catalog.pg_largeobject_metadata",
    );
    if ((objects?.n ?? 0) > 0) left.push(`${objects?.n} large objects`);
    const subscriptions = await coordinator.query<{ name: string }>(
        "SELECT subname AS name FROM pg_catalog.pg_subscription WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) ORDER BY 1",
    );
    left.push(...subscriptions.map(({ name }) => `subscription ${name}`));
    for (const session of nodes.values()) {
        const rows = await (session as Session).query<{ name: string }>(
            "SELECT datname AS name FROM pg_catalog.pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', pg_catalog.current_database()) ORDER BY 1",
        );
        left.push(...rows.map(({ name }) => `database ${name} on ${session.node}`));
    }
    return left;
}

/** Says how far it is, at most every few seconds. */
function progress(total: number) {
    let last = Date.now();
    let bytes = 0;
    return (table: number, name: string, more: number) => {
        bytes += more;
        if (Date.now() - last < EVERY * 1000) return;
        last = Date.now();
        console.error(`  ${describeBytes(bytes)} read; table ${table} of ${total}: ${name}`);
    };
}

async function dumpAll(
    moment: Moment,
    stack: { coordinator: StackNode; database: string },
    out: Output,
): Promise<string[]> {
    const { nodes, coordinator, snapshot, tables, waited } = moment;
    console.error(
        waited === undefined
            ? "Each node is read as it was at a moment of its own, some milliseconds apart: a transaction over several nodes may be in the file in part."
            : `One moment of ${nodes.size === 1 ? "the node" : `all ${nodes.size} nodes`}. Writes waited ${waited} ms for it, and go on.`,
    );
    const shape = await readShape(stack.coordinator, stack.database, snapshot);
    const views = await coordinator.query<{ name: string }>(VIEWS);
    const { key, before, after, last } = scripts(shape, [
        "-- == Sequences",
        "",
        ...(await sequenceStatements(coordinator)),
        "",
        "-- == Materialized views",
        "",
        ...views.map(({ name }) => `REFRESH MATERIALIZED VIEW ${name};`),
    ]);
    const sequences = await workerSequences(nodes);
    const left = await notIn(moment);
    await out.write(`${heading("all", shape)}${restricted(key, before)}\n`);
    const counted = new Map<string, number>();
    const say = progress(tables.length);
    let total = 0;
    const write = async (which: readonly RowTable[]) => {
        for (const table of which) {
            await out.write(`${writeStatement(table.name, table.columns)};\n`);
            const { rows } = await readRows(nodes, table, async (chunk) => {
                say(counted.size + 1, table.name, chunk.length);
                await out.write(chunk);
            });
            await out.write("\\.\n");
            counted.set(oneLine(table.name), rows);
            total += rows;
        }
    };
    await write(tables.filter((table) => !shape.isLate(table)));
    await out.write(`\n${restricted(key, after)}\n`);
    const late = tables.filter(shape.isLate);
    // their triggers and foreign keys are there already
    if (late.length > 0) await out.write(`${QUIET}\n`);
    await write(late);
    if (late.length > 0) await out.write(`${LOUD}\n`);
    await out.write(`\n${restricted(key, last)}\n${trailer(key, { rows: counted, sequences })}`);
    return [
        `${summary(shape.catalog)}; ${tables.length} tables with ${total} rows, as many as the cluster counted in that moment; no passwords of roles`,
        ...shape.leftOut.map((what) => `left out, as it may hold a password: ${what}`),
        ...left.map((what) => `not in the file: ${what}`),
    ];
}

interface Options {
    readonly schemaOnly?: boolean;
    readonly wait: number;
    readonly lock: boolean;
}

async function dump(given: string | undefined, { schemaOnly, wait, lock }: Options): Promise<void> {
    const { stack, outputs } = await readCluster();
    const database = new URL(outputs.connectionString).pathname.slice(1);
    const { nodes, coordinator } = await findNodes(stack);
    const file =
        given === undefined || given === "-" ? undefined : resolve(process.env.INIT_CWD ?? process.cwd(), given);
    const lines: string[] = [];
    if (schemaOnly) {
        const shape = await readShape(coordinator, database);
        const out = await openOutput(file);
        await out.write(assemble(shape));
        await out.finish();
        lines.push(
            `${summary(shape.catalog)}; no rows, no passwords of roles`,
            ...shape.leftOut.map((what) => `left out, as it may hold a password: ${what}`),
        );
    } else {
        const out = await openOutput(file);
        try {
            const moment = await takeMoment(nodes, { wait: lock ? wait : undefined });
            try {
                lines.push(...(await dumpAll(moment, { coordinator, database }, out)));
            } finally {
                await moment.close();
            }
            await out.finish();
        } catch (error) {
            out.abandon();
            throw error;
        }
    }
    const [first = "", ...rest] = lines;
    console.error(`${file ?? "standard output"}: ${first}`);
    for (const line of rest) console.error(line);
}

function seconds(text: string): number {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1 || value > 3600)
        throw new InvalidArgumentError("It is a whole number of seconds from 1 to 3600.");
    return value;
}

await main(
    script(
        "dump",
        "Writes the cluster's database as one SQL file: shape and rows, in one moment of all nodes; no passwords.",
    )
        .argument(
            "[file]",
            "the file, which only this user may read, packed when its name ends in .gz; without it, or with -, standard output",
        )
        .option("--schema-only", "the shape without rows")
        .option(
            "--wait <seconds>",
            "how long running writers may keep the moment from being taken; new writes wait as long",
            seconds,
            10,
        )
        .option("--no-lock", "lets writes go on: each node's rows are of a moment of its own")
        .action(dump),
);
