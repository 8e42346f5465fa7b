/** Which of a group's files a new tenant is made from. Pure. */

import type { FoundMigrations } from "../files/migrations.ts";
import { runOrder } from "../group/order.ts";
import { filesForNew } from "../group/rollout.ts";
import type { GroupSpec } from "../group/spec.ts";

const counted = (n: number) => (n === 1 ? "1 file" : `${n} files`);

export interface NewFiles {
    readonly files: readonly string[];
    /** For preview: ` from 3 files; 1 file follows with its wave`, or nothing. */
    readonly said: string;
}

/**
 * Files in the order in which the group ran them, without those that are still to be proved on tenants that exist.
 * @param states of the group's tenants in the ledger
 */
export function newFiles(
    group: GroupSpec,
    found: FoundMigrations | undefined,
    states: Readonly<Record<string, string>>,
): (tenant: string) => NewFiles {
    const paths = group.template.map(({ path }) => path);
    const existing = new Set(
        Object.keys(states).filter((tenant) => states[tenant] === "active" || states[tenant] === "frozen"),
    );
    const order = runOrder(paths, found?.first ?? {});
    const of = filesForNew(Object.keys(group.tenants), order, group.rollout, found ?? { pending: {} }, existing);
    return (tenant) => {
        const files = of(tenant);
        const later = paths.length - files.length;
        const from = files.length === 0 ? "" : ` from ${counted(files.length)}`;
        return { files, said: later === 0 ? from : `${from}; ${counted(later)} more with its wave` };
    };
}
