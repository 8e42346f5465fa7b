import type { Query } from "../query.ts";

export const QUERIES: readonly Query[] = [
    {
        what: "a user joins: the key is in the statement, so it goes to one shard",
        tenant: "42",
        sql: "INSERT INTO users (company_id, id, email) VALUES ($1, 1, 'ann@globex.example') RETURNING email",
        values: [42],
        rows: [{ email: "ann@globex.example" }],
    },
    {
        what: "an invoice",
        tenant: "42",
        sql: "INSERT INTO invoices (company_id, id, user_id, cents) VALUES ($1, 1, 1, 9007199254740993) RETURNING cents",
        values: [42],
        rows: [{ cents: "9007199254740993" }],
    },
    {
        what: "a join of one tenant's tables and the plans, on one node",
        tenant: "42",
        sql: `SELECT p.name AS plan, count(*)::int AS invoices FROM invoices i JOIN companies c ON c.id = i.company_id
                JOIN plans p ON p.id = c.plan WHERE i.company_id = $1 AND c.id = $1 GROUP BY 1`,
        values: [42],
        rows: [{ plan: "team", invoices: 1 }],
    },
    {
        what: "another tenant sees none of it, also when it asks for it",
        tenant: "1",
        sql: "SELECT email FROM users WHERE company_id = $1",
        values: [42],
        rows: [],
    },
];
