/** What a program of your own imports. */
export { CitusCluster, type WorkerOutput } from "./cluster.ts";
export {
    type BackupInput,
    type ClusterConfig,
    type ClusterInput,
    type CoordinatorInput,
    type MachineInput,
    type NetworkInput,
    type RebalanceInput,
    type RestoreFromInput,
    readConfig,
} from "./config/index.ts";
export type * from "./config/tenants/args.ts";
export type { Transform, Transforms } from "./config/transform.ts";
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
    tenantGroup,
} from "./tenantGroup.ts";
