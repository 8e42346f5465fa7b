/** Choosing ports that nothing uses. */
import { randomInt } from "node:crypto";
import { mkdirSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isFree } from "../core/util/freePort.ts";

/** Below what Linux gives to outgoing connections. */
const LOW = 20_000;
const HIGH = 32_000;

interface PortRangeInputs {
    size: number;
    apart?: number;
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

export async function create(inputs: PortRangeInputs) {
    const choices = beginnings(inputs);
    for (let attempt = 0; attempt < 200; attempt++) {
        const first = choices[randomInt(choices.length)] ?? LOW;
        const range = Array.from({ length: inputs.size }, (_, i) => first + i);
        const free = await Promise.all(range.map(isFree));
        if (free.every(Boolean) && reserve(first)) return { id: String(first), outs: { ...inputs, first } };
    }
    throw new Error(
        `no ${inputs.size} free ports in a row between ${LOW} and ${HIGH} on 127.0.0.1; choose them with citus:port`,
    );
}

export async function diff() {
    return { changes: false };
}

export async function update(_id: string, olds: object) {
    return { outs: olds };
}

export async function read(id: string, props: object) {
    return { id, props };
}

export async function remove() {}
