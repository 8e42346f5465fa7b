/** The repository that a cluster is restored from. */
import * as pulumi from "@pulumi/pulumi";
import type { BackupsOutput } from "../../core/restore/site.ts";
import type { RestoreFromParts } from "../config/index.ts";

/** Where backups are; empty when what was named has none. */
export interface Origin {
    /** The volume or bucket. */
    readonly repository: string;
    /** The bucket's; empty for a volume. */
    readonly region: string;
    /** The cluster's name in it; empty for the only one there is. */
    readonly cluster: string;
}

/** The cluster's own repository. */
export interface OwnRepository {
    readonly repository: pulumi.Output<string>;
    /** The bucket's; empty for a volume. */
    readonly region: string;
    readonly cluster: string;
}

/** What is known without the cluster's own repository does not wait for it: a preview of a new copy can look at the origin. */
export function originOf(from: RestoreFromParts, own: OwnRepository, parent: pulumi.Resource): pulumi.Output<Origin> {
    const { region } = own;
    if (from.stack !== undefined) {
        const origin = new pulumi.StackReference(
            `${pulumi.getOrganization()}/${pulumi.getProject()}/${from.stack}`,
            {},
            { parent },
        );
        const backups = origin.getOutput("backups") as pulumi.Output<BackupsOutput | undefined>;
        // a copy that was restored long ago does not need its origin any more: Restore decides
        return backups.apply((found) => ({
            repository: found?.repository ?? "",
            region: found?.region ?? region,
            cluster: from.cluster ?? found?.cluster ?? "",
        }));
    }
    if (from.repository !== undefined)
        return pulumi
            .output(from.repository)
            .apply((repository) => ({ repository, region, cluster: from.cluster ?? "" }));
    return own.repository.apply((repository) => ({ repository, region, cluster: from.cluster ?? own.cluster }));
}
