/** Which keys of groups and tenants mean something in which model. */

import type { Model } from "../../../core/tenants/group/spec.ts";
import type { ProjectFiles } from "./project.ts";

export const ROWS: readonly Model[] = ["rls", "row"];
export const OWN_PLACE: readonly Model[] = ["schema", "database"];

/** Which models a tenant's key means something in, and why not in others. */
export const TENANT_KEYS: Readonly<Record<string, { readonly models: readonly Model[]; readonly why: string }>> = {
    node: {
        models: ["row", "schema", "database"],
        why: "rls keeps all rows on the coordinator, and routed tenants name a host",
    },
    isolate: { models: ["row"], why: "only rows share a shard" },
    values: { models: ROWS, why: "only they have an anchor table" },
    host: { models: ["routed"], why: "the others are in this cluster" },
    port: { models: ["routed"], why: "the others are in this cluster" },
    database: { models: ["routed"], why: "the others are in this cluster" },
    limits: { models: ["rls", "row", "schema", "database"], why: "this cluster has no role of theirs" },
    role: { models: ["rls", "row", "schema", "database"], why: "this cluster has no role of theirs" },
    export: {
        models: ["rls", "row", "schema", "database"],
        why: "nothing of servers of others is exported or deleted",
    },
    from: { models: ["row", "schema", "database"], why: "data is only taken into row, schema and database" },
};

export const GROUP_KEYS: Readonly<Record<string, { readonly models: readonly Model[]; readonly why: string }>> = {
    anchor: { models: ROWS, why: "only rows have a table of tenants" },
    tables: { models: ROWS, why: "tables of a schema or database come from its template" },
    template: { models: ["rls", "row", "schema", "database"], why: "nothing is run on servers of others" },
    allow: { models: ROWS, why: "it is for changes of tables" },
    outOfOrder: {
        models: ["rls", "row", "schema", "database"],
        why: "it is about the files of a template",
    },
    baseline: { models: OWN_PLACE, why: "its files run once, and no tenant runs them again" },
    rollout: { models: OWN_PLACE, why: "a file runs once for all its tenants" },
    pool: { models: ["rls", "row", "schema", "database"], why: "their servers are not this cluster's" },
    ownColumns: { models: ROWS, why: "only they have an anchor table" },
    exports: { models: ["rls", "row", "schema", "database"], why: "nothing of servers of others is exported" },
    reader: { models: ["rls", "row", "schema"], why: "no query reads several databases" },
    signIn: { models: ROWS, why: "only rows of all tenants are in one table" },
    rowSecurity: { models: ["row"], why: "policies are always on in rls, and the others have none" },
    onboarding: {
        models: ["rls", "row", "schema"],
        why: "a database or a server can't be made inside a transaction of the application",
    },
};

export interface Known {
    readonly files?: ProjectFiles;
    /** The cluster's own database. */
    readonly database: string;
    /** Names of its nodes. @default not known: any is taken */
    readonly nodes?: readonly string[];
    /** Whether its coordinator takes shards; it is not offered where it does not. @default false */
    readonly coordinatorShards?: boolean;
}

export const isEmpty = (value: unknown) => ["[]", "{}"].includes(JSON.stringify(value) ?? "[]");
