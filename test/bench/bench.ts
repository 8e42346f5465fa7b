/**
 * Measures this project against floors of the same run on the same machine; prints a table and writes JSON.
 * A target that is missed is said plainly. One that is missed by far is a failure.
 *
 *   npm run bench -- [--only a,b,c,d,e,f,g,h] [--quick]
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { arch, cpus, loadavg, platform, totalmem } from "node:os";
import { join } from "node:path";
import { InvalidArgumentError } from "commander";
import { table } from "table";
import { main, script } from "../../scripts/lib/command.ts";
import { EXIT } from "../../scripts/lib/exit.ts";
import { ROOT } from "../../scripts/lib/project.ts";
import { floor } from "./floor.ts";
import { manyTenants } from "./manyTenants.ts";
import { previewOnAws, previewOnDocker } from "./preview.ts";
import { docker, run, undoAll } from "./process.ts";
import { restoreAndArchive } from "./restore.ts";
import { scaleOut } from "./scaleOut.ts";
import { median, type Row, round, type Section, say, seconds } from "./section.ts";
import { BenchStack, benchImage } from "./stack.ts";
import { tenants } from "./tenants.ts";

/** `pulumi up` from nothing may take this many times the floor, on top of the engine's own start. */
const CREATE_TARGET = 2.5;
/** A scale-out is this many times as fast as by hand. */
const SCALE_OUT_TARGET = 2;
/** Restoring three nodes at once may take this many times one of them, where there is a core for each. */
const RESTORE_TARGET = 1.5;

async function nodeImage(): Promise<string> {
    const image = benchImage();
    const there = await run("docker", ["image", "inspect", image], { mayFail: true });
    if (there.code !== 0) {
        say(`building ${image} (not measured)`);
        const stack = await BenchStack.make({ workers: 0 });
        await stack.up();
        await stack.remove();
    }
    return image;
}

/** (a) and (c): from nothing to a cluster, and an `up` that changes nothing. */
async function createAndRepeat(parts: ReadonlySet<string>, quick: boolean): Promise<Section> {
    const repeats = quick ? 1 : 3;
    const image = await nodeImage();
    const floors: number[] = [];
    const creates: number[] = [];
    const starts: number[] = [];
    const noops: number[] = [];
    for (let i = 1; i <= (parts.has("a") ? repeats : 1); i++) {
        if (parts.has("a")) {
            floors.push(await floor(image, 2));
            say(`floor ${i}: ${seconds(floors.at(-1) ?? 0)}`);
        }
        const stack = await BenchStack.make({ workers: 2 });
        creates.push((await stack.up()).milliseconds);
        say(`create ${i}: ${seconds(creates.at(-1) ?? 0)}`);
        const noop = async () => (await stack.up("--expect-no-changes")).milliseconds;
        if (parts.has("a")) {
            starts.push(await noop());
            say(`engine's own start ${i}: ${seconds(starts.at(-1) ?? 0)}`);
        }
        if (parts.has("c") && noops.length === 0) {
            for (let n = 0; n < repeats; n++) noops.push(await noop());
            say(`no-op: ${noops.map(seconds).join(", ")}`);
        }
        await stack.remove();
    }
    const rows: Row[] = [];
    if (parts.has("a")) {
        const allowed = CREATE_TARGET * median(floors) + median(starts);
        const factor = (median(creates) - median(starts)) / median(floors);
        rows.push(
            {
                what: "a  floor: 1 + 2 by docker run and psql",
                figure: seconds(median(floors)),
                target: "",
                met: undefined,
            },
            {
                what: "a  engine's own start (up, no change)",
                figure: seconds(median(starts)),
                target: "",
                met: undefined,
            },
            {
                what: "a  create 1 + 2 by pulumi up",
                figure: `${seconds(median(creates))} = start + ${factor.toFixed(2)} x floor`,
                target: `start + ${CREATE_TARGET} x floor = ${seconds(allowed)}`,
                met: median(creates) <= allowed,
            },
        );
    }
    if (parts.has("c")) {
        rows.push({ what: "c  no-op up", figure: seconds(median(noops)), target: "", met: undefined });
    }
    return {
        rows,
        data: { floor: round(floors), create: round(creates), engineStart: round(starts), noop: round(noops) },
    };
}

/** (b): two workers to four with data on them. */
async function grow(quick: boolean): Promise<Section> {
    await nodeImage();
    const result = await scaleOut(quick ? 1_000_000 : 10_000_000, say);
    const factor = result.byHand / result.up;
    return {
        rows: [
            {
                what: `b  2 to 4 workers by hand, Citus' defaults, ${(result.bytes / 1e9).toFixed(2)} GB`,
                figure: seconds(result.byHand),
                target: "",
                met: undefined,
            },
            {
                what: "b  2 to 4 workers by pulumi up, to balanced",
                figure: `${seconds(result.up)} (registered after ${seconds(result.registered)}), ${factor.toFixed(2)} x as fast`,
                target: `${SCALE_OUT_TARGET} x as fast`,
                met: factor >= SCALE_OUT_TARGET,
            },
        ],
        data: { ...result, factor },
    };
}

/** (e): a restore against its parts, and throughput with archiving against without. */
async function restores(quick: boolean): Promise<Section> {
    await nodeImage();
    const figures = await restoreAndArchive(quick ? 500_000 : 5_000_000, quick ? 1 : 3, say);
    const [cluster, one, copied] = [median(figures.cluster), median(figures.one), median(figures.copy)];
    const factor = cluster / one;
    const share = median(figures.archiving) / median(figures.notArchiving);
    const enough = cpus().length >= 3;
    return {
        rows: [
            {
                what: `e  cp of three nodes at once, ${(figures.bytes / 1e9).toFixed(2)} GB`,
                figure: seconds(copied),
                target: "",
                met: undefined,
            },
            { what: "e  restore of one worker alone", figure: seconds(one), target: "", met: undefined },
            {
                what: "e  restore of the cluster, 1 + 2",
                figure: `${seconds(cluster)} = ${factor.toFixed(2)} x one worker, ${(cluster / copied).toFixed(1)} x cp`,
                target: `${RESTORE_TARGET} x${enough ? "" : ` where there are 3 cores (here ${cpus().length})`}`,
                met: enough ? factor <= RESTORE_TARGET : undefined,
            },
            {
                what: "e  single-row updates, archiving on",
                figure: `${median(figures.archiving).toFixed(0)} tps, ${(share * 100).toFixed(0)} % of ${median(figures.notArchiving).toFixed(0)} without`,
                target: "",
                met: undefined,
            },
        ],
        data: { ...figures },
    };
}

const PARTS = "a,b,c,d,e,f,g,h";

function parseParts(text: string): ReadonlySet<string> {
    const parts = text.split(",").map((part) => part.trim());
    const strange = parts.find((part) => !PARTS.split(",").includes(part));
    if (strange !== undefined) throw new InvalidArgumentError(`It must name some of ${PARTS}.`);
    return new Set(parts);
}

function show(rows: readonly Row[]): string {
    const verdict = ({ met, far }: Row) => (met === undefined ? "" : met ? "met" : far ? "MISSED BY FAR" : "MISSED");
    return table([
        ["what", "measured", "target", ""],
        ...rows.map((row) => [row.what, row.figure, row.target, verdict(row)]),
    ]).trimEnd();
}

async function bench(options: { only: ReadonlySet<string>; quick: boolean }): Promise<void> {
    const parts = options.only;
    const began = new Date();
    const file = join(ROOT, "bench-results", `${began.toISOString().replaceAll(":", "-").replace(/\..*/, "Z")}.json`);
    const rows: Row[] = [];
    const sections: Record<string, unknown> = {};
    const take = async (name: string, wanted: boolean, measure: () => Promise<Section>) => {
        if (!wanted) return;
        console.error(name);
        const load = loadavg()[0] ?? 0;
        const section = await measure();
        rows.push(...section.rows);
        sections[name] = { loadBefore: load, loadAfter: loadavg()[0], ...section.data };
    };
    await take("create", parts.has("a") || parts.has("c"), () => createAndRepeat(parts, options.quick));
    await take("scaleOut", parts.has("b"), () => grow(options.quick));
    await take("restore", parts.has("e"), () => restores(options.quick));
    await take("preview", parts.has("d"), () => previewOnDocker(options.quick));
    await take("previewOnAws", parts.has("f"), () => previewOnAws(options.quick));

    await take("tenants", parts.has("g"), () => tenants(options.quick));
    await take("manyTenants", parts.has("h"), () => manyTenants(options.quick));

    const missed = rows.filter((row) => row.met === false).length;
    mkdirSync(join(ROOT, "bench-results"), { recursive: true });
    const machine = {
        system: `${platform()} ${arch()}`,
        cpus: cpus().length,
        model: cpus()[0]?.model,
        memory: totalmem(),
        node: process.version,
        docker: await docker(["version", "--format", "{{.Server.Version}}"]).catch(() => undefined),
    };
    const result = { began, ended: new Date(), quick: options.quick, machine, rows, milliseconds: sections };
    writeFileSync(file, `${JSON.stringify(result, undefined, 2)}\n`);
    console.log(show(rows));
    console.log(
        missed === 0
            ? "Every target of this run is met."
            : `${missed} ${missed === 1 ? "target is" : "targets are"} MISSED.`,
    );
    console.log(`Written to ${file}`);
    console.log(`Load of the machine at the end: ${loadavg()[0]?.toFixed(1)} on ${cpus().length} cores.`);
    if (rows.some(({ far }) => far)) process.exitCode = EXIT.failed;
}

let stopped = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
        if (!stopped) console.error(`\n${signal}: removing what was made`);
        stopped = true;
        void undoAll().finally(() => process.exit(EXIT.stopped));
    });
}

await main(
    script("bench", "Measures this project against floors of the same run; writes bench-results/<time>.json.")
        .option(
            "--only <parts>",
            "a create, b scale-out, c no-op up, d preview, e restore and archiving, f preview on aws (no account is needed), g tenants, h many tenants",
            parseParts,
            parseParts(PARTS),
        )
        .option("--quick", "small data and one run of each, for trying", false)
        .action(async (options) => {
            try {
                await bench(options);
            } catch (error) {
                await undoAll();
                if (stopped) process.exit(EXIT.stopped);
                throw error;
            }
        }),
);
