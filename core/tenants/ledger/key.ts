/** Which tenant a row is about. */

import { literal } from "../../sql/quote.ts";

/** A tenant of a group. */
export interface TenantKey {
    readonly group: string;
    readonly tenant: string;
}

/** SQL: both, as values of a list. */
export const keyOf = ({ group, tenant }: TenantKey) => [group, tenant].map(literal).join(", ");

/** SQL condition: the row of this tenant. */
export const isRow = (key: TenantKey) => `(grp, tenant) = (${keyOf(key)})`;
