/** How much was free on each node's disk at earlier looks from this machine: with two of them, doctor can say when it is full. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import type { NodeLook } from "../../core/citus/health/checks/check.ts";
import { STATE } from "../lib/project.ts";

const SAMPLES = z.array(z.object({ at: z.number(), free: z.record(z.string(), z.number()) }));
type Samples = z.infer<typeof SAMPLES>;

/** Nearer looks say more of noise than of growth, in milliseconds. */
const LEAST = 3_600_000;
/** Older ones say little of now. */
const MOST = 14 * 86_400_000;
const KEPT = 200;

const fileOf = (stack: string) => join(STATE, stack, "disk.json");

/** None where there is no file, or one that is not ours to read. */
export function readSamples(stack: string): Samples {
    const file = fileOf(stack);
    if (!existsSync(file)) return [];
    try {
        return SAMPLES.parse(JSON.parse(readFileSync(file, "utf8")));
    } catch {
        return [];
    }
}

/** The oldest look at a node that is of use. Pure. */
export function sampleBefore(samples: Samples, node: string, now: number): NodeLook["before"] {
    const found = samples.find(({ at, free }) => now - at >= LEAST && now - at <= MOST && free[node] !== undefined);
    const free = found?.free[node];
    return found === undefined || free === undefined ? undefined : { seconds: (now - found.at) / 1000, free };
}

/** Adds a look, an hour after the last one at the earliest. */
export function keepSample(stack: string, samples: Samples, looks: readonly NodeLook[], now: number): void {
    if (looks.length === 0 || now - (samples.at(-1)?.at ?? 0) < LEAST) return;
    const free = Object.fromEntries(looks.map(({ node, found }) => [node, found.free]));
    const kept = [...samples.filter(({ at }) => now - at <= MOST), { at: now, free }].slice(-KEPT);
    mkdirSync(dirname(fileOf(stack)), { recursive: true });
    writeFileSync(fileOf(stack), JSON.stringify(kept));
}
