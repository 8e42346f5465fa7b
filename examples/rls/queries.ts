import type { Query } from "../query.ts";

export const QUERIES: readonly Query[] = [
    {
        what: "a ticket is opened",
        tenant: "1",
        sql: "INSERT INTO tickets (desk_id, id, topic, title) VALUES ($1, 1, 1, 'no login') RETURNING title",
        values: [1],
        rows: [{ title: "no login" }],
    },
    {
        what: "the list, with the table that all tenants read",
        tenant: "1",
        sql: "SELECT t.title, p.name FROM tickets t JOIN topics p ON p.id = t.topic WHERE t.desk_id = $1",
        values: [1],
        rows: [{ title: "no login", name: "login" }],
    },
    {
        what: "another tenant sees none of it, also when its query forgets to ask for its own",
        tenant: "2",
        sql: "SELECT title FROM tickets",
        rows: [],
    },
];
