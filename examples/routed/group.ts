import { type CitusCluster, RoutedTenants } from "../../components/index.ts";

/** @param eu the server of the tenants that must stay in Europe */
export const regions = (cluster: CitusCluster, eu: { host: string; port?: number }) =>
    new RoutedTenants("regions", {
        cluster,
        tenants: { hooli: { ...eu, database: "postgres" }, initech: { host: "us-1.example.com" } },
    });
