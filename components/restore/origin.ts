/** The repository that a cluster is restored from. */
import * as pulumi from "@pulumi/pulumi";
import type { RestoreFromArgs } from "../config.ts";
import type { BackupsOutput } from "../platform.ts";

/** Where backups are; empty when what was named has none. */
export interface Origin {
    /** The volume or bucket. */
    readonly repository: string;
    /** The bucket's; empty for a volume. */
    readonly region: string;
    /** The cluster's name in it; empty for the only one there is. */
    readonly cluster: string;
}

/** @param own the cluster's own repository */
export function originOf(from: RestoreFromArgs, own: BackupsOutputOf, parent: pulumi.Resource): pulumi.Output<Origin> {
    if (from.stack !== undefined) {
        const origin = new pulumi.StackReference(
            `${pulumi.getOrganization()}/${pulumi.getProject()}/${from.stack}`,
            {},
            { parent },
        );
        const backups = origin.getOutput("backups") as pulumi.Output<BackupsOutput | undefined>;
        // a copy that was restored long ago does not need its origin any more: Restore decides
        return pulumi.all([backups, own]).apply(([found, { region }]) => ({
            repository: found?.repository ?? "",
            region: found?.region ?? region,
            cluster: from.cluster ?? found?.cluster ?? "",
        }));
    }
    return own.apply(({ repository, region, cluster }) => ({
        repository: from.repository ?? repository,
        region,
        cluster: from.cluster ?? (from.repository === undefined ? cluster : ""),
    }));
}

type BackupsOutputOf = pulumi.Output<Required<BackupsOutput>>;
