import { type CitusCluster, DatabaseTenants } from "citus-clusters-as-code";

export const banks = (cluster: CitusCluster) =>
    new DatabaseTenants("banks", {
        cluster,
        template: "sql/*.sql",
        pool: false,
        tenants: { first_bank: {}, second_bank: { limits: { connections: 20 } } },
    });
