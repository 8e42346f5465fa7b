import type { Query } from "../query.ts";

export const QUERIES: readonly Query[] = [
    {
        what: "an account, in the tenant's own database",
        tenant: "first_bank",
        sql: "INSERT INTO accounts (owner) VALUES ('Ann') RETURNING owner",
        rows: [{ owner: "Ann" }],
    },
    {
        what: "what any PostgreSQL does: there is no Citus in it",
        tenant: "first_bank",
        sql: "SELECT current_database() AS database, count(*)::int AS accounts FROM accounts",
        rows: [{ database: "first_bank", accounts: 1 }],
    },
    { what: "another bank has its own", tenant: "second_bank", sql: "SELECT owner FROM accounts", rows: [] },
];
