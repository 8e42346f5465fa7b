/** Where each tenant of a cluster is, and its statements done there. */
export type { Key } from "./key.ts";
export * from "./shardMap.ts";
export { fromDatabase, type Queryable, ShardMapClient, type ShardMapClientOptions } from "./shardMapClient.ts";
export { isStale } from "./stale.ts";
export {
    CommitUnknown,
    type Pools,
    type TenantConnection,
    type TenantDb,
    type TenantPool,
    type TenantResult,
} from "./tenant.ts";
