/** Everything that is set, to validated arguments or every mistake. Pure. */

import { topology } from "../../core/node/topology.ts";
import { type InstanceType, isInstanceType, usableMemory, x86TypeFor } from "../../core/reach/aws/instanceTypes.ts";
import { fileMistakes } from "../../core/sql/sqlFile.ts";
import { record } from "../../core/util/fields.ts";
import { isAt, type Mistake, pathOf } from "../../core/util/mistakes.ts";
import { nearest } from "../../core/util/nearest.ts";
import { shown } from "../../core/util/shown.ts";
import { type ClusterArgs, MAX_WORKERS, type MachineArgs } from "./args.ts";
import type { AwsArgs } from "./awsArgs.ts";
import { awsChecks, awsPlace } from "./awsChecks.ts";
import { crossChecks } from "./checks.ts";
import { ALL_KEYS, apart, filled, isKey, MAY_BE_EMPTY, type Parsed, readKey, SCHEMAS, SECRETS } from "./derived.ts";
import { KEYS, type Key } from "./keys.ts";
import { DEFAULT_INSTANCE_TYPE } from "./machine.ts";
import { onThisPlatform } from "./misplaced.ts";
import { PLATFORMS, type PlatformName } from "./platforms.ts";
import type { ConfigSource } from "./source.ts";
import type { ProjectFiles } from "./tenants/project.ts";
import { validateGroups } from "./tenants/validate.ts";

/** Each key that is set, as the value it means. */
export function readValues(source: ConfigSource): Partial<Record<Key, unknown>> {
    return Object.fromEntries(
        ALL_KEYS.flatMap((key) => {
            const value = readKey(key, source.values[key]);
            return value === undefined ? [] : [[key, value]];
        }),
    );
}

/** Keys that are there without a value. */
function emptyKeys(source: ConfigSource): Mistake[] {
    return ALL_KEYS.filter((key) => source.values[key] === "" && !MAY_BE_EMPTY.includes(key)).map((key) => ({
        path: key,
        message: `has no value, got null or an empty text - write one, or take the key away: pulumi config rm citus:${key}`,
    }));
}

/** Keys whose text begins as JSON and is none: what it was meant to hold is not known, so nothing else is said of it. */
function brokenJson(source: ConfigSource): Mistake[] {
    return ALL_KEYS.flatMap((key) => {
        const text = source.values[key];
        if (typeof text !== "string" || KEYS[key].kind === "text" || !/^\s*[[{]/.test(text)) return [];
        try {
            JSON.parse(text);
            return [];
        } catch (error) {
            return [{ path: key, message: `is not JSON: ${(error as Error).message} - got ${shown(text)}` }];
        }
    });
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

/** What is wrong with a type that the region has; undefined when it can run a node. */
export function typeMistake(name: string, { architectures }: InstanceType, region = ""): string | undefined {
    return architectures.includes("x86_64")
        ? undefined
        : `must be an x86_64 type, got ${shown(name)}, which is ${architectures.join(", ")} in ${region} - Citus publishes its packages for amd64 only so far; for example ${DEFAULT_INSTANCE_TYPE}`;
}

function instanceTypeChecks(values: Partial<Record<Key, unknown>>, source: ConfigSource): Mistake[] {
    const { region } = awsPlace(source);
    return instanceTypes(values).flatMap(({ part, instanceType }) => {
        const found = source.instanceTypes?.get(String(instanceType));
        const wrong = (message: string) => [{ path: `${part}.instanceType`, message }];
        if (found === undefined) return [];
        const message = "problem" in found ? found.problem : typeMistake(String(instanceType), found, region);
        return message === undefined ? [] : wrong(message);
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

function awsArgs(keys: ReturnType<typeof apart>["aws"], source: ConfigSource): AwsArgs {
    const { region = "", profile } = awsPlace(source);
    const zones = keys.network.zones ?? (keys.azs === "single" ? 1 : 3);
    return { ...keys, region, profile, network: { ...keys.network, zones } };
}

/** The machine with the size that its instance type has. */
function awsMachine<T extends MachineArgs>(machine: T, source: ConfigSource): T {
    const found = source.instanceTypes?.get(machine.instanceType ?? DEFAULT_INSTANCE_TYPE);
    const known = found !== undefined && "memory" in found ? found : undefined;
    return { ...machine, memory: known ? usableMemory(known) : 0, cores: known?.cores ?? 0 };
}

function clusterArgs(parsed: Parsed, source: ConfigSource): ClusterArgs {
    const { aws, common } = apart(parsed);
    if (common.platform === "docker") return common;
    return {
        ...common,
        coordinator: awsMachine(common.coordinator, source),
        worker: awsMachine(common.worker, source),
        aws: awsArgs(aws, source),
    };
}

/**
 * Checks everything at once. Pure.
 * @returns the arguments, or every mistake with its path
 */
export function validate(source: ConfigSource): { args: ClusterArgs } | { mistakes: Mistake[] } {
    const mistakes: Mistake[] = [];
    for (const key of Object.keys(source.values)) {
        if (isKey(key)) continue;
        const meant = nearest(key, ALL_KEYS);
        const [whole = ""] = key.split(/[.[]/);
        if (whole !== key && isKey(whole)) {
            mistakes.push({
                path: key,
                message: `is a part of citus:${whole}, and parts are set with --path - pulumi config rm citus:${key}; pulumi config set --path citus:${key} ${shown(source.values[key])}`,
            });
            continue;
        }
        mistakes.push({
            path: key,
            message: `is not a setting of this project - ${meant ? `did you mean citus:${meant}?` : `it has ${ALL_KEYS.join(", ")}`}`,
        });
    }
    mistakes.push(...emptyKeys(source));
    const broken = brokenJson(source);
    mistakes.push(...broken);
    const values = readValues(source);
    for (const { path } of broken) delete values[path as Key];
    const { platform, known: platformKnown } = platformOf(values.platform);
    const { kept, mistakes: misplaced } = platformKnown
        ? onThisPlatform(values, platform)
        : { kept: values, mistakes: [] };
    mistakes.push(...misplaced);
    const raw = filled(kept, source.stack, source.resource ?? "citus");
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
    const known = mistakes.filter(({ path }) => !(source.unknown ?? []).some((unknown) => isAt(path, unknown)));
    return known.length > 0 || !parsed.success ? { mistakes: known } : { args: clusterArgs(parsed.data, source) };
}
