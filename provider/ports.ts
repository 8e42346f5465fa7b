/** Choosing ports that nothing uses. */
import { randomInt } from "node:crypto";
import { mkdirSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFree } from "../core/util/freePort.ts";
import type { Ask, ResourceKind } from "./kind.ts";

/** Below what Linux gives to outgoing connections. */
const LOW = 20_000;
const HIGH = 32_000;

export interface PortRangeInputs {
    size: number;
    /** The first port of another range of the same size, which this one keeps off. */
    apart?: number;
}

export interface PortRangeState extends PortRangeInputs {
    first: number;
}

/** Where a range may begin: ranges that are chosen beside each other are all free still, so one keeps off the other. */
export function beginnings({ size, apart }: PortRangeInputs): number[] {
    const all = Array.from({ length: Math.floor((HIGH - LOW) / size) }, (_, i) => LOW + size * i);
    return all.filter((first) => apart === undefined || Math.abs(first - apart) >= size);
}

/** How long a choice is kept for who made it; its containers are there within that time. Milliseconds. */
const KEPT = 120_000;

/**
 * Keeps a range off others who choose at the same time on this machine: until its containers listen it looks free to them.
 * @param folder where the mark is made
 */
export function reserve(first: number, folder = tmpdir()): boolean {
    const mark = join(folder, `citus-ports-${first}`);
    try {
        mkdirSync(mark);
        return true;
    } catch {
        const made = statSync(mark, { throwIfNoEntry: false })?.mtimeMs ?? 0;
        if (Date.now() - made < KEPT) return false;
        try {
            utimesSync(mark, new Date(), new Date());
        } catch {
            // somebody else's old mark says nothing
        }
        return true;
    }
}

async function choose(inputs: PortRangeInputs): Promise<number> {
    const choices = beginnings(inputs);
    for (let attempt = 0; attempt < 200; attempt++) {
        const first = choices[randomInt(choices.length)] ?? LOW;
        const range = Array.from({ length: inputs.size }, (_, i) => first + i);
        const free = await Promise.all(range.map(isFree));
        if (free.every(Boolean) && reserve(first)) return first;
    }
    throw new Error(
        `no ${inputs.size} free ports in a row between ${LOW} and ${HIGH} on 127.0.0.1; choose them with citus:port`,
    );
}

export class PortRangeKind implements ResourceKind<PortRangeInputs, PortRangeState> {
    readonly type = "citus-clusters:index:PortRange";
    readonly description = "Free ports in a row on 127.0.0.1, chosen once and kept.";
    readonly inputs = {
        size: { type: "integer", description: "How many." },
        apart: { type: "integer", optional: true, description: "First port of another range, which is kept off." },
    } as const;
    readonly outputs = { first: { type: "integer" } } as const;

    async create(_ask: Ask, inputs: PortRangeInputs) {
        const first = await choose(inputs);
        return { id: String(first), outs: { ...inputs, first } };
    }

    /** Chosen once. */
    async diff() {
        return { changes: false };
    }

    async update(_ask: Ask, _id: string, olds: PortRangeState) {
        return { outs: olds };
    }

    /** Ports are anybody's. */
    async delete() {}
}
