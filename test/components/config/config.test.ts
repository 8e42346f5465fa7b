/** Configuration: what is accepted, and that every mistake is found at once and explained. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { type ClusterArgs, explain, type Mistake, validate } from "../../../components/config/index.ts";
import { OWNED } from "../../../core/node/settings.ts";

type Values = Readonly<Record<string, unknown>>;

function mistakesOf(values: Values, stack = "dev"): Mistake[] {
    const result = validate({ stack, values });
    assert.ok("mistakes" in result, `accepted: ${JSON.stringify(values)}`);
    return result.mistakes;
}

function argsOf(values: Values, stack = "dev"): ClusterArgs {
    const result = validate({ stack, values });
    assert.ok("args" in result, "mistakes" in result ? explain(result.mistakes) : "");
    return result.args;
}

/** Each: what is set, and for every mistake its path and parts of its message: the value got, what is allowed. */
const BAD: readonly [values: Values, ...mistakes: [path: string, ...parts: string[]][]][] = [
    [{ platform: "aws2" }, ["platform", "must be one of docker", 'got "aws2"']],
    [{ platform: "Docker" }, ["platform", "must be one of docker", 'got "Docker"']],
    [{ platform: 3 }, ["platform", "must be one of docker", "got 3"]],
    [{ name: "A" }, ["name", "2 to 40 lower-case letters", 'got "A"', "citus:name"]],
    [{ name: "a" }, ["name", "2 to 40", 'got "a"']],
    [{ name: "1abc" }, ["name", "beginning with a letter", 'got "1abc"']],
    [{ name: "abc-" }, ["name", "lower-case letters, digits and dashes", 'got "abc-"']],
    [{ name: "a_b" }, ["name", "lower-case letters", 'got "a_b"']],
    [{ name: "a.b" }, ["name", "lower-case letters", 'got "a.b"']],
    [{ name: "a b" }, ["name", "lower-case letters", 'got "a b"']],
    [{ name: "ab\n" }, ["name", "lower-case letters", 'got "ab\\n"']],
    [{ name: "x".repeat(41) }, ["name", "2 to 40", `got "${"x".repeat(41)}"`]],
    [{ name: 7 }, ["name", "2 to 40", "got 7"]],
    [{ workers: "-1" }, ["workers", "a whole number from 0 to 200", "got -1", "for example 2"]],
    [{ workers: -1 }, ["workers", "a whole number from 0 to 200", "got -1"]],
    [{ workers: "201" }, ["workers", "from 0 to 200", "got 201"]],
    [{ workers: "2.5" }, ["workers", "a whole number", "got 2.5"]],
    [{ workers: "two" }, ["workers", "a whole number", 'got "two"']],
    [{ workers: "2 workers" }, ["workers", "a whole number", 'got "2 workers"']],
    [{ workers: true }, ["workers", "a whole number", "got true"]],
    [{ workers: null }, ["workers", "a whole number", "got null"]],
    [{ workers: [2] }, ["workers", "a whole number", "got [2]"]],
    [{ workers: "Infinity" }, ["workers", "a whole number", 'got "Infinity"']],
    [{ workers: "1e400" }, ["workers", "a whole number", 'got "1e400"']],
    [{ retire: "worker-1" }, ["retire", "must be a list of workers", 'got "worker-1"', '["worker-1"]']],
    [{ retire: { a: 1 } }, ["retire", "must be a list of workers", 'got {"a":1}']],
    [{ retire: '["worker-0"]' }, ["retire[0]", "worker's name such as worker-1", 'got "worker-0"']],
    [{ retire: ["coordinator"] }, ["retire[0]", "worker's name", 'got "coordinator"']],
    [{ retire: ["worker-1", 2] }, ["retire[1]", "worker's name", "got 2"]],
    [{ retire: ["worker-1", "worker-1"] }, ["retire[1]", "names worker-1 twice", "remove one"]],
    [
        { retire: ["x", "worker-2", "y"] },
        ["retire[0]", "worker's name", 'got "x"'],
        ["retire[2]", "worker's name", 'got "y"'],
    ],
    [{ database: "App" }, ["database", "lower-case letters, digits and underscores", 'got "App"']],
    [{ database: "1app" }, ["database", "lower-case letters", 'got "1app"']],
    [{ database: "my-app" }, ["database", "lower-case letters", 'got "my-app"']],
    [{ database: "a'b" }, ["database", "lower-case letters", `got "a'b"`]],
    [{ database: "a".repeat(64) }, ["database", "63 at most"]],
    [
        { database: "postgres" },
        ["database", "must not be one of postgres, template0, template1", 'got "postgres"', "for example app"],
    ],
    [{ database: "template1" }, ["database", "must not be one of", 'got "template1"']],
    [{ database: 5 }, ["database", "a database name", "got 5"]],
    [{ shardCount: "0" }, ["shardCount", "from 1 to 64000", "got 0", "for example 32"]],
    [{ shardCount: 64_001 }, ["shardCount", "from 1 to 64000", "got 64001"]],
    [{ shardCount: "many" }, ["shardCount", "a whole number", 'got "many"']],
    [{ citusVersion: "13.1.0" }, ["citusVersion", "a Citus version from 13.2.0 written in full", 'got "13.1.0"']],
    [{ citusVersion: "12.9.0" }, ["citusVersion", "a Citus version from 13.2.0", 'got "12.9.0"']],
    [{ citusVersion: "13.02.0" }, ["citusVersion", "a Citus version from 13.2.0", 'got "13.02.0"']],
    [{ citusVersion: "13.100.0" }, ["citusVersion", "a Citus version from 13.2.0", 'got "13.100.0"']],
    [
        { settings: { all: { archive_timeout: "5min" } } },
        ["settings.all", "can't set archive_timeout", "it is 60 s", "citus:backup.restorePoint", 'got "5min"'],
    ],
    [{ citusVersion: "14" }, ["citusVersion", "written in full, such as 14.1.0", 'got "14"']],
    [{ citusVersion: "v14.0.1" }, ["citusVersion", "a Citus version", 'got "v14.0.1"']],
    [{ citusVersion: 14.1 }, ["citusVersion", "a Citus version", "got 14.1"]],
    [{ citusVersion: "14.0.1; rm" }, ["citusVersion", "a Citus version", 'got "14.0.1; rm"']],
    [
        { postgresVersion: "18.1" },
        ["postgresVersion", "newest, base, or a minor release of PostgreSQL 17", 'got "18.1"'],
    ],
    [{ postgresVersion: "17" }, ["postgresVersion", "such as 17.10", 'got "17"']],
    [{ postgresVersion: 17.1 }, ["postgresVersion", "such as 17.10", "got 17.1"]],
    [
        { "worker.memory": "2GB" },
        ["worker.memory", "is a part of citus:worker", 'pulumi config set --path citus:worker.memory "2GB"'],
    ],
    [{ image: "citusdata/citus" }, ["image", "must name a fixed tag or digest", 'got "citusdata/citus"']],
    [
        { image: "citusdata/citus:latest" },
        ["image", "must name a fixed tag or digest", 'got "citusdata/citus:latest"', "by itself"],
    ],
    [{ image: "localhost:5000/citus" }, ["image", "fixed tag or digest", 'got "localhost:5000/citus"']],
    [{ port: "80" }, ["port", "a whole number from 1024 to 64335", "got 80", "for example 5432"]],
    [{ port: 65_535 }, ["port", "from 1024 to 64335", "got 65535"]],
    [{ port: "http" }, ["port", "a whole number", 'got "http"']],
    [{ coordinator: "big" }, ["coordinator", "must be an object", 'got "big"']],
    [{ coordinator: "4" }, ["coordinator", "must be an object", "got 4"]],
    [{ coordinator: [] }, ["coordinator", "must be an object", "got []"]],
    [
        { coordinator: { memory: "1TB" } },
        ["coordinator.memory", "from 256MB to 4096GB", 'got "1TB"', "for example 2GB"],
    ],
    [{ coordinator: { memory: 2048 } }, ["coordinator.memory", "an amount of memory", "got 2048", "for example 2GB"]],
    [{ coordinator: { memory: "255MB" } }, ["coordinator.memory", "from 256MB", 'got "255MB"']],
    [{ coordinator: { memory: "-1GB" } }, ["coordinator.memory", "an amount of memory", 'got "-1GB"']],
    [{ coordinator: { shards: "yes" } }, ["coordinator.shards", "must be true or false", 'got "yes"']],
    [{ coordinator: { memry: "2GB" } }, ["coordinator", 'has no "memry"', "it has memory, cores, shards"]],
    [{ workers: "" }, ["workers", "has no value, got null or an empty text", "pulumi config rm citus:workers"]],
    [{ retire: "" }, ["retire", "has no value, got null or an empty text"]],
    [{ coordinator: { cores: null } }, ["coordinator.cores", "a whole number", "got null"]],
    [{ settings: { all: null } }, ["settings.all", "must be a map", "got null"]],
    [{ worker: { memory: "5000GB" } }, ["worker.memory", "to 4096GB", 'got "5000GB"']],
    [{ worker: { cores: 0 } }, ["worker.cores", "from 1 to 512", "got 0", "for example 2"]],
    [{ worker: { cores: 1.5 } }, ["worker.cores", "a whole number", "got 1.5"]],
    [{ worker: { shards: true } }, ["worker", 'has no "shards"', "it has memory, cores"]],
    [{ worker: '{"cores": 1000}' }, ["worker.cores", "from 1 to 512", "got 1000"]],
    [{ worker: '{"cores": 2' }, ["worker", "is not JSON: ", "got "]],
    [{ settings: "work_mem=4MB" }, ["settings", "must be an object", 'got "work_mem=4MB"']],
    [{ settings: { worker: {} } }, ["settings", 'has no "worker"', "it has all, coordinator, workers"]],
    [
        { settings: { all: "x" } },
        ["settings.all", "must be a map of PostgreSQL settings", 'got "x"', '{"work_mem": "16MB"}'],
    ],
    [
        { settings: { all: { "work mem": "1" } } },
        ["settings.all", 'has no setting "work mem"', "not the name of a PostgreSQL setting"],
    ],
    [{ settings: { workers: { "a=b": "1" } } }, ["settings.workers", 'has no setting "a=b"']],
    [{ settings: { all: { "x\ny": "1" } } }, ["settings.all", 'has no setting "x\\ny"']],
    [{ settings: { all: { fsync: "off" } } }, ["settings.all", "can't set fsync", 'got "off"', "loses data"]],
    [{ settings: { all: { FSYNC: "off" } } }, ["settings.all", "can't set FSYNC", "loses data"]],
    [{ settings: { workers: { ssl: false } } }, ["settings.workers", "can't set ssl", "got false", "TLS"]],
    [{ settings: { coordinator: { port: 5433 } } }, ["settings.coordinator", "can't set port", "got 5433"]],
    [
        { settings: { all: { "citus.shard_count": 64 } } },
        ["settings.all", "can't set citus.shard_count", "use citus:shardCount"],
    ],
    [{ settings: { all: { work_mem: "4MB\nfsync = off" } } }, ["settings.all", "line break", "work_mem"]],
    [
        { settings: { all: { fsync: "off", ssl: "off" }, workers: { wal_level: "replica" } } },
        ["settings.all", "can't set fsync"],
        ["settings.all", "can't set ssl"],
        ["settings.workers", "can't set wal_level"],
    ],
    [
        { settings: { all: { max_connections: 10 } } },
        ["settings.all.max_connections", "must be at least 40", "got 10", "need that many"],
    ],
    [
        { settings: { workers: { max_prepared_transactions: 0 } } },
        ["settings.workers.max_prepared_transactions", "must be more than 0", "got 0", "two phases"],
    ],
    [{ rebalance: "sometimes" }, ["rebalance", "true, false or an object", 'got "sometimes"']],
    [{ rebalance: 1 }, ["rebalance", "true, false or an object", "got 1"]],
    [
        { rebalance: { strategy: "random" } },
        ["rebalance.strategy", "must be one of by_disk_size, by_shard_count", 'got "random"'],
    ],
    [
        { rebalance: { transferMode: "fast" } },
        ["rebalance.transferMode", "must be one of auto, force_logical, block_writes", 'got "fast"'],
    ],
    [{ rebalance: { threshold: 2 } }, ["rebalance.threshold", "a number from 0 to 1", "got 2"]],
    [{ rebalance: { threshold: "much" } }, ["rebalance.threshold", "a number from 0 to 1", 'got "much"']],
    [{ rebalance: { enabled: "on" } }, ["rebalance.enabled", "must be true or false", 'got "on"']],
    [
        { rebalance: { mode: "auto" } },
        ["rebalance", 'has no "mode"', "it has enabled, strategy, transferMode, threshold"],
    ],
    [
        { rebalance: { strategy: "by_shard_count", threshold: 0.5 } },
        ["rebalance.threshold", "only works with the strategy by_disk_size", "got 0.5"],
    ],
    [{ postDeploy: "schema.sql" }, ["postDeploy", "must be a list of SQL files", 'got "schema.sql"', '["schema.sql"]']],
    [{ postDeploy: ["schema.txt"] }, ["postDeploy[0]", "the path of a .sql file", 'got "schema.txt"']],
    [{ postDeploy: [1] }, ["postDeploy[0]", "the path of a .sql file", "got 1"]],
    [{ postDeploy: ["/etc/x.sql"] }, ["postDeploy[0]", "a path inside the project", 'got "/etc/x.sql"']],
    [{ postDeploy: ["a/../../x.sql"] }, ["postDeploy[0]", "a path inside the project", 'got "a/../../x.sql"']],
    [{ postDeploy: ["a.sql", "a.sql"] }, ["postDeploy[1]", "in the list twice", 'got "a.sql"']],
    [{ protect: "yes" }, ["protect", "must be true or false", 'got "yes"']],
    [{ protect: "1" }, ["protect", "must be true or false", "got 1"]],
    [
        { dockerHost: "localhost" },
        ["dockerHost", "a Docker engine's address", 'got "localhost"', "unix:///var/run/docker.sock"],
    ],
    [{ dockerHost: "http://x" }, ["dockerHost", "a Docker engine's address", 'got "http://x"']],
    [
        { dockerHost: "ssh://user@host" },
        [
            "dockerHost",
            'names the Docker engine "ssh://user@host"',
            "SQL from here does not reach them",
            "on that machine",
        ],
    ],
    [{ dockerHost: "tcp://10.0.0.1:2375" }, ["dockerHost", '"tcp://10.0.0.1:2375"', "not a socket or a loopback port"]],
    [{ worker: { cores: 0, memory: "x" } }, ["worker.cores", "got 0"], ["worker.memory", 'got "x"']],
    [
        { coordinator: { cores: 0, memory: "x", shards: 1, other: 2 } },
        ["coordinator.cores", "got 0"],
        ["coordinator.memory", 'got "x"'],
        ["coordinator.shards", "got 1"],
        ["coordinator", 'has no "other"'],
    ],
    [{ backup: "sometimes" }, ["backup", "must be true, false or an object", 'got "sometimes"']],
    [{ backup: 7 }, ["backup", "true, false or an object", "got 7"]],
    [{ backup: [] }, ["backup", "true, false or an object", "got []"]],
    [{ backup: { enabled: "off" } }, ["backup.enabled", "must be true or false", 'got "off"']],
    [
        { backup: { every: "1d" } },
        ["backup", 'has no "every"', "it has enabled, full, diff, incr, restorePoint, retention, window"],
    ],
    [{ backup: { full: "59m" } }, ["backup.full", "a time from 1h to 400d, got", 'got "59m"', "for example 7d"]],
    [{ backup: { full: "off" } }, ["backup.full", "a time from 1h to 400d, got", 'got "off"']],
    [{ backup: { full: false } }, ["backup.full", "a time from 1h to 400d, got", "got false"]],
    [{ backup: { full: "401d" } }, ["backup.full", "to 400d", 'got "401d"']],
    [{ backup: { full: 604_800 } }, ["backup.full", "a time from 1h", "got 604800", "for example 7d"]],
    [{ backup: { full: "1w" } }, ["backup.full", "a time from 1h", 'got "1w"']],
    [{ backup: { full: null } }, ["backup.full", "a time from 1h", "got null"]],
    [{ backup: { full: "7 d" } }, ["backup.full", "a time from 1h", 'got "7 d"']],
    [{ backup: { full: "1.5d" } }, ["backup.full", "a time from 1h", 'got "1.5d"']],
    [{ backup: { full: "-7d" } }, ["backup.full", "a time from 1h", 'got "-7d"']],
    [{ backup: { diff: "30m" } }, ["backup.diff", 'a time from 1h to 400d, or "off"', 'got "30m"', "for example 1d"]],
    [{ backup: { diff: true } }, ["backup.diff", 'or "off"', "got true"]],
    [{ backup: { incr: "9m" } }, ["backup.incr", 'a time from 10m to 400d, or "off"', 'got "9m"', "for example 6h"]],
    [
        { backup: { restorePoint: "5s" } },
        ["backup.restorePoint", 'a time from 10s to 400d, or "off"', 'got "5s"', "for example 5m"],
    ],
    [{ backup: { restorePoint: "never" } }, ["backup.restorePoint", 'or "off"', 'got "never"']],
    [{ backup: { retention: 0 } }, ["backup.retention", "a whole number from 1 to 1000", "got 0", "for example 2"]],
    [{ backup: { retention: "2" } }, ["backup.retention", "a whole number", 'got "2"']],
    [{ backup: { retention: 1001 } }, ["backup.retention", "from 1 to 1000", "got 1001"]],
    [
        { backup: { window: "1:00-5:00" } },
        ["backup.window", "two times of day in UTC such as 01:00-05:00", 'got "1:00-5:00"'],
    ],
    [{ backup: { window: "01:00" } }, ["backup.window", "two times of day", 'got "01:00"']],
    [{ backup: { window: "24:00-05:00" } }, ["backup.window", "two times of day", 'got "24:00-05:00"']],
    [{ backup: { window: "01:00-24:00" } }, ["backup.window", "two times of day", 'got "01:00-24:00"']],
    [{ backup: { window: "01:00-05:60" } }, ["backup.window", "two times of day", 'got "01:00-05:60"']],
    [{ backup: { window: "01:00-05:00\n" } }, ["backup.window", "two times of day", 'got "01:00-05:00\\n"']],
    [{ backup: { window: 5 } }, ["backup.window", "two times of day", "got 5"]],
    [
        { backup: { window: "01:00-01:00" } },
        ["backup.window", "never opens", 'got "01:00-01:00"', "take it away for any time of day"],
    ],
    [{ backup: { window: "00:00-00:00" } }, ["backup.window", "never opens", 'got "00:00-00:00"']],
    [
        {
            backup: {
                full: "x",
                diff: "x",
                incr: "x",
                restorePoint: "x",
                retention: "x",
                window: "x",
                enabled: "x",
                x: 1,
            },
        },
        ["backup.full", 'got "x"'],
        ["backup.diff", 'got "x"'],
        ["backup.incr", 'got "x"'],
        ["backup.restorePoint", 'got "x"'],
        ["backup.retention", 'got "x"'],
        ["backup.window", 'got "x"'],
        ["backup.enabled", 'got "x"'],
        ["backup", 'has no "x"'],
    ],
    [
        { backupPassphrase: "nineteen-characters" },
        ["backupPassphrase", "20 to 200 visible ASCII characters", "openssl rand -base64 32"],
    ],
    [{ backupPassphrase: "x".repeat(201) }, ["backupPassphrase", "20 to 200 visible ASCII characters"]],
    [{ backupPassphrase: "twenty characters with a space" }, ["backupPassphrase", "visible ASCII characters"]],
    [{ backupPassphrase: `${"x".repeat(20)}\n` }, ["backupPassphrase", "visible ASCII characters"]],
    [{ backupPassphrase: "ü".repeat(20) }, ["backupPassphrase", "visible ASCII characters"]],
    [{ backupPassphrase: 12_345_678_901_234 }, ["backupPassphrase", "must be a text, got number"]],
    [
        { restorePassphrase: "short" },
        ["restorePassphrase", "20 to 200 visible ASCII characters", "openssl rand -base64 32"],
    ],
    [{ restorePassphrase: { a: 1 } }, ["restorePassphrase", "must be a text, got object"]],
    [
        { restoreFrom: "dev" },
        ["restoreFrom", 'must be an object such as {"stack": "dev", "point": "latest"}', 'got "dev"'],
    ],
    [{ restoreFrom: true }, ["restoreFrom", "must be an object such as", "got true"]],
    [{ restoreFrom: [] }, ["restoreFrom", "must be an object such as", "got []"]],
    [
        { restoreFrom: { time: "2026-11-22T10:00:00Z" } },
        [
            "restoreFrom",
            'has no "time"',
            "it has stack, repository, cluster, point, overwrite, onlyWorker, acceptSplitTransactions",
        ],
    ],
    [
        { restoreFrom: { stack: "org/dev" } },
        ["restoreFrom.stack", "the name of a stack of this project", 'got "org/dev"'],
    ],
    [{ restoreFrom: { stack: "" } }, ["restoreFrom.stack", "the name of a stack", 'got ""']],
    [{ restoreFrom: { stack: 1 } }, ["restoreFrom.stack", "the name of a stack", "got 1"]],
    [
        { restoreFrom: { repository: "/var/backups" } },
        ["restoreFrom.repository", "the name of a Docker volume", 'got "/var/backups"'],
    ],
    [{ restoreFrom: { repository: "a b" } }, ["restoreFrom.repository", "a Docker volume", 'got "a b"']],
    [{ restoreFrom: { cluster: "Citus" } }, ["restoreFrom.cluster", "a cluster's name", 'got "Citus"']],
    [
        { restoreFrom: { point: "0/16B3748" } },
        [
            "restoreFrom.point",
            "can't be a log sequence number",
            "give latest, a point's name, or a time",
            'got "0/16B3748"',
        ],
    ],
    [
        { restoreFrom: { point: 73_519 } },
        ["restoreFrom.point", "can't be a transaction id", "give latest", "got 73519"],
    ],
    [{ restoreFrom: { point: "immediate" } }, ["restoreFrom.point", `can't be "immediate"`, 'got "immediate"']],
    [
        { restoreFrom: { point: { "worker-1": "latest" } } },
        ["restoreFrom.point", "can't be given node by node", 'got {"worker-1":"latest"}'],
    ],
    [{ restoreFrom: { point: ["latest"] } }, ["restoreFrom.point", "can't be given node by node", 'got ["latest"]']],
    [
        { restoreFrom: { point: "2026-11-22T10:00:00" } },
        [
            "restoreFrom.point",
            "must be a time with its zone, such as 2026-11-22T10:00:00Z",
            'got "2026-11-22T10:00:00"',
        ],
    ],
    [
        { restoreFrom: { point: "" } },
        ["restoreFrom.point", "must be latest, a restore point's name or a time", 'got ""'],
    ],
    [{ restoreFrom: { point: null } }, ["restoreFrom.point", "must be latest", "got null"]],
    [{ restoreFrom: { overwrite: "yes" } }, ["restoreFrom.overwrite", "must be true or false", 'got "yes"']],
    [
        { restoreFrom: { stack: "prod", repository: "citus-prod-backups" } },
        ["restoreFrom.repository", "names a volume", 'restoreFrom.stack names a stack ("prod")', "keep one"],
    ],
    [
        { restoreFrom: { onlyWorker: "coordinator", acceptSplitTransactions: true } },
        ["restoreFrom.onlyWorker", "a worker's name such as worker-1", 'got "coordinator"'],
    ],
    [
        { restoreFrom: { onlyWorker: 1, acceptSplitTransactions: true } },
        ["restoreFrom.onlyWorker", "a worker's name such as worker-1", "got 1"],
    ],
    [
        { restoreFrom: { onlyWorker: "worker-1" } },
        [
            "restoreFrom.onlyWorker",
            'rebuilds "worker-1" alone to the end of its archive',
            "is lost",
            "split there without an error",
            "take it away to restore the whole cluster",
            "set restoreFrom.acceptSplitTransactions to true",
        ],
    ],
    [
        { restoreFrom: { onlyWorker: "worker-1", acceptSplitTransactions: false } },
        ["restoreFrom.onlyWorker", "set restoreFrom.acceptSplitTransactions to true"],
    ],
    [
        { restoreFrom: { onlyWorker: "worker-1", acceptSplitTransactions: true, stack: "prod" } },
        ["restoreFrom.onlyWorker", "only works in place", "take restoreFrom.stack and restoreFrom.repository away"],
    ],
    [
        { restoreFrom: { onlyWorker: "worker-1", acceptSplitTransactions: true, repository: "citus-prod-backups" } },
        ["restoreFrom.onlyWorker", "only works in place"],
    ],
    [
        { restoreFrom: { onlyWorker: "worker-1", acceptSplitTransactions: true, point: "2026-11-22T10:00:00Z" } },
        [
            "restoreFrom.onlyWorker",
            "goes to the end of its archive",
            'got the point "2026-11-22T10:00:00Z" as well',
            "keep one",
        ],
    ],
    [
        { restoreFrom: { onlyWorker: "worker-1", stack: "prod", point: "x" } },
        ["restoreFrom.onlyWorker", "acceptSplitTransactions"],
        ["restoreFrom.onlyWorker", "only works in place"],
        ["restoreFrom.onlyWorker", 'got the point "x"'],
    ],
    [
        { restoreFrom: { acceptSplitTransactions: true } },
        ["restoreFrom.acceptSplitTransactions", "only means something with restoreFrom.onlyWorker", "take it away"],
    ],
    [
        { restoreFrom: { acceptSplitTransactions: "yes" } },
        ["restoreFrom.acceptSplitTransactions", "must be true or false", 'got "yes"'],
    ],
    [
        { restoreFrom: { stack: "dev" } },
        ["restoreFrom.stack", "names this stack itself", 'got "dev"', "take it away to restore in place"],
    ],
    [
        { restoreFrom: { stack: "dev", repository: "citus-dev-backups" } },
        ["restoreFrom.stack", "names this stack itself"],
        ["restoreFrom.repository", "names a volume", "keep one"],
    ],
    [
        { restoreFrom: { point: "2026-02-30T10:00:00Z" } },
        ["restoreFrom.point", "must be a time with its zone", 'got "2026-02-30T10:00:00Z"'],
    ],
    [{ restoreFrom: { point: "2027-02-29T10:00:00Z" } }, ["restoreFrom.point", "must be a time with its zone"]],
    [{ wrokers: 3 }, ["wrokers", "is not a setting of this project", "did you mean citus:workers?"]],
    [
        { worker_count: 3, quite_other: 1 },
        ["worker_count", "is not a setting"],
        ["quite_other", "is not a setting", "platform, name, workers"],
    ],
];

describe("bad configurations", () => {
    test("there are at least 70", () => assert.ok(BAD.length >= 70, String(BAD.length)));

    for (const [values, ...expected] of BAD) {
        test(JSON.stringify(values), () => {
            const mistakes = mistakesOf(values);
            const text = explain(mistakes);
            assert.deepEqual(mistakes.map((m) => m.path).sort(), expected.map(([path]) => path).sort(), text);
            for (const [path, ...parts] of expected) {
                const same = mistakes.filter((m) => m.path === path);
                assert.ok(
                    same.some((m) => parts.every((part) => m.message.includes(part))),
                    `${path}: ${parts.join(" … ")}\nnot in\n${text}`,
                );
                assert.ok(text.includes(`citus:${path} `), text);
            }
            assert.match(text, /Nothing was changed\.$/);
        });
    }

    test("no message is zod's own", () => {
        for (const [values] of BAD) {
            for (const { message } of mistakesOf(values))
                assert.doesNotMatch(
                    message,
                    /Invalid (input|option|string)|Unrecognized|Too (big|small)|expected \w+, received/,
                );
        }
    });

    test("every setting that the project owns is refused with its reason, in each part", () => {
        for (const part of ["all", "coordinator", "workers"]) {
            for (const [name, reason] of Object.entries(OWNED)) {
                const [mistake, ...more] = mistakesOf({ settings: { [part]: { [name]: "x" } } });
                assert.equal(more.length, 0);
                assert.equal(mistake?.path, `settings.${part}`);
                assert.ok(mistake.message.includes(reason) && mistake.message.includes('got "x"'));
            }
        }
    });

    for (const value of [null, [1], { a: 1 }]) {
        test(`a setting's value ${JSON.stringify(value)} is explained with what was got and what is allowed`, () => {
            const [mistake] = mistakesOf({ settings: { all: { work_mem: value } } });
            assert.match(mistake?.path ?? "", /^settings\.all(\.work_mem)?$/);
            assert.ok(mistake?.message.includes(`got ${JSON.stringify(value)}`), mistake?.message);
            assert.match(mistake?.message ?? "", /must be|for example/);
        });
    }

    test("a line break in a value is shown with what to do", () => {
        const [mistake] = mistakesOf({ settings: { all: { work_mem: "4MB\nfsync = off" } } });
        assert.ok(mistake?.message.includes('"4MB\\nfsync = off"'), mistake?.message);
    });

    // postgresql.conf reads these as directives, with or without "="
    for (const name of ["include", "include_dir", "include_if_exists"]) {
        test(`${name} is a directive, not a setting`, () => {
            const [mistake] = mistakesOf({ settings: { all: { [name]: "/tmp/x.conf" } } });
            assert.equal(mistake?.path, "settings.all");
        });
    }

    test("a long value is cut", () => {
        const [mistake] = mistakesOf({ database: "X".repeat(500) });
        assert.ok((mistake?.message.length ?? 0) < 250);
        assert.ok(mistake?.message.includes("..."));
    });

    test("a stack's name that makes no cluster name is explained with citus:name", () => {
        const [mistake] = mistakesOf({}, "My_Stack");
        assert.equal(mistake?.path, "name");
        assert.ok(mistake.message.includes('"citus-My_Stack"') && mistake.message.includes("citus:name"));
    });

    test("the last worker's published port is a port", () => {
        const values = { port: 64_335, workers: 200, retire: ["worker-1"] };
        const [mistake] = mistakesOf(values);
        assert.match(mistake?.path ?? "", /^(port|retire|workers)/);
    });
});

test("text that begins as JSON and is none is said to be so, with where, and nothing else is said of it", () => {
    const found = mistakesOf({
        tenantGroups: '{"clinics": {"model": "schema",, "tenants": {}}}',
        worker: '{"memory": "1GB"',
        workers: "2",
    });
    assert.deepEqual(
        found.map(({ path }) => path),
        ["worker", "tenantGroups"],
    );
    assert.match(found[0]?.message ?? "", /^is not JSON: Expected .* at position 16 \(line 1 column 17\) - got /);
    assert.match(found[1]?.message ?? "", /^is not JSON: .* at position 31 /);
});

test("an unknown key of a node on docker is answered with the keys of docker", () => {
    for (const [part, keys] of [
        ["coordinator", "memory, cores, shards"],
        ["worker", "memory, cores"],
    ] as const) {
        const [mistake] = mistakesOf({ [part]: { nothing: 1 } });
        assert.equal(mistake?.message, `has no "nothing"; it has ${keys}`);
    }
});

describe("every mistake is reported at once", () => {
    /** One mistake a key, none of which hides another's. */
    const wrong: Readonly<Record<string, unknown>> = {
        platform: "x",
        name: "A",
        workers: "-1",
        retire: ["x"],
        database: "A",
        shardCount: 0,
        citusVersion: "x",
        image: "x:latest",
        port: 1,
        coordinator: { cores: 0 },
        worker: { memory: "1" },
        settings: { all: { fsync: "off" } },
        rebalance: { strategy: "x" },
        postDeploy: ["x"],
        protect: "x",
        backup: { full: "x" },
        backupPassphrase: "x",
        restoreFrom: { overwrite: "x" },
        restorePassphrase: "x",
        dockerHost: "x",
        wrokers: 1,
    };

    test("for any combination of wrong keys", () => {
        fc.assert(
            fc.property(fc.subarray(Object.keys(wrong), { minLength: 1 }), (keys) => {
                const mistakes = mistakesOf(Object.fromEntries(keys.map((key) => [key, wrong[key]])));
                assert.deepEqual([...new Set(mistakes.map((m) => m.path.split(/[.[]/)[0]))].sort(), keys.toSorted());
                assert.equal(mistakes.length, keys.length);
                const text = explain(mistakes);
                assert.equal(text.split("\n").length, keys.length + 2);
                assert.match(
                    text,
                    keys.length === 1 ? /^The configuration has a mistake:/ : /^The configuration has [0-9]+ mistakes:/,
                );
            }),
        );
    });

    test("a rule that needs the whole configuration, beside a wrong key", () => {
        const mistakes = mistakesOf({ workers: "-1", settings: { all: { max_connections: 10 } } });
        assert.deepEqual(mistakes.map((m) => m.path).sort(), ["settings.all.max_connections", "workers"]);
    });

    test("a rule that needs the whole configuration, beside an unknown key", () => {
        const mistakes = mistakesOf({ wrokers: 1, settings: { all: { max_connections: 10 } } });
        assert.deepEqual(mistakes.map((m) => m.path).sort(), ["settings.all.max_connections", "wrokers"]);
    });

    test("a setting that is owned, beside a value of the wrong kind", () => {
        const mistakes = mistakesOf({ settings: { all: { fsync: "off", work_mem: null } } });
        assert.equal(mistakes.length, 2, explain(mistakes));
    });

    test("a threshold that does not fit the strategy, beside another wrong field", () => {
        const mistakes = mistakesOf({ rebalance: { strategy: "by_shard_count", threshold: 0.5, enabled: "x" } });
        assert.deepEqual(mistakes.map((m) => m.path).sort(), ["rebalance.enabled", "rebalance.threshold"]);
    });

    test("all rules between keys", () => {
        const mistakes = mistakesOf({
            settings: {
                all: { max_connections: 10, max_prepared_transactions: "0" },
                workers: { max_connections: 39 },
            },
        });
        assert.deepEqual(mistakes.map((m) => m.path).sort(), [
            "settings.all.max_connections",
            "settings.all.max_prepared_transactions",
            "settings.workers.max_connections",
        ]);
    });
});

describe("good configurations", () => {
    const DEFAULTS: ClusterArgs = {
        platform: "docker",
        name: "citus-dev",
        workers: 2,
        retire: [],
        database: "app",
        shardCount: 32,
        coordinator: { memory: 1024, cores: 2, shards: false },
        worker: { memory: 1024, cores: 2 },
        settings: { all: {}, coordinator: {}, workers: {} },
        rebalance: { enabled: true, strategy: "by_disk_size", transferMode: "auto" },
        postDeploy: [],
        protect: false,
        tenantGroups: {},
        backup: { enabled: true, full: 604_800, diff: 86_400, incr: 0, restorePoint: 300, retention: 2 },
    };
    /** Without keys that are there but undefined. */
    const plain = (args: ClusterArgs) => JSON.parse(JSON.stringify(args)) as ClusterArgs;

    test("nothing set gives the defaults", () => assert.deepEqual(plain(argsOf({})), DEFAULTS));

    test("data is protected in every stack but dev, unless said otherwise", () => {
        assert.equal(argsOf({}, "prod").protect, true);
        assert.equal(argsOf({}, "prod").name, "citus-prod");
        assert.equal(argsOf({ protect: "false" }, "prod").protect, false);
        assert.equal(argsOf({ protect: "true" }, "dev").protect, true);
    });

    const good: readonly [what: string, values: Values, changed: Partial<ClusterArgs>][] = [
        [
            "numbers as text",
            { workers: "4", shardCount: "64", port: "5432" },
            { workers: 4, shardCount: 64, port: 5432 },
        ],
        ["numbers", { workers: 0, shardCount: 64_000 }, { workers: 0, shardCount: 64_000 }],
        ["the most workers", { workers: "200" }, { workers: 200 }],
        ["a list as JSON", { retire: '["worker-2"]' }, { retire: ["worker-2"] }],
        ["text around a number", { workers: " 3 " }, { workers: 3 }],
        ["an empty text is not set where Pulumi.yaml says so", { port: "", dockerHost: "", protect: "" }, {}],
        [
            "an object as JSON",
            { coordinator: '{"memory":"2GB","shards":true}' },
            { coordinator: { memory: 2048, cores: 2, shards: true } },
        ],
        ["memory in MB", { worker: { memory: "1536MB" } }, { worker: { memory: 1536, cores: 2 } }],
        ["memory in GiB with a fraction", { worker: { memory: "1.5 GiB" } }, { worker: { memory: 1536, cores: 2 } }],
        ["the least memory", { worker: { memory: "256MB" } }, { worker: { memory: 256, cores: 2 } }],
        ["the most memory", { worker: { memory: "4096GB" } }, { worker: { memory: 4_194_304, cores: 2 } }],
        [
            "rebalance false",
            { rebalance: "false" },
            { rebalance: { enabled: false, strategy: "by_disk_size", transferMode: "auto" } },
        ],
        ["rebalance true", { rebalance: true }, {}],
        [
            "rebalance with a threshold",
            { rebalance: { threshold: 0.05 } },
            { rebalance: { ...DEFAULTS.rebalance, threshold: 0.05 } },
        ],
        [
            "a threshold as pulumi config set --path stores it",
            { rebalance: '{"threshold":"0.05"}' },
            { rebalance: { ...DEFAULTS.rebalance, threshold: 0.05 } },
        ],
        [
            "by_shard_count with the threshold that it has",
            { rebalance: { strategy: "by_shard_count", threshold: 0 } },
            { rebalance: { enabled: true, strategy: "by_shard_count", transferMode: "auto", threshold: 0 } },
        ],
        [
            "settings of each kind as text",
            { settings: { all: { Work_Mem: "8MB", jit: true, "my.flag": false, max_files_per_process: 2000 } } },
            {
                settings: {
                    all: { work_mem: "8MB", jit: "on", "my.flag": "off", max_files_per_process: "2000" },
                    coordinator: {},
                    workers: {},
                },
            },
        ],
        ["another version", { citusVersion: "14.1.0" }, { citusVersion: "14.1.0" }],
        ["the oldest version", { citusVersion: "13.2.0" }, { citusVersion: "13.2.0" }],
        ["a minor of two digits", { citusVersion: "13.10.0" }, { citusVersion: "13.10.0" }],
        ["a minor release", { postgresVersion: "17.10" }, { postgresVersion: "17.10" }],
        ["the base's own minor release", { postgresVersion: "base" }, { postgresVersion: "base" }],
        ["what Pulumi.yaml declares as not set", { citusVersion: "", image: "", postgresVersion: "" }, {}],
        [
            "an image with a tag",
            { image: "registry.example:5000/team/citus:1.2" },
            { image: "registry.example:5000/team/citus:1.2" },
        ],
        [
            "an image with a digest",
            { image: `citusdata/citus@sha256:${"a".repeat(64)}` },
            { image: `citusdata/citus@sha256:${"a".repeat(64)}` },
        ],
        [
            "files",
            { postDeploy: '["sql/schema.sql","sql/data.sql"]' },
            { postDeploy: ["sql/schema.sql", "sql/data.sql"] },
        ],
        ["backups off", { backup: "false" }, { backup: { ...DEFAULTS.backup, enabled: false } }],
        ["backups on", { backup: true }, {}],
        [
            "spans with units",
            { backup: { full: "2d", diff: "90m", incr: "36000s", restorePoint: "1h" } },
            { backup: { ...DEFAULTS.backup, full: 172_800, diff: 5400, incr: 36_000, restorePoint: 3600 } },
        ],
        [
            "spans that are off",
            { backup: { diff: "off", incr: false, restorePoint: "off" } },
            { backup: { ...DEFAULTS.backup, diff: 0, incr: 0, restorePoint: 0 } },
        ],
        [
            "the shortest spans, and one full backup kept",
            { backup: { full: "1h", diff: "1h", incr: "10m", restorePoint: "10s", retention: 1 } },
            { backup: { enabled: true, full: 3600, diff: 3600, incr: 600, restorePoint: 10, retention: 1 } },
        ],
        ["the longest span", { backup: { full: "400d" } }, { backup: { ...DEFAULTS.backup, full: 34_560_000 } }],
        [
            "a window over midnight, as pulumi config set --path stores it",
            { backup: '{"window":"22:00-04:30","retention":7}' },
            { backup: { ...DEFAULTS.backup, window: "22:00-04:30", retention: 7 } },
        ],
        ["a passphrase", { backupPassphrase: "twenty-characters-1!" }, { backupPassphrase: "twenty-characters-1!" }],
        [
            "a passphrase of digits stays text",
            { backupPassphrase: "1".repeat(20) },
            { backupPassphrase: "1".repeat(20) },
        ],
        // the defaults that Pulumi.yaml declares
        [
            "no restore and no passphrase",
            { restoreFrom: "{}", backup: "{}", backupPassphrase: "", restorePassphrase: "" },
            {},
        ],
        [
            "no restore as an object",
            { restoreFrom: {}, backup: false },
            { backup: { ...DEFAULTS.backup, enabled: false } },
        ],
        [
            "restored in place, to the last point",
            { restoreFrom: { overwrite: false } },
            { restoreFrom: { point: "latest", overwrite: false, acceptSplitTransactions: false } },
        ],
        [
            "another stack's cluster, to a moment",
            { restoreFrom: '{"stack":"prod","point":"2026-11-22T10:00:00+01:00","overwrite":true}' },
            {
                restoreFrom: {
                    stack: "prod",
                    point: "2026-11-22T10:00:00+01:00",
                    overwrite: true,
                    acceptSplitTransactions: false,
                },
            },
        ],
        [
            "another stack's cluster, without backups of its own",
            { restoreFrom: { stack: "prod" }, backup: false },
            {
                restoreFrom: { stack: "prod", point: "latest", overwrite: false, acceptSplitTransactions: false },
                backup: { ...DEFAULTS.backup, enabled: false },
            },
        ],
        [
            "a repository without its stack, and without backups of its own",
            {
                restoreFrom: {
                    repository: "citus-prod-0a1b2c-backups",
                    cluster: "citus-prod",
                    point: "before-migration",
                },
                restorePassphrase: "x".repeat(200),
                backup: false,
            },
            {
                restoreFrom: {
                    repository: "citus-prod-0a1b2c-backups",
                    cluster: "citus-prod",
                    point: "before-migration",
                    overwrite: false,
                    acceptSplitTransactions: false,
                },
                restorePassphrase: "x".repeat(200),
                backup: { ...DEFAULTS.backup, enabled: false },
            },
        ],
        [
            "restored in place while backups are off",
            { restoreFrom: { cluster: "citus-dev" }, backup: { enabled: false } },
            {
                restoreFrom: {
                    cluster: "citus-dev",
                    point: "latest",
                    overwrite: false,
                    acceptSplitTransactions: false,
                },
                backup: { ...DEFAULTS.backup, enabled: false },
            },
        ],
        [
            "a point with spaces around it",
            { restoreFrom: { point: " before-migration\n" } },
            { restoreFrom: { point: "before-migration", overwrite: false, acceptSplitTransactions: false } },
        ],
        [
            "a leap day",
            { restoreFrom: { point: " 2028-02-29 10:00:00Z " } },
            { restoreFrom: { point: "2028-02-29 10:00:00Z", overwrite: false, acceptSplitTransactions: false } },
        ],
        [
            "one worker alone",
            { restoreFrom: { onlyWorker: "worker-2", acceptSplitTransactions: true, point: "latest" } },
            {
                restoreFrom: {
                    onlyWorker: "worker-2",
                    acceptSplitTransactions: true,
                    point: "latest",
                    overwrite: false,
                },
            },
        ],
        ["another engine", { dockerHost: "tcp://127.0.0.1:2375" }, { dockerHost: "tcp://127.0.0.1:2375" }],
        ["a name that looks like a number stays text", { database: "_1" }, { database: "_1" }],
        [
            "connections enough",
            { settings: { all: { max_connections: "40" } } },
            {
                settings: { all: { max_connections: "40" }, coordinator: {}, workers: {} },
            },
        ],
    ];
    for (const [what, values, changed] of good) {
        test(what, () => assert.deepEqual(plain(argsOf(values)), { ...DEFAULTS, ...changed }));
    }

    test("as text or as values is the same", () => {
        const values = {
            workers: 3,
            retire: ["worker-1"],
            coordinator: { memory: "2GB", cores: 4, shards: true },
            settings: { all: { work_mem: "8MB" } },
            rebalance: { enabled: false },
            protect: true,
        };
        const asText = Object.fromEntries(Object.entries(values).map(([key, value]) => [key, JSON.stringify(value)]));
        assert.deepEqual(argsOf(asText), argsOf(values));
    });

    test("what was validated is valid again, and is not changed by that", () => {
        const values = { workers: "3", settings: { all: { jit: true } } };
        const frozen = JSON.stringify(values);
        assert.deepEqual(argsOf(values), argsOf(values));
        assert.equal(JSON.stringify(values), frozen);
    });
});

describe("passphrases", () => {
    const VALUE = "correct-horse-battery-staple";
    const KEYS = ["backupPassphrase", "restorePassphrase"] as const;

    for (const key of KEYS) {
        test(`${key} in the clear is refused, with how to set it`, () => {
            const result = validate({ stack: "dev", values: { [key]: VALUE }, secrets: [] });
            assert.deepEqual(result, {
                mistakes: [
                    {
                        path: key,
                        message: `is stored in the clear - take it away (pulumi config rm citus:${key}), choose another, and set it with --secret`,
                    },
                ],
            });
        });

        test(`${key} that is stored encrypted is taken, and so is one of which that is not known`, () => {
            for (const source of [{ secrets: ["other", key] }, {}]) {
                const result = validate({ stack: "dev", values: { [key]: VALUE }, ...source });
                assert.ok("args" in result, JSON.stringify(result));
                assert.equal(result.args[key], VALUE);
            }
        });

        test(`no message shows ${key}`, () => {
            for (const [value, secrets] of [
                ["too-short", [key]],
                ["in the clear and not allowed", []],
                [VALUE, []],
                [123_456_789, [key]],
            ] as const) {
                const result = validate({ stack: "dev", values: { [key]: value }, secrets });
                assert.ok("mistakes" in result);
                assert.ok(!explain(result.mistakes).includes(String(value)), explain(result.mistakes));
            }
        });
    }

    test("both are refused at once", () => {
        const values = { backupPassphrase: VALUE, restorePassphrase: VALUE };
        const result = validate({ stack: "dev", values, secrets: [] });
        assert.ok("mistakes" in result);
        assert.deepEqual(
            result.mistakes.map(({ path }) => path),
            [...KEYS],
        );
    });

    test("one that is wrong and in the clear has both reasons", () => {
        const result = validate({ stack: "dev", values: { backupPassphrase: "short" }, secrets: [] });
        assert.ok("mistakes" in result);
        assert.equal(result.mistakes.length, 2);
        assert.match(result.mistakes[0]?.message ?? "", /^must have 20 to 200/);
        assert.match(result.mistakes[1]?.message ?? "", /^is stored in the clear/);
    });

    test("an empty one is not set, and so not in the clear", () => {
        const result = validate({ stack: "dev", values: { backupPassphrase: "", restorePassphrase: "" }, secrets: [] });
        assert.ok("args" in result, JSON.stringify(result));
        assert.equal(result.args.backupPassphrase, undefined);
        assert.equal(result.args.restorePassphrase, undefined);
    });

    test("other keys need not be encrypted", () => {
        assert.ok("args" in validate({ stack: "dev", values: { database: "app", workers: 3 }, secrets: [] }));
    });
});

describe("spans", () => {
    const units = { s: 1, m: 60, h: 3600, d: 86_400 };

    test("any amount with a unit is its seconds, within the limits, and refused outside of them", () => {
        fc.assert(
            fc.property(
                fc.integer({ min: 0, max: 999_999 }),
                fc.constantFrom<keyof typeof units>("s", "m", "h", "d"),
                (amount, unit) => {
                    const seconds = amount * units[unit];
                    const result = validate({ stack: "dev", values: { backup: { full: `${amount}${unit}` } } });
                    if (seconds >= 3600 && seconds <= 400 * 86_400) {
                        assert.ok("args" in result);
                        assert.equal(result.args.backup.full, seconds);
                    } else {
                        assert.ok("mistakes" in result);
                        assert.deepEqual(
                            result.mistakes.map(({ path }) => path),
                            ["backup.full"],
                        );
                    }
                },
            ),
        );
    });
});

describe("did you mean", () => {
    for (const [wrong, right] of [
        ["backups", "backup"],
        ["restorefrom", "restoreFrom"],
        ["backup_passphrase", "backupPassphrase"],
        ["wrokers", "workers"],
        ["Workers", "workers"],
        ["worker-count", undefined],
        ["shard_count", "shardCount"],
        ["shards", undefined],
        ["retired", "retire"],
        ["dockerhost", "dockerHost"],
        ["postdeploy", "postDeploy"],
        ["citusversion", "citusVersion"],
        ["rebalence", "rebalance"],
        ["coordinater", "coordinator"],
        ["protected", "protect"],
        ["databse", "database"],
    ] as const) {
        test(`${wrong} → ${right ?? "one that is near, or the list of all"}`, () => {
            const [mistake, ...more] = mistakesOf({ [wrong]: "1" });
            assert.equal(more.length, 0);
            assert.equal(mistake?.path, wrong);
            if (right) assert.ok(mistake.message.includes(`did you mean citus:${right}?`), mistake.message);
            else assert.match(mistake.message, /did you mean citus:\w+\?|it has platform, name/);
        });
    }
});
