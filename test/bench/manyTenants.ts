/** What many tenants cost: a preview of them in many groups, and freezing one of them in a group of many tables. */
import { connect } from "../../core/reach/session.ts";
import { publishedAccess } from "../lib.ts";
import { type Held, whileLocked } from "./locks.ts";
import { judge, median, type Row, round, type Section, say, seconds } from "./section.ts";
import { BenchStack } from "./stack.ts";

/** Milliseconds that a preview may take more with all groups than without. */
const PREVIEW_TARGET = 3000;
/** Milliseconds that freezing one tenant may take more than an `up` without a change. */
const FREEZE_TARGET = 2000;
/** Milliseconds that a table may be locked exclusively, and that a read of one may wait longer than it does otherwise. */
const LOCK_TARGET = 50;

interface Sizes {
    readonly groups: number;
    readonly tenants: number;
    readonly tables: number;
    readonly repeats: number;
}

const keys = (from: number, count: number) => Array.from({ length: count }, (_, i) => String(from + i));

/** Groups of model rls with one table each, all from the same file's like. */
function manyGroups(stack: BenchStack, { groups, tenants }: Sizes): Record<string, unknown> {
    const each = Math.ceil(tenants / groups);
    const settings: Record<string, unknown> = {};
    for (let i = 0; i < groups; i++) {
        stack.write(`group-${i}.sql`, `CREATE TABLE firms_${i} (id bigint PRIMARY KEY);\n`);
        stack.write(`group-${i}.json`, JSON.stringify(keys(i * each + 1, each)));
        settings[`many_${i}`] = {
            model: "rls",
            anchor: `firms_${i}`,
            tables: { [`firms_${i}`]: { distributeBy: "id" } },
            template: `group-${i}.sql`,
            tenants: `group-${i}.json`,
        };
    }
    return settings;
}

/** One group of model row with many tables. */
function oneGroup(stack: BenchStack, { tables, tenants }: Sizes): Record<string, unknown> {
    const names = Array.from({ length: tables - 1 }, (_, i) => `part_${i + 1}`);
    stack.write(
        "big.sql",
        [
            "CREATE TABLE firms (id bigint PRIMARY KEY);",
            ...names.map((name) => `CREATE TABLE ${name} (firm bigint NOT NULL, id bigint, PRIMARY KEY (firm, id));`),
        ].join("\n"),
    );
    writeTenants(stack, tenants);
    return {
        big: {
            model: "row",
            anchor: "firms",
            tables: {
                firms: { distributeBy: "id" },
                ...Object.fromEntries(names.map((name) => [name, { distributeBy: "firm" }])),
            },
            template: "big.sql",
            tenants: "big.json",
        },
    };
}

const writeTenants = (stack: BenchStack, tenants: number, frozen?: string) =>
    stack.write(
        "big.json",
        JSON.stringify(
            Object.fromEntries(keys(1, tenants).map((key) => [key, key === frozen ? { state: "frozen" } : {}])),
        ),
    );

/** The longest of many reads of one table, while something is done. */
async function longestRead(stack: BenchStack, work: () => Promise<number>): Promise<{ took: number; longest: number }> {
    const session = await connect(publishedAccess(await stack.outputs(), "coordinator"), "coordinator");
    let running = true;
    let longest = 0;
    const reads = (async () => {
        while (running) {
            const began = performance.now();
            await session.query("SELECT count(*) FROM part_1 WHERE firm = 7");
            longest = Math.max(longest, performance.now() - began);
        }
    })();
    try {
        return { took: await work(), longest };
    } finally {
        running = false;
        await reads;
        await session.close();
    }
}

/** The floor of a freeze: what makes all nodes keep one more tenant from writing. It is undone. @returns milliseconds */
async function freezeByHand(stack: BenchStack): Promise<number> {
    const session = await connect(publishedAccess(await stack.outputs(), "coordinator"), "coordinator");
    try {
        const domain = "citus_as_code.big_writes_bigint";
        const began = performance.now();
        for (const sql of [
            "BEGIN",
            `ALTER DOMAIN ${domain} DROP CONSTRAINT barred`,
            `ALTER DOMAIN ${domain} ADD CONSTRAINT barred CHECK (VALUE <> ALL ('{7,8}'::bigint[]))`,
        ])
            await session.query(sql);
        await session.query("ROLLBACK");
        return performance.now() - began;
    } finally {
        await session.close();
    }
}

/** (h): previews with and without many groups, and freezing one tenant of a group with many tables. */
export async function manyTenants(quick: boolean): Promise<Section> {
    const sizes: Sizes = quick
        ? { groups: 10, tenants: 500, tables: 20, repeats: 1 }
        : { groups: 100, tenants: 5000, tables: 300, repeats: 3 };
    const stack = await BenchStack.make({ workers: 2, backup: false, shardCount: 2 });
    await stack.up();
    const previews = async () => {
        await stack.preview();
        const runs: number[] = [];
        for (let i = 0; i < sizes.repeats; i++) runs.push((await stack.preview()).milliseconds);
        return median(runs);
    };
    const without = await previews();
    const many = manyGroups(stack, sizes);
    await stack.config({ tenantGroups: JSON.stringify(many) });
    await stack.up();
    const withAll = await previews();
    say(`preview: ${seconds(without)} without, ${seconds(withAll)} with ${sizes.groups} groups`);

    await stack.config({ tenantGroups: JSON.stringify(oneGroup(stack, sizes)) });
    await stack.up();
    const noops: number[] = [];
    const quiet: number[] = [];
    const freezes: number[] = [];
    const busy: number[] = [];
    const byHand: number[] = [];
    const locks: { readonly held: readonly Held[]; readonly gap: number }[] = [];
    const watchers = await Promise.all(["coordinator", "worker-1", "worker-2"].map((node) => stack.session(node)));
    for (let i = 0; i < sizes.repeats; i++) {
        const noop = await longestRead(stack, async () => (await stack.up()).milliseconds);
        noops.push(noop.took);
        quiet.push(noop.longest);
        writeTenants(stack, sizes.tenants, String(i + 1));
        const { result: freeze, ...locked } = await whileLocked(watchers, () =>
            longestRead(stack, async () => (await stack.up()).milliseconds),
        );
        locks.push(locked);
        byHand.push(await freezeByHand(stack));
        freezes.push(freeze.took);
        busy.push(freeze.longest);
        say(`freeze ${i + 1}: ${seconds(freeze.took)}, without a change ${seconds(noop.took)}`);
    }
    await stack.remove();
    const more = withAll - without;
    const freeze = median(freezes) - median(noops);
    const waited = median(busy) - median(quiet);
    const longest = locks.flatMap(({ held }) => held).sort((a, b) => b.milliseconds - a.milliseconds)[0];
    const gap = Math.max(...locks.map((one) => one.gap));
    const rows: Row[] = [
        { what: "h  preview without tenants", figure: seconds(without), target: "", met: undefined },
        {
            what: `h  preview of ${sizes.tenants} tenants in ${sizes.groups} groups`,
            figure: `${seconds(withAll)} = ${(withAll / without).toFixed(2)} x, ${seconds(more)} more`,
            target: `< ${seconds(PREVIEW_TARGET)} more`,
            ...judge(more, PREVIEW_TARGET),
        },
        {
            what: `h  freeze one of ${sizes.tenants} tenants, ${sizes.tables} tables`,
            figure: `${seconds(freeze)} more than an up without a change (${(median(freezes) / median(noops)).toFixed(2)} x)`,
            target: `< ${seconds(FREEZE_TARGET)}`,
            ...judge(freeze, FREEZE_TARGET),
        },
        {
            what: "h  the same list changed by hand, in one transaction",
            figure: `${median(byHand).toFixed(0)} ms`,
            target: "",
            met: undefined,
        },
        {
            what: "h  longest exclusive lock of a table meanwhile, on any node",
            figure:
                longest === undefined
                    ? `none seen, looked every ${gap.toFixed(0)} ms at least`
                    : `${longest.milliseconds.toFixed(0)} ms at most: ${longest.mode} of ${longest.table} on ${longest.node}, looked every ${gap.toFixed(0)} ms at least`,
            target: `< ${LOCK_TARGET} ms`,
            ...judge(longest?.milliseconds ?? 0, LOCK_TARGET),
        },
        {
            what: "h  longest read of a table meanwhile",
            figure: `${median(busy).toFixed(0)} ms, ${median(quiet).toFixed(0)} ms without a change`,
            target: `< ${LOCK_TARGET} ms more`,
            ...judge(waited, LOCK_TARGET),
        },
    ];
    return {
        rows,
        data: {
            sizes,
            preview: round([without, withAll]),
            noops: round(noops),
            freezes: round(freezes),
            freezesByHand: round(byHand),
            locks: locks.map(({ held, gap }) => ({ gap, held: held.slice(0, 10) })),
            longestReads: { quiet: round(quiet), busy: round(busy) },
        },
    };
}
