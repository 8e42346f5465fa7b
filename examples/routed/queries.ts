import type { Query } from "../query.ts";

export const QUERIES: readonly Query[] = [
    {
        what: "an order, on the server that the map names",
        tenant: "hooli",
        sql: "INSERT INTO orders (what) VALUES ('lamp') RETURNING what",
        rows: [{ what: "lamp" }],
    },
    { what: "and back", tenant: "hooli", sql: "SELECT count(*)::int AS orders FROM orders", rows: [{ orders: 1 }] },
];
