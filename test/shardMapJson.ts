/** A shard map with a group of each model. */
import type { ShardMapJson } from "../client/shardMap.ts";

export const MAP: ShardMapJson = {
    format: 1,
    version: "a",
    generatedAt: "2026-01-01T00:00:00Z",
    database: "app",
    default: "coordinator",
    nodes: {
        coordinator: { host: "c", port: 5432 },
        "worker-1": { host: "w1", port: 5433, poolPort: 6433 },
        "worker-2": { host: "w2", port: 5434 },
    },
    groups: {
        billing: {
            model: "row",
            anchor: "companies",
            keyType: "bigint",
            hash: "hashint8",
            ranges: [
                [-2147483648, -1073741825, "worker-1"],
                [-1073741824, -1, "worker-2"],
                [0, 1509752519, "worker-1"],
                [1509752520, 1509752520, "worker-3"],
                [1509752521, 2147483647, "worker-2"],
            ],
        },
        clinics: { model: "schema", schemas: { acme: "worker-2", twice: "worker-1" } },
        big: {
            model: "database",
            databases: {
                acme_db: { node: "worker-1", database: "acme_db" },
                twice: { node: "worker-2", database: "t" },
            },
        },
        far: { model: "routed", routed: { eu: { host: "eu.example", port: 5439, database: "eu" } } },
        small: { model: "rls", keyType: "uuid" },
    },
    tombstones: {},
};
