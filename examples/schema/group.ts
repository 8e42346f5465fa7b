import { type CitusCluster, SchemaTenants } from "citus-clusters-as-code";

export const practices = (cluster: CitusCluster) =>
    new SchemaTenants("practices", {
        cluster,
        template: "sql/*.sql",
        tenants: { acme: {}, globex: { limits: { connections: 20, statementTimeout: "5s" } } },
        onboarding: true,
    });
