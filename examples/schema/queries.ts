import type { Query } from "../query.ts";

export const QUERIES: readonly Query[] = [
    {
        what: "a patient: no query names its tenant, the search_path does",
        tenant: "acme",
        // an id is above 2^48 where a worker gave it
        sql: "INSERT INTO patients (name) VALUES ('Ada') RETURNING name",
        rows: [{ name: "Ada" }],
    },
    {
        what: "a visit",
        tenant: "acme",
        sql: "INSERT INTO visits (patient_id, notes) SELECT id, 'first' FROM patients WHERE name = $1 RETURNING notes",
        values: ["Ada"],
        rows: [{ notes: "first" }],
    },
    { what: "another tenant has tables of its own", tenant: "globex", sql: "SELECT name FROM patients", rows: [] },
];
