/** The states of a tenant in the ledger, and the conditions on them. */

/**
 * creating → active ⇄ frozen → superseded (its data went to another group, and the old copy is kept) | deleting. A deleted
 * tenant has no row: `tenant_tombstone` says that it was there.
 */
export const STATES = ["creating", "active", "frozen", "superseded", "deleting"] as const;
export type TenantState = (typeof STATES)[number];

/** States in which clients are served. */
export type ServedState = Extract<TenantState, "active" | "frozen">;

/** SQL condition on a row of `citus_as_code.tenant`. @param column of the state, with the row's name where it has one */
export const inState = (column: string, ...states: readonly TenantState[]) =>
    states.length === 1
        ? `${column} = '${states[0]}'`
        : `${column} IN (${states.map((state) => `'${state}'`).join(", ")})`;

/** SQL condition: clients are served. */
export const isServed = (column: string) => inState(column, "active", "frozen");

/** SQL condition: no client is served any more. */
export const isLeft = (column: string) => inState(column, "superseded", "deleting");
