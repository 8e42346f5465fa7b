/** Choosing ports that nothing uses. */
import { randomInt } from "node:crypto";
import { isFree } from "../../freePort.ts";

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

export async function create(inputs: PortRangeInputs) {
    const choices = beginnings(inputs);
    for (let attempt = 0; attempt < 200; attempt++) {
        const first = choices[randomInt(choices.length)] ?? LOW;
        const range = Array.from({ length: inputs.size }, (_, i) => first + i);
        const free = await Promise.all(range.map(isFree));
        if (free.every(Boolean)) return { id: String(first), outs: { ...inputs, first } };
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
