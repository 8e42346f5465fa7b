/** What many tenants cost: a preview of them in many groups, and freezing one of them in a group of many tables. */
import { connect } from "../../core/reach/session.ts";
import { publishedAccess } from "../lib.ts";
import { judge, median, type Row, round, type Section, say, seconds } from "./section.ts";
import { BenchStack } from "./stack.ts";

/** Milliseconds that a preview may take more with all groups than without. */
const PREVIEW_TARGET = 3000;
/** Milliseconds that freezing one tenant may take more than an `up` without a change. */
const FREEZE_TARGET = 2000;
/** Milliseconds that a read of one of the tables may wait longer than it does otherwise. */
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
    for (let i = 0; i < sizes.repeats; i++) {
        const noop = await longestRead(stack, async () => (await stack.up()).milliseconds);
        noops.push(noop.took);
        quiet.push(noop.longest);
        writeTenants(stack, sizes.tenants, String(i + 1));
        const freeze = await longestRead(stack, async () => (await stack.up()).milliseconds);
        freezes.push(freeze.took);
        busy.push(freeze.longest);
        say(`freeze ${i + 1}: ${seconds(freeze.took)}, without a change ${seconds(noop.took)}`);
    }
    await stack.remove();
    const more = withAll - without;
    const freeze = median(freezes) - median(noops);
    const waited = median(busy) - median(quiet);
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
            longestReads: { quiet: round(quiet), busy: round(busy) },
        },
    };
}
