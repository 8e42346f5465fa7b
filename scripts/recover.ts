/**
 * One table or one tenant as it was at a restore point, beside what the cluster has now:
 * npm run recover -- --table public.orders --at 2026-11-30T10:00Z
 */

import { COORDINATOR } from "../core/node/topology.ts";
import { connect, type Session, withSession } from "../core/reach/session.ts";
import { choosePoint, type RestorePoint } from "../core/restore/points.ts";
import { parseTime, refusedTarget } from "../core/restore/request.ts";
import { identifier } from "../core/sql/quote.ts";
import { describeAge } from "../core/util/age.ts";
import { describeBytes } from "../core/util/bytes.ts";
import { joinNames } from "../core/util/joinNames.ts";
import { closeAll, openNodes } from "./dump/moment.ts";
import { asText } from "./dump/rows.ts";
import { type Backed, openBackups, readBackups } from "./lib/backups.ts";
import { main, script } from "./lib/command.ts";
import { withCopy } from "./lib/copy.ts";
import { CannotTell } from "./lib/exit.ts";
import { findTenant, groupsOf, withTenant } from "./lib/groups.ts";
import { nodesOf, type StackNode } from "./lib/nodes.ts";
import { askPulumi } from "./lib/project.ts";
import { parseState, readResources } from "./lib/resources.ts";
import { copyRows } from "./recover/copyRows.ts";
import { type Definition, readDefinition, readTarget } from "./recover/table.ts";

interface Options {
    readonly table?: string;
    readonly tenant?: string;
    readonly at?: string;
    readonly point?: string;
    readonly into?: string;
}

const say = (text: string) => console.log(text);

/** @throws CannotTell when what was asked for is no moment that can be restored */
async function findPoint(backed: Backed, asked: string): Promise<RestorePoint> {
    const refusal = refusedTarget(asked);
    if (refusal !== undefined) throw new CannotTell(`The moment ${refusal}, got "${asked}". Nothing was done.`);
    const wanted = { kind: "restore", cluster: backed.args.name, point: asked } as const;
    const choice = choosePoint(asked, await readBackups(backed, wanted));
    if ("refusal" in choice)
        throw new CannotTell(`${choice.refusal}\nNothing was done. npm run backups lists the points.`);
    const { point, before, passedOver } = choice;
    const age = describeAge((Date.now() - Date.parse(point.time)) / 1000);
    say(`Point           ${point.name}, taken ${point.time} (${age} ago)`);
    if (before !== undefined)
        say(`                ${describeAge(before / 1000)} before ${asked}: what was written in between is not in it`);
    if (passedOver !== undefined) say(`                ${passedOver} newer points can't be restored (npm run backups)`);
    return point;
}

/** The nodes of another stack than the selected one. */
const nodesOfStack = async (stack: string): Promise<Map<string, StackNode>> =>
    nodesOf(parseState((await askPulumi("stack", "export", "--show-secrets", "--stack", stack)) ?? "{}"));

function size(point: RestorePoint): string {
    return `${point.nodes.length} nodes, ${describeBytes(point.nodes.reduce((sum, node) => sum + Number(node.bytes), 0))}`;
}

/** The tables of a point that Citus knew, for who wrote a name wrong. */
function known(point: RestorePoint): string {
    const names = point.tables.map(({ name }) => name).sort();
    return names.length === 0 ? "" : `Tables that Citus knew there: ${joinNames(names)}. `;
}

/** A name as it is before it is known which table it is: for the name of the new one. */
async function splitName(living: Session, named: string): Promise<{ schema: string; bare: string }> {
    const [row] = await living.query<{ parts: string[] }>("SELECT parse_ident($1) AS parts", [named]);
    const [first = "", second] = row?.parts ?? [];
    return second === undefined ? { schema: "public", bare: first } : { schema: first, bare: second };
}

async function recoverTable(
    backed: Backed,
    coordinator: StackNode,
    asked: string,
    options: Options & { table: string },
): Promise<void> {
    const access = coordinator.access;
    if (!access)
        throw new CannotTell(
            "The coordinator is not registered yet. Nothing was done. npm run pulumi -- up registers it.",
        );
    // asked before a minute is spent on the copy
    const { target, now } = await withSession(access, COORDINATOR, async (session) => {
        const found = await readTarget(session, await splitName(session, options.table), options.into);
        const [row] = await session.query<{ name: string | null }>("SELECT to_regclass($1)::text AS name", [
            options.table,
        ]);
        const [count] = row?.name
            ? await session.query<{ n: string }>(`SELECT count(*)::text AS n FROM ${row.name}`)
            : [];
        return { target: found, now: count?.n };
    });
    const point = await findPoint(backed, asked);
    say(`Restoring       ${size(point)}, into a stack of its own, which is removed afterwards`);
    const done = await withCopy(
        { backed, point, prefix: "recover", say, failed: "Nothing was recovered" },
        async ({ name }) => {
            const copy = await openNodes(await nodesOfStack(name));
            const living = await connect(access, COORDINATOR);
            try {
                await asText(living);
                const session = copy.get(0);
                const table = session && (await readDefinition(session, options.table));
                if (!table)
                    throw new Error(
                        `${point.name} has no table ${options.table}: it was made later, dropped or renamed before ${point.time}, or has another name. ${known(point)}Name an earlier point (npm run backups), or the right table.`,
                    );
                const result = await copyRows(table, target, copy, living, {
                    say,
                    ...(options.tenant === undefined ? {} : { tenant: options.tenant }),
                });
                return { ...result, table };
            } finally {
                await closeAll([...copy.values(), living]);
            }
        },
    );
    const { table, inCopy, inNew, says } = done;
    const some = (n: number, one: string, many = `${one}s`) => (n > 0 ? [`${n} ${n === 1 ? one : many}`] : []);
    const left = [
        ...some(table.left.foreignKeys, "foreign key"),
        ...some(table.left.triggers, "trigger"),
        ...some(table.left.policies, "policy", "policies"),
        ...some(
            table.left.numbered.length,
            `column that numbers rows (${table.left.numbered.join(", ")})`,
            `columns that number rows (${table.left.numbered.join(", ")})`,
        ),
        ...(table.kind === "p" ? [`its ${table.leaves.length} partitions`] : []),
        "owner and grants",
    ];
    const which = options.tenant === undefined ? "" : ` of tenant ${options.tenant}`;
    const rows = [
        [`rows${which} at the point`, inCopy],
        [`rows in ${target.name}`, inNew],
        [`rows in ${table.name} now`, now ?? "there is no such table"],
    ];
    const width = Math.max(...rows.map(([what = ""]) => what.length));
    // what is generated takes no value
    const stored = table.columns
        .filter(({ generated }) => generated === null)
        .map(({ name }) => name)
        .join(", ");
    const next =
        now === undefined
            ? [
                  ["To use it instead:", `ALTER TABLE ${target.name} RENAME TO ${identifier(table.bare)};`],
                  ...table.left.numbered.flatMap((column) => numberAgain(table, column)),
              ]
            : [
                  [
                      "To bring rows back:",
                      `INSERT INTO ${table.name} (${stored}) ${table.left.numbered.length > 0 ? "OVERRIDING SYSTEM VALUE " : ""}${missingRows(table, target.name, stored)};`,
                  ],
              ];
    next.push(["When it is done with:", `DROP TABLE ${target.name};`]);
    say(`
${target.name} is in the cluster: ${says}.

${rows.map(([what = "", n]) => `  ${what.padEnd(width)}   ${n}`).join("\n")}

Without: ${left.join(", ")}. Only the superuser reads it.
${next.map(([what = "", sql]) => `${what.padEnd(22)}${sql}`).join("\n")}`);
}

/** What numbers rows again: Citus takes no identity column onto a table that is distributed. */
function numberAgain(table: Definition, column: string): [string, string][] {
    const sequence = `${identifier(table.schema)}.${identifier(`${table.bare}_${column.replaceAll('"', "")}_seq`)}`;
    return [
        ["To number rows again:", `CREATE SEQUENCE IF NOT EXISTS ${sequence};`],
        ["", `SELECT setval('${sequence.replaceAll("'", "''")}', (SELECT max(${column}) FROM ${table.name}));`],
        [
            "",
            `ALTER TABLE ${table.name} ALTER COLUMN ${column} SET DEFAULT nextval('${sequence.replaceAll("'", "''")}');`,
        ],
    ];
}

/** The rows of the recovered table that the living one has not: by its keys, and where it has none, row by row. */
function missingRows(table: Definition, recovered: string, columns: string): string {
    const keyed =
        table.constraints.some(({ kind }) => kind === "p" || kind === "u") ||
        table.indexes.some(({ unique }) => unique);
    return keyed
        ? `SELECT ${columns} FROM ${recovered} ON CONFLICT DO NOTHING`
        : `SELECT ${columns} FROM ${recovered} EXCEPT ALL SELECT ${columns} FROM ${table.name}`;
}

/** A tenant of a group comes as an export of the copy, which `npm run tenants -- restore` brings back. */
async function recoverTenant(backed: Backed, asked: string, tenant: string): Promise<void> {
    const found = findTenant(groupsOf(await readResources(true)), tenant);
    const { exportTenant } = await import("../core/tenants/exports/export.ts");
    const point = await findPoint(backed, asked);
    say(`Restoring       ${size(point)}, into a stack of its own, which is removed afterwards`);
    const file = await withCopy(
        { backed, point, prefix: "recover", say, failed: "Nothing was recovered" },
        async ({ name }) => {
            const nodes = await nodesOfStack(name);
            // an export asks for a node by its name only
            const unused = { host: "", port: 0, address: { host: "", port: 0 } };
            const there = [...nodes.values()].flatMap(({ name: node, shell, access }) =>
                access ? [{ ...unused, name: node, shell, access }] : [],
            );
            say(`  exporting ${tenant} from it`);
            return withTenant({ ...found, inputs: { ...found.inputs, nodes: there } }, exportTenant);
        },
    );
    const full = `${found.inputs.group.name}/${found.tenant}`;
    const { model } = found.inputs.group;
    const replace = model === "schema" || model === "database";
    say(`
${full} as it was at ${point.time} is in ${file}.

The cluster was not changed. To bring it back in place of what ${full} has now${replace ? ", which is exported first" : ""}:
  npm run tenants -- restore ${full} ${file}${replace ? " --replace" : ""}${
      replace
          ? ""
          : "\nThat refuses a tenant that has rows: delete it first (docs/tenants-delete.md), or take single tables instead:\n" +
            `  npm run recover -- --table TABLE --tenant KEY --point ${point.name}`
  }`);
}

async function recover(options: Options): Promise<void> {
    const { table, tenant, at, point, into } = options;
    if (table === undefined && tenant === undefined)
        throw new CannotTell(
            "Nothing was named to be recovered: --table SCHEMA.NAME, or --tenant GROUP/NAME. Nothing was done.",
        );
    if ((at === undefined) === (point === undefined))
        throw new CannotTell(
            "Name the moment, one of --at 2026-11-30T10:00Z and --point NAME (npm run backups lists points). Nothing was done.",
        );
    if (into !== undefined && table === undefined)
        throw new CannotTell(
            "--into names a table, so it goes with --table: a tenant is recovered into a file. Nothing was done.",
        );
    if (at !== undefined && parseTime(at) === undefined)
        throw new CannotTell(`--at is a time with its zone, such as 2026-11-30T10:00Z, got "${at}". Nothing was done.`);
    const backed = await openBackups();
    const asked = at ?? point ?? "";
    if (table === undefined) return recoverTenant(backed, asked, tenant ?? "");
    const coordinator = nodesOf(await readResources(true)).get(COORDINATOR);
    if (!coordinator)
        throw new CannotTell(
            `The cluster of stack ${backed.stack} is down. Nothing was done. npm start brings it back.`,
        );
    return recoverTable(backed, coordinator, asked, { ...options, table });
}

await main(
    script(
        "recover",
        "Brings one table, or one tenant, back from a moment: from a throw-away restore beside the cluster, into a table of another name or a file.",
    )
        .option("--table <name>", "the table, such as public.orders")
        .option(
            "--tenant <key>",
            "with --table: only rows of this key. Alone: the tenant of a group, as a file that npm run tenants -- restore takes",
        )
        .option("--at <time>", "the last restore point before this moment, such as 2026-11-30T10:00Z")
        .option("--point <name>", "a restore point, as npm run backups names it, or latest")
        .option("--into <name>", "the new table; the original's name and _recovered by default")
        .action(recover),
);
