/** The names that a cluster's data is kept under. */
import { defaultCitus } from "../components/config/args.ts";
import { NO_REPOSITORY } from "../core/node/archive.ts";
import type { Ask, CheckFailure, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

/** What a living cluster can't change: its data is kept under these. */
export interface IdentityInputs {
    name: string;
    database: string;
    platform: string;
    clusterId: string;
    /** Of the repository, empty when it is not encrypted, `none` while nothing uses it; a secret. */
    passphrase: string;
    /** Citus' default of the day on which the cluster was made. Given empty it is filled in. */
    citusVersion: string;
    /** On AWS. */
    place?: Place;
}

export interface Place {
    account: string;
    region: string;
    /** Empty for AWS' own keys. What is there stays encrypted with it. */
    kmsKeyId: string;
    /** The VPC, or the addresses of the one that is made: in another one all machines would be new at once. */
    network: string;
}

const NAMES = ["name", "database", "platform"] as const;

/** In another account or region everything would be made anew and empty; another key could not read what is there. */
const PLACE = {
    account: "the AWS account",
    region: "aws:region",
    kmsKeyId: "citus:kmsKeyId",
    network: "citus:network (vpcId, else cidr)",
} as const;

const KEPT = "A living cluster can't change what its data is kept under, and nothing was changed.";

/** What would put an empty cluster in the place of a living one. Pure. */
export function movedFrom(olds: Partial<IdentityInputs>, news: IdentityInputs): CheckFailure[] {
    const renamed = NAMES.filter((key) => olds[key] !== undefined && olds[key] !== news[key]).map((property) => ({
        property,
        // a renamed stack has another default name, which nobody has set
        reason:
            `citus:${property} is ${olds[property]}, got ${news[property]}. ${KEPT} ` +
            `Put it back (pulumi config set citus:${property} ${olds[property]}), or make another stack for the other cluster (pulumi stack init).`,
    }));
    const [before, now] = [olds.place, news.place];
    if (!before || !now) return renamed;
    const places = (Object.keys(PLACE) as (keyof Place)[]).filter(
        (key) => before[key] !== now[key] && !unknown(now[key]),
    );
    return [
        ...renamed,
        ...places.map((key) => ({
            property: `place.${key}`,
            reason:
                `${PLACE[key]} is ${before[key] || "none"}, got ${now[key] || "none"}. ${KEPT} ` +
                "Put it back, or make another stack for the other cluster (pulumi stack init).",
        })),
    ];
}

export class IdentityKind implements ResourceKind<IdentityInputs, IdentityInputs> {
    readonly type = "citus-clusters:index:Identity";
    readonly description = "What a living cluster can't change, and the default version of Citus of its first day.";
    readonly inputs = {
        name: { type: "string", description: "The cluster's." },
        database: { type: "string", description: "The database that is distributed." },
        platform: { type: "string", description: "docker or aws." },
        clusterId: { type: "string", description: "Random; marks what is the stack's own." },
        passphrase: { type: "string", secret: true, description: "The repository's; empty when not encrypted." },
        citusVersion: { type: "string", description: "Filled in: Citus' default of the cluster's first day." },
        place: { type: "object", optional: true, description: "On AWS: account, region, key, network." },
    } as const;
    readonly outputs = {};

    /** Fills the cluster's own default of Citus in, so that a preview knows it. */
    async check(_ask: Ask, olds: Partial<IdentityInputs>, news: IdentityInputs) {
        return {
            inputs: { ...news, citusVersion: defaultCitus(olds.name === undefined ? undefined : olds) },
            failures: movedFrom(olds, news),
        };
    }

    async create(_ask: Ask, inputs: IdentityInputs) {
        return { id: inputs.clusterId, outs: inputs };
    }

    async diff(_ask: Ask, _id: string, olds: IdentityInputs, news: IdentityInputs) {
        if (olds.clusterId !== news.clusterId) {
            throw new Error(
                "The stack's random id would change, and with it every volume: the state has lost citus-id.\n" +
                    "Nothing was changed. Bring the state back (pulumi stack import), or destroy the stack and make it anew.",
            );
        }
        const changes =
            olds.citusVersion !== news.citusVersion || (olds.place === undefined && news.place !== undefined);
        // while backups are off the repository stays, and so does what is known of it
        if (news.passphrase === NO_REPOSITORY || olds.passphrase === news.passphrase) return { changes };
        if (olds.passphrase !== NO_REPOSITORY) {
            throw new Error(
                "A repository keeps its passphrase: citus:backupPassphrase differs from the one it was made with.\n" +
                    "Nothing was changed. Put it back. For another one make another stack and restore into it (citus:restoreFrom).",
            );
        }
        return { changes: true };
    }

    async update(_ask: Ask, _id: string, _olds: IdentityInputs, news: IdentityInputs) {
        return { outs: news };
    }

    /** It stands for nothing outside the state. */
    async delete() {}
}
