/** What a program of your own imports: `import * as citus from "./components"`. */
export { CitusCluster, type WorkerOutput } from "./cluster.ts";
export { type ClusterArgs, readConfig } from "./config.ts";
export {
    DatabaseTenants,
    type DatabaseTenantsArgs,
    RlsTenants,
    type RlsTenantsArgs,
    RoutedTenants,
    type RoutedTenantsArgs,
    RowTenants,
    type RowTenantsArgs,
    SchemaTenants,
    type SchemaTenantsArgs,
    TenantGroup,
} from "./tenantGroup.ts";
export type * from "./tenants/args.ts";
export type { Login, Tenant } from "./tenants/login.ts";
