/** What a program of your own imports: `import * as citus from "./components"`. */
export { CitusCluster, type WorkerOutput } from "./cluster.ts";
export { type ClusterArgs, readConfig } from "./config.ts";
export { TenantGroup, type TenantGroupArgs } from "./tenantGroup.ts";
export type { LimitsArgs, Model, TableArgs, TenantArgs, TenantGroupSettings } from "./tenants/args.ts";
