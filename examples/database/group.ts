import { type CitusCluster, DatabaseTenants } from "../../components/index.ts";

export const banks = (cluster: CitusCluster) =>
    new DatabaseTenants("banks", {
        cluster,
        template: "examples/database/sql/*.sql",
        pool: false,
        tenants: { first_bank: {}, second_bank: { limits: { connections: 20 } } },
    });
