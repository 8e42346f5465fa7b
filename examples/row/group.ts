import { type CitusCluster, RowTenants } from "citus-clusters-as-code";

export const billing = (cluster: CitusCluster) =>
    new RowTenants("billing", {
        cluster,
        template: "sql/*.sql",
        anchor: "companies",
        tables: {
            companies: { distributeBy: "id" },
            users: { distributeBy: "company_id" },
            invoices: { distributeBy: "company_id" },
            plans: { reference: true },
        },
        tenants: {
            "1": { values: { name: "Acme" } },
            "42": { values: { name: "Globex", plan: 2 } },
        },
        onboarding: true,
    });
