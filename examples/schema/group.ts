import { type CitusCluster, SchemaTenants } from "../../components/index.ts";

export const practices = (cluster: CitusCluster) =>
    new SchemaTenants("practices", {
        cluster,
        template: "examples/schema/sql/*.sql",
        tenants: { acme: {}, globex: { limits: { connections: 20, statementTimeout: "5s" } } },
        onboarding: true,
    });
