/** The names that a cluster's data is kept under. */
import { type IdentityInputs, NO_REPOSITORY } from "../identity.ts";

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
    // a state from before there were backups has none
    const before = olds.passphrase ?? NO_REPOSITORY;
    // while backups are off the repository stays, and so does what is known of it
    if (news.passphrase === NO_REPOSITORY || before === news.passphrase)
        return { changes: olds.passphrase === undefined };
    if (before !== NO_REPOSITORY) {
        throw new Error(
            "A repository keeps its passphrase: citus:backupPassphrase differs from the one it was made with.\n" +
                "Nothing was changed. Put it back. For another one make another stack and restore into it (citus:restoreFrom).",
        );
    }
    return { changes: true };
}

export async function update(_id: string, _olds: IdentityInputs, news: IdentityInputs) {
    return { outs: news };
}

export async function read(id: string, props: IdentityInputs) {
    return { id, props };
}

export async function remove() {}
