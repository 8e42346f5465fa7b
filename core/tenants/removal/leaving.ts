/** What the ledger has of a tenant on its way out. */

import type { Prints } from "../data/checksum.ts";
import type { Context } from "../group/facet.ts";
import type { TenantKey } from "../ledger/key.ts";
import { noteDeleting } from "../ledger/tenants.ts";

/** SQL for the tenant that another one's data is on the way to. */
export const TAKEN_BY_SQL = (group: string, tenant: string) =>
    `(SELECT c.grp || '/' || c.tenant FROM citus_as_code.tenant_change c
       WHERE c.from_grp = ${group} AND c.from_tenant = ${tenant} AND c.phase <> 'done' LIMIT 1)`;

export interface Detail {
    readonly was?: string;
    readonly moved_to?: string;
    readonly epoch?: number;
    /** File of its data, the file's checksum, and what is in it by table. */
    readonly exported?: string;
    readonly sha256?: string;
    readonly prints?: Prints;
    /** Files of what was deleted before, when there was more of it afterwards. */
    readonly earlier?: readonly string[];
    /** Written down in the transaction that deleted its data; in model database right before DROP DATABASE. */
    readonly dropped?: boolean;
    /** What of the present export is deleted, by table. */
    readonly deleted?: Prints;
    /** Colocation group of its schema. */
    readonly colocation?: number;
}

interface Row {
    readonly state: string | null;
    readonly node: string | null;
    readonly detail: Detail;
}

/** One tenant on its way out. */
export interface Leaving {
    readonly context: Context;
    readonly tenant: string;
    /** Undefined where it can have none of its own. */
    readonly role: string | undefined;
    readonly node: string;
}

export const keyOf = ({ context, tenant }: Leaving): TenantKey => ({ group: context.group.name, tenant });

export async function rowOf(leaving: Leaving): Promise<Row> {
    const [row] = await leaving.context.session.query<Row>(
        "SELECT state, node, detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [leaving.context.group.name, leaving.tenant],
    );
    return row ?? { state: null, node: null, detail: {} };
}

export const detailOf = async (leaving: Leaving): Promise<Detail> => (await rowOf(leaving)).detail;

export async function record(leaving: Leaving, detail: Detail): Promise<void> {
    await noteDeleting(leaving.context.session, keyOf(leaving), detail);
}
