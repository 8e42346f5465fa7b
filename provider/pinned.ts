/** A value that stays what it was. */
import { createHash } from "node:crypto";
import type { PinnedInputs } from "../components/resources/pinned.ts";

const keep = (inputs: PinnedInputs) => ({ ...inputs, kept: inputs.value });

export async function create(inputs: PinnedInputs) {
    const id = createHash("sha256").update(`${inputs.until}\n${inputs.value}`).digest("hex").slice(0, 16);
    return { id, outs: keep(inputs) };
}

export async function diff(_id: string, olds: PinnedInputs, news: PinnedInputs) {
    return { changes: olds.until !== news.until };
}

export async function update(_id: string, _olds: PinnedInputs, news: PinnedInputs) {
    return { outs: keep(news) };
}

export async function read(id: string, props: object) {
    return { id, props };
}

export async function remove() {}
