/** The names that a cluster's data is kept under. */
import { defaultCitus } from "../components/config/args.ts";
import type { IdentityInputs, Place } from "../components/resources/identity.ts";
import { NO_REPOSITORY } from "../core/node/archive.ts";
import { unknown } from "./coordinator.ts";

/** Fills the cluster's own default of Citus in, so that a preview knows it. */
export async function check(olds: Partial<IdentityInputs> | undefined, news: IdentityInputs) {
    return { inputs: { ...news, citusVersion: defaultCitus(olds?.name === undefined ? undefined : olds) } };
}

export async function create(inputs: IdentityInputs) {
    return { id: inputs.clusterId, outs: inputs };
}

/** In another account or region everything would be made anew and empty; another key could not read what is there. */
function movedFrom(before: Place | undefined, now: Place | undefined): string[] {
    if (!before || !now) return [];
    const names = {
        account: "the AWS account",
        region: "aws:region",
        kmsKeyId: "citus:kmsKeyId",
        network: "citus:network (vpcId, else cidr)",
    } as const;
    return (["account", "region", "kmsKeyId", "network"] as const)
        .filter((key) => before[key] !== now[key] && !unknown(now[key]))
        .map((key) => `${names[key]} is ${before[key] || "none"}, got ${now[key] || "none"}`);
}

export async function diff(_id: string, olds: IdentityInputs, news: IdentityInputs) {
    const renamed = (["name", "database", "platform"] as const).filter((key) => olds[key] !== news[key]);
    const changed = [
        ...renamed.map((key) => `citus:${key} is ${olds[key]}, got ${news[key]}`),
        ...movedFrom(olds.place, news.place),
    ];
    if (changed.length > 0) {
        throw new Error(
            [
                "A living cluster can't change what its data is kept under:",
                ...changed.map((line) => `  ${line}`),
                `Nothing was changed. Put it back${renamed.length > 0 ? ":" : "."}`,
                // a renamed stack has another default name, which nobody has set
                ...renamed.map((key) => `  pulumi config set citus:${key} ${olds[key]}`),
                "For a cluster of another name make another stack (pulumi stack init).",
            ].join("\n"),
        );
    }
    if (olds.clusterId !== news.clusterId) {
        throw new Error(
            "The stack's random id would change, and with it every volume: the state has lost citus-id.\n" +
                "Nothing was changed. Bring the state back (pulumi stack import), or destroy the stack and make it anew.",
        );
    }
    const changes =
        olds.citusVersion !== news.citusVersion ||
        olds.passphrase === undefined ||
        (olds.place === undefined && news.place !== undefined);
    // a state from before there were backups has none
    const before = olds.passphrase ?? NO_REPOSITORY;
    // while backups are off the repository stays, and so does what is known of it
    if (news.passphrase === NO_REPOSITORY || before === news.passphrase) return { changes };
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
