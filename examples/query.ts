/** What an application of an example sends, and what comes back: run on a real cluster by test/full/examples.test.ts. */

export interface Query {
    /** What it is for. */
    readonly what: string;
    /** Whose it is: withTenant(pools, tenant, group, (db) => db.query(sql, values)). */
    readonly tenant: string;
    readonly sql: string;
    readonly values?: readonly unknown[];
    /** bigint and numeric come as text. */
    readonly rows: readonly Readonly<Record<string, unknown>>[];
}
