/** The tags of everything that a cluster has on AWS. Pure. */

export type Tags = Readonly<Record<string, string>>;

export interface TagArgs {
    readonly cluster: string;
    readonly clusterId: string;
    /** The user's own. */
    readonly tags: Tags;
}

/**
 * @param name of the thing inside its cluster, e.g. `worker-2` or `nat`
 * @param node the node whose it is
 */
export function tagsOf({ cluster, clusterId, tags }: TagArgs, name: string, node?: string): Tags {
    return {
        ...tags,
        Name: `${cluster}-${name}`,
        "citus-cluster": cluster,
        "citus-cluster-id": clusterId,
        ...(node === undefined ? {} : { "citus-node": node }),
    };
}
