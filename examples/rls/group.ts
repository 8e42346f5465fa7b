import { type CitusCluster, RlsTenants } from "citus-clusters-as-code";

export const helpdesk = (cluster: CitusCluster) =>
    new RlsTenants("helpdesk", {
        cluster,
        template: "sql/*.sql",
        anchor: "desks",
        tables: {
            desks: { distributeBy: "id" },
            tickets: { distributeBy: "desk_id" },
            topics: { local: true },
        },
        tenants: {
            "1": { values: { name: "Acme" } },
            "2": { values: { name: "Globex", plan: "team" }, limits: { connections: 20, statementTimeout: "5s" } },
        },
        onboarding: true,
    });
