import { type CitusCluster, RoutedTenants } from "citus-clusters-as-code";

/** @param eu the server of the tenants that must stay in Europe */
export const regions = (cluster: CitusCluster, eu: { host: string; port?: number }) =>
    new RoutedTenants("regions", {
        cluster,
        tenants: { hooli: { ...eu, database: "postgres" }, initech: { host: "us-1.example.com" } },
    });
