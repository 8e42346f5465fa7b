/** Names of transactions that Citus prepares. Pure. */

/** The group of the node that began it, from `citus_<group>_<process>_<transaction>_<connection>`; undefined where it is another's. */
export function begunBy(gid: string): number | undefined {
    const [, group] = /^citus_(\d+)_\d+_\d+_\d+$/.exec(gid) ?? [];
    return group === undefined ? undefined : Number(group);
}
