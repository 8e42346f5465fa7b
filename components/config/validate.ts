/** Everything that is set, to validated arguments or every mistake. Pure. */
import type { z } from "zod";
import { nearest } from "../nearest.ts";
import { fileMistakes } from "../postDeploy/file.ts";
import { shown } from "../shown.ts";
import type { ProjectFiles } from "../tenants/project.ts";
import { validateGroups } from "../tenants/validate.ts";
import { topology } from "../topology.ts";
import { type AwsArgs, type ClusterArgs, MAX_WORKERS, type MachineArgs } from "./args.ts";
import { DEFAULT_INSTANCE_TYPE, VOLUME } from "./aws.ts";
import { awsChecks, awsPlace } from "./awsChecks.ts";
import { crossChecks } from "./checks.ts";
import { record } from "./fields.ts";
import { isInstanceType, usableMemory, x86TypeFor } from "./instanceTypes.ts";
import { KEYS, type Key, MAY_BE_EMPTY, parse, SECRETS } from "./keys.ts";
import { type Mistake, pathOf } from "./mistakes.ts";
import { onThisPlatform, PLATFORMS, type PlatformName } from "./platforms.ts";
import { SCHEMAS } from "./schema.ts";
import type { ConfigSource } from "./source.ts";

/** What Pulumi.yaml declares as the default of an object is empty, and means that it is not set. */
const given = (value: unknown) => (value !== undefined && JSON.stringify(value) === "{}" ? undefined : value);

/** Each key that is set, as the value it means. */
function readValues(source: ConfigSource): Partial<Record<Key, unknown>> {
    return Object.fromEntries(
        (Object.keys(KEYS) as Key[]).flatMap((key) => {
            const parsed = parse(KEYS[key], source.values[key]);
            return parsed === undefined || parsed === "" ? [] : [[key, parsed]];
        }),
    );
}

/** Keys that are there without a value. */
function emptyKeys(source: ConfigSource): Mistake[] {
    return (Object.keys(KEYS) as Key[])
        .filter((key) => source.values[key] === "" && !MAY_BE_EMPTY.includes(key))
        .map((key) => ({
            path: key,
            message: `has no value, got null or an empty text - write one, or take the key away: pulumi config rm citus:${key}`,
        }));
}

/** The platform, and whether it is one: until it is known nothing can be said of what belongs to it. */
function platformOf(value: unknown): { platform: PlatformName; known: boolean } {
    const platform = PLATFORMS.find((name) => name === (value === undefined ? "docker" : value));
    return { platform: platform ?? "docker", known: platform !== undefined };
}

/** The instance type of each kind of machine, as it was given or by default. */
function instanceTypes(values: Partial<Record<Key, unknown>>) {
    return (["coordinator", "worker"] as const).map((part) => ({
        part,
        instanceType: record(values[part]).instanceType ?? DEFAULT_INSTANCE_TYPE,
    }));
}

/** The instance types that must be known before the configuration can be judged; none on docker. */
export function wantedInstanceTypes(source: ConfigSource): string[] {
    const values = readValues(source);
    if (values.platform !== "aws") return [];
    const names = instanceTypes(values).map(({ instanceType }) => String(instanceType));
    return [...new Set(names)].filter((name) => isInstanceType(name) && x86TypeFor(name) === undefined);
}

function instanceTypeChecks(values: Partial<Record<Key, unknown>>, source: ConfigSource): Mistake[] {
    const { region } = awsPlace(source);
    return instanceTypes(values).flatMap(({ part, instanceType }) => {
        const found = source.instanceTypes?.get(String(instanceType));
        const wrong = (message: string) => [{ path: `${part}.instanceType`, message }];
        if (found === undefined) return [];
        if ("problem" in found) return wrong(found.problem);
        if (!found.architectures.includes("x86_64"))
            return wrong(
                `must be an x86_64 type, got ${shown(instanceType)}, which is ${found.architectures.join(", ")} in ${region} - Citus publishes its packages for amd64 only so far; for example ${DEFAULT_INSTANCE_TYPE}`,
            );
        return [];
    });
}

function postDeployMistakes(listed: unknown, files: ProjectFiles | undefined): Mistake[] {
    if (files === undefined || !Array.isArray(listed)) return [];
    return listed.flatMap((file, i) => {
        if (typeof file !== "string") return [];
        const path = `postDeploy[${i}]`;
        let sql: string;
        try {
            sql = files.read(file);
        } catch (error) {
            const why = (error as NodeJS.ErrnoException).code === "ENOENT" ? "does not exist" : "can't be read";
            return [{ path, message: `must be a file of this project, got "${file}", which ${why}` }];
        }
        return fileMistakes(file, sql).map((message) => ({ path, message }));
    });
}

/** Names of the nodes that the configuration asks for; undefined while their number is a mistake. */
function wantedNodes(raw: Record<Key, unknown>): readonly string[] | undefined {
    const { workers, retire } = raw;
    if (!Number.isInteger(workers) || (workers as number) < 0 || (workers as number) > MAX_WORKERS) return undefined;
    const retired = Array.isArray(retire) ? retire.filter((name) => typeof name === "string") : [];
    return topology("", workers as number, retired).map(({ name }) => name);
}

type Parsed = z.output<(typeof SCHEMAS)[PlatformName]>;

function awsArgs(parsed: Parsed, source: ConfigSource): AwsArgs {
    const { region = "", profile } = awsPlace(source);
    const azs = parsed.azs ?? "spread";
    return {
        region,
        profile,
        ami: parsed.ami,
        network: { ...parsed.network, zones: parsed.network.zones ?? (azs === "single" ? 1 : 3) },
        azs,
        connection: parsed.connection ?? "ssm",
        kmsKeyId: parsed.kmsKeyId,
        placement: parsed.placement ?? "none",
        alarmTopic: parsed.alarmTopic,
        tags: parsed.tags,
    };
}

function awsMachine<T extends MachineArgs>(machine: T, source: ConfigSource): T {
    const instanceType = machine.instanceType ?? DEFAULT_INSTANCE_TYPE;
    const found = source.instanceTypes?.get(instanceType);
    const known = found !== undefined && "memory" in found ? found : undefined;
    return {
        ...machine,
        memory: known ? usableMemory(known) : 0,
        cores: known?.cores ?? 0,
        instanceType,
        volumeSize: machine.volumeSize ?? VOLUME.volumeSize,
        iops: machine.iops ?? VOLUME.iops,
        throughput: machine.throughput ?? VOLUME.throughput,
    };
}

function clusterArgs(parsed: Parsed, source: ConfigSource): ClusterArgs {
    const { network, azs, connection, ami, kmsKeyId, placement, alarmTopic, tags, ...common } = parsed;
    if (common.platform === "docker") return common;
    return {
        ...common,
        coordinator: awsMachine(common.coordinator, source),
        worker: awsMachine(common.worker, source),
        aws: awsArgs(parsed, source),
    };
}

/**
 * Checks everything at once. Pure.
 * @returns the arguments, or every mistake with its path
 */
export function validate(source: ConfigSource): { args: ClusterArgs } | { mistakes: Mistake[] } {
    const mistakes: Mistake[] = [];
    const known = Object.keys(KEYS);
    for (const key of Object.keys(source.values)) {
        if (known.includes(key)) continue;
        const meant = nearest(key, known);
        const [whole = ""] = key.split(/[.[]/);
        if (whole !== key && known.includes(whole)) {
            mistakes.push({
                path: key,
                message: `is a part of citus:${whole}, and parts are set with --path - pulumi config rm citus:${key}; pulumi config set --path citus:${key} ${shown(source.values[key])}`,
            });
            continue;
        }
        mistakes.push({
            path: key,
            message: `is not a setting of this project - ${meant ? `did you mean citus:${meant}?` : `it has ${known.join(", ")}`}`,
        });
    }
    mistakes.push(...emptyKeys(source));
    const values = readValues(source);
    const { platform, known: platformKnown } = platformOf(values.platform);
    const { kept, mistakes: misplaced } = platformKnown
        ? onThisPlatform(values, platform)
        : { kept: values, mistakes: [] };
    mistakes.push(...misplaced);
    const value = (key: Key, fallback: unknown) => (kept[key] === undefined ? fallback : kept[key]);
    const raw: Record<Key, unknown> = {
        ...(Object.fromEntries(known.map((key) => [key, undefined])) as Record<Key, undefined>),
        ...kept,
        platform: value("platform", "docker"),
        name: value("name", `citus-${source.stack}`),
        workers: value("workers", 2),
        retire: value("retire", []),
        database: value("database", "app"),
        shardCount: value("shardCount", 32),
        coordinator: value("coordinator", {}),
        worker: value("worker", {}),
        settings: value("settings", {}),
        rebalance: value("rebalance", {}),
        postDeploy: value("postDeploy", []),
        protect: value("protect", source.stack !== "dev"),
        backup: value("backup", {}),
        restoreFrom: given(kept.restoreFrom),
        tenantGroups: value("tenantGroups", {}),
        network: value("network", {}),
        tags: value("tags", {}),
    };
    const parsed = SCHEMAS[platform].safeParse(raw);
    if (!parsed.success) {
        for (const issue of parsed.error.issues) mistakes.push({ path: pathOf(issue.path), message: issue.message });
    }
    for (const key of SECRETS) {
        if (!source.values[key] || !source.secrets || source.secrets.includes(key)) continue;
        mistakes.push({
            path: key,
            message: `is stored in the clear - take it away (pulumi config rm citus:${key}), choose another, and set it with --secret`,
        });
    }
    const nodes = wantedNodes(raw);
    const rules = [
        ...crossChecks(raw, source.stack),
        ...postDeployMistakes(raw.postDeploy, source.files),
        ...validateGroups(raw.tenantGroups, {
            database: String(raw.database),
            ...(nodes ? { nodes } : {}),
            coordinatorShards: record(raw.coordinator).shards === true,
            ...(source.files ? { files: source.files } : {}),
        }).mistakes,
        ...(raw.platform === "aws" ? [...awsChecks(raw, source), ...instanceTypeChecks(kept, source)] : []),
    ];
    mistakes.push(...rules.filter((found) => !mistakes.some((known) => known.path === found.path)));
    return mistakes.length > 0 || !parsed.success ? { mistakes } : { args: clusterArgs(parsed.data, source) };
}
