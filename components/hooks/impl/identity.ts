/** The names that a cluster's data is kept under. */
import type { IdentityInputs } from "../identity.ts";

export async function create(inputs: IdentityInputs) {
    return { id: inputs.clusterId, outs: inputs };
}

export async function diff(_id: string, olds: IdentityInputs, news: IdentityInputs) {
    const changed = (["name", "database", "platform"] as const).filter((key) => olds[key] !== news[key]);
    if (changed.length > 0) {
        throw new Error(
            [
                "A living cluster can't change what its data is kept under:",
                ...changed.map((key) => `  citus:${key} is ${olds[key]}, got ${news[key]}`),
                "Nothing was changed. Put it back; for a cluster of another name make another stack (pulumi stack init).",
            ].join("\n"),
        );
    }
    if (olds.clusterId !== news.clusterId) {
        throw new Error(
            "The stack's random id would change, and with it every volume: the state has lost citus-id.\n" +
                "Nothing was changed. Bring the state back (pulumi stack import), or destroy the stack and make it anew.",
        );
    }
    return { changes: false };
}

export async function update(_id: string, _olds: IdentityInputs, news: IdentityInputs) {
    return { outs: news };
}

export async function read(id: string, props: IdentityInputs) {
    return { id, props };
}

export async function remove() {}
