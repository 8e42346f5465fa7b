/** What a program of your own imports: `import * as citus from "./components"`. */
export { CitusCluster, type WorkerOutput } from "./cluster.ts";
export { type ClusterArgs, readConfig } from "./config/index.ts";
export type * from "./config/tenants/args.ts";
export type { Login, Tenant } from "./login.ts";
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
