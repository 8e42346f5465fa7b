/** A value that stays what it was. */
import { createHash } from "node:crypto";
import type { Ask, ResourceKind } from "./kind.ts";

export interface PinnedInputs {
    value: string;
    /** A new value is taken only together with a new one of these. */
    until: string;
}

export interface PinnedState extends PinnedInputs {
    kept: string;
}

const keep = (inputs: PinnedInputs): PinnedState => ({ ...inputs, kept: inputs.value });

export class PinnedKind implements ResourceKind<PinnedInputs, PinnedState> {
    readonly type = "citus-clusters:index:Pinned";
    readonly description = "The first value that it was given.";
    readonly inputs = {
        value: { type: "string" },
        until: { type: "string", description: "A new value is taken only together with a new one of these." },
    } as const;
    readonly outputs = { kept: { type: "string" } } as const;

    async create(_ask: Ask, inputs: PinnedInputs) {
        const id = createHash("sha256").update(`${inputs.until}\n${inputs.value}`).digest("hex").slice(0, 16);
        return { id, outs: keep(inputs) };
    }

    async diff(_ask: Ask, _id: string, olds: PinnedState, news: PinnedInputs) {
        return { changes: olds.until !== news.until };
    }

    async update(_ask: Ask, _id: string, _olds: PinnedState, news: PinnedInputs) {
        return { outs: keep(news) };
    }

    /** It stands for nothing outside the state. */
    async delete() {}
}
