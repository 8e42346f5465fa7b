/** What the provider does with a resource: the same for all types, with what differs in `kinds`. */
import { createHash } from "node:crypto";
import { appendFileSync } from "node:fs";
import { checkNames, declarations } from "./args.ts";
import { invokes } from "./invokes.ts";
import { type Kind, Refusal } from "./kind.ts";
import { canonical } from "./kinds/policy.ts";
import { kinds } from "./kinds.ts";
import type { Machines } from "./machines.ts";
import { at, dense, hasUnknown, isObject, type Props, SIGNATURE, tagsOf, UNKNOWN } from "./values.ts";
import { inWorld, look, type Row, type World } from "./world.ts";

const PROVIDER = "aws:index/provider:Provider";

/** The provider's own arguments that make no difference here. */
const PROVIDER_ARGS = [
    "accessKey",
    "maxRetries",
    "profile",
    "region",
    "secretKey",
    "skipCredentialsValidation",
    "skipMetadataApiCheck",
    "skipRegionValidation",
    "skipRequestingAccountId",
    "token",
];

/** Names that the engine itself adds to the provider's configuration. */
const ENGINE_ARGS = ["version", "pluginDownloadURL", "pluginChecksums", "__internal"];

export interface Failure {
    readonly property: string;
    readonly reason: string;
}

export interface Difference {
    readonly path: string;
    readonly kind: "add" | "delete" | "update";
    readonly replaces: boolean;
}

const known = () => declarations([PROVIDER, ...Object.keys(kinds), ...Object.keys(invokes)]);

export class Provider {
    private readonly machines: Machines;
    private region = "";

    constructor(machines: Machines) {
        this.machines = machines;
    }

    checkConfig(config: Props): Failure[] {
        const names = Object.keys(known().args[PROVIDER] ?? {});
        return Object.keys(config)
            .filter((name) => !PROVIDER_ARGS.includes(name) && !ENGINE_ARGS.includes(name))
            .map((property) => ({
                property,
                reason: names.includes(property)
                    ? "the stand-in does not know this argument of the provider"
                    : "there is no such argument of the provider",
            }));
    }

    configure(config: Props): void {
        const region = config.region ?? process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION;
        if (typeof region !== "string" || region === "")
            throw new Error("Missing region configuration: set aws:region or AWS_REGION");
        if (!/^[a-z]{2}(-[a-z]+)+-\d$/.test(region)) throw new Error(`invalid AWS Region: ${region}`);
        if (!(config.accessKey ?? config.profile ?? process.env.AWS_ACCESS_KEY_ID ?? process.env.AWS_PROFILE))
            throw new Error("No valid credential sources found");
        this.region = region;
    }

    check(type: string, name: string, olds: Props, news: Props, seed: Buffer): { inputs: Props; failures: Failure[] } {
        const kind = kindOf(type);
        const failures: Failure[] = [];
        const problem = (property: string, reason: string) => failures.push({ property, reason });
        const { __defaults: _, ...inputs } = dense(news);
        for (const property of kind.documents ?? [])
            if (isObject(inputs[property]))
                inputs[property] = hasUnknown(inputs[property]) ? UNKNOWN : JSON.stringify(inputs[property]);
        for (const prefix of ["namePrefix", "bucketPrefix"])
            if (inputs[prefix] !== undefined)
                problem(prefix, "the stand-in does not know prefixes: give a name or none");
        const named = autoname(kind, name, olds, inputs, seed);
        checkNames(known().args[type] ?? {}, known().nested, inputs, problem);
        checkTables(kind, inputs, problem);
        checkTags(kind, inputs, problem);
        if (typeof inputs.region === "string" && inputs.region !== UNKNOWN && inputs.region !== this.region)
            problem("region", `the stand-in has one region, ${this.region}`);
        kind.check?.(inputs, problem);
        return { inputs: named ? { ...inputs, __defaults: [named] } : inputs, failures };
    }

    /** @param olds inputs of the last update, or as refreshed */
    diff(type: string, olds: Props, news: Props): { differences: Difference[]; deleteBeforeReplace: boolean } {
        const kind = kindOf(type);
        const forced = [...kind.replaces, ...(kind.replacesIf?.(news) ?? [])];
        const outputs = known().outputs[type] ?? {};
        const differences = compare(olds, news)
            .filter(({ path, kind: change }) => {
                // without a value the provider keeps what AWS has
                if (change === "delete" && outputs[path]?.required === true) return false;
                return !(kind.documents?.includes(path) && sameDocument(olds[path], news[path]));
            })
            .map((d) => ({
                ...d,
                replaces: forced.some((f) => d.path === f || d.path.startsWith(`${f}.`) || d.path.startsWith(`${f}[`)),
            }));
        const property = kind.autoname?.property;
        return {
            differences,
            deleteBeforeReplace:
                property !== undefined &&
                !isDefault(news, property) &&
                news[property] === olds[property] &&
                differences.some((d) => d.replaces),
        };
    }

    async create(type: string, inputs: Props, preview: boolean): Promise<{ id: string; outputs: Props }> {
        const kind = kindOf(type);
        const values = this.withTags(kind, bare(inputs));
        if (preview) return { id: "", outputs: { ...this.unknownOutputs(type, values), ...values } };
        const row = await inWorld(this.region, (world) => {
            refer(kind, values, world);
            const made = kind.create(values, world);
            const created: Row = { type, id: made.id, props: { ...made.props, ...values } };
            world.add(created);
            return created;
        });
        try {
            await kind.outside?.create?.(this.machines, row, this.snapshot());
        } catch (error) {
            await inWorld(this.region, (world) => forget(kind, row, row.props, world));
            throw error;
        }
        return { id: row.id, outputs: this.outputs(row) };
    }

    async update(
        type: string,
        id: string,
        state: Props,
        oldInputs: Props,
        news: Props,
        preview: boolean,
    ): Promise<Props> {
        const kind = kindOf(type);
        const values = this.withTags(kind, bare(news));
        const declared = known().outputs[type] ?? {};
        const removed = Object.keys(oldInputs).filter((key) => news[key] === undefined && !declared[key]?.required);
        const merge = (props: Props, more: Props): Props =>
            Object.fromEntries(
                Object.entries({ ...props, ...values, ...more }).filter(([key]) => !removed.includes(key)),
            );
        if (preview) return merge(state, Object.fromEntries((kind.unstable ?? []).map((name) => [name, UNKNOWN])));
        const { row, olds } = await inWorld(this.region, (world) => {
            const found = world.find(type, id);
            if (!found) throw new Refusal("NotFound", `${type} ${id} does not exist`);
            refer(kind, values, world);
            const before = found.props;
            found.props = merge(before, kind.update?.(found, values, world) ?? {});
            return { row: found, olds: before };
        });
        try {
            await kind.outside?.update?.(this.machines, row, olds);
        } catch (error) {
            await inWorld(this.region, (world) => {
                const found = world.find(type, id);
                if (found) found.props = olds;
            });
            throw error;
        }
        return this.outputs(row);
    }

    async remove(type: string, id: string, state: Props): Promise<void> {
        const kind = kindOf(type);
        if (state.skipDestroy === true) return;
        const row = look(this.region, (world) => {
            const found = world.find(type, id);
            if (!found) return undefined;
            for (const [user, path] of kind.usedBy ?? [])
                for (const other of world.all(user))
                    if (at(other.props, path).includes(id))
                        throw new Refusal(
                            kind.global ? "DeleteConflict" : "DependencyViolation",
                            `${id} has dependencies and cannot be deleted: ${other.id}`,
                        );
            kind.beforeDelete?.(found, state, world);
            return found;
        });
        if (!row) return;
        await kind.outside?.delete?.(this.machines, row, state, this.snapshot());
        await inWorld(this.region, (world) => forget(kind, row, state, world));
    }

    /** @returns undefined when it is gone */
    async read(type: string, id: string, oldInputs: Props): Promise<{ inputs: Props; outputs: Props } | undefined> {
        const kind = kindOf(type);
        const row = look(this.region, (world) => world.find(type, id));
        if (!row) return undefined;
        const exists =
            look(this.region, (world) => kind.exists?.(row, world) ?? true) &&
            ((await kind.outside?.exists?.(this.machines, row)) ?? true);
        if (!exists) {
            await inWorld(this.region, (world) => forget(kind, row, row.props, world));
            return undefined;
        }
        const names =
            Object.keys(oldInputs).length > 0
                ? [...Object.keys(oldInputs), ...(Object.keys(tagsOf(row.props)).length > 0 ? ["tags"] : [])]
                : Object.keys(known().args[type] ?? {});
        const inputs: Props = {};
        for (const name of names) {
            if (name.startsWith("__")) inputs[name] = oldInputs[name];
            else if (row.props[name] !== undefined) inputs[name] = row.props[name];
        }
        return { inputs, outputs: this.outputs(row) };
    }

    async invoke(token: string, args: Props): Promise<{ result: Props; failures: Failure[] }> {
        const answer = invokes[token];
        if (!answer) throw new Error(`the stand-in does not know the function ${token}`);
        const failures: Failure[] = [];
        const given = dense(args);
        checkNames(known().args[token] ?? {}, known().nested, given, (property, reason) =>
            failures.push({ property, reason }),
        );
        if (failures.length > 0) return { result: {}, failures };
        return { result: look(this.region, (world) => answer(given, world)), failures };
    }

    private withTags(kind: Kind, inputs: Props): Props {
        return {
            ...(kind.global ? {} : { region: this.region }),
            ...inputs,
            ...(kind.untagged ? {} : { tagsAll: tagsOf(inputs) }),
        };
    }

    private unknownOutputs(type: string, inputs: Props): Props {
        const outputs = Object.entries(known().outputs[type] ?? {});
        return Object.fromEntries(
            outputs.flatMap(([name, { required }]) =>
                required && inputs[name] === undefined ? [[name, UNKNOWN]] : [],
            ),
        );
    }

    private snapshot(): World {
        return look(this.region, (world) => world);
    }

    /** As the world has it now, since what happened outside may have taken a while. */
    private outputs(row: Row): Props {
        return look(this.region, (world) => world.find(row.type, row.id)?.props ?? row.props);
    }
}

function kindOf(type: string): Kind {
    const kind = kinds[type];
    if (!kind) throw new Error(`the stand-in does not know the resource type ${type}`);
    return kind;
}

const bare = (inputs: Props): Props =>
    Object.fromEntries(Object.entries(inputs).filter(([name]) => !name.startsWith("__")));

const isDefault = (inputs: Props, property: string): boolean =>
    Array.isArray(inputs.__defaults) && inputs.__defaults.includes(property);

/** Names it as the provider does: once, and the same in preview and update. @returns the property, when it did */
function autoname(kind: Kind, name: string, olds: Props, inputs: Props, seed: Buffer): string | undefined {
    if (!kind.autoname) return undefined;
    const { property, max = 255, lower = false } = kind.autoname;
    if (inputs[property] !== undefined) return undefined;
    const random = createHash("sha1").update(seed).digest("hex").slice(0, 7);
    const base = lower ? name.toLowerCase() : name;
    inputs[property] = isDefault(olds, property) ? olds[property] : `${base.slice(0, max - 8)}-${random}`;
    return property;
}

function checkTables(kind: Kind, inputs: Props, problem: (property: string, reason: string) => void): void {
    for (const [path, allowed] of Object.entries(kind.values ?? {}))
        for (const value of at(inputs, path))
            if (!allowed.includes(value as string | number))
                problem(path, `InvalidParameterValue: "${value}" is not one of ${allowed.join(", ")}`);
    for (const [path, most] of Object.entries(kind.longest ?? {}))
        for (const value of at(inputs, path))
            if (String(value).length > most)
                problem(
                    path,
                    `ValidationError: "${value}" has ${String(value).length} characters, and ${most} is the most`,
                );
    for (const [path, [least, most]] of Object.entries(kind.range ?? {}))
        for (const value of at(inputs, path))
            if (typeof value !== "number" || value < least || value > most || !Number.isInteger(value))
                problem(path, `InvalidParameterValue: ${value} is not between ${least} and ${most}`);
}

/** AWS' most of tags on one thing. */
const TAGS = 50;

function checkTags(kind: Kind, inputs: Props, problem: (property: string, reason: string) => void): void {
    const tags = Object.entries(tagsOf(inputs));
    if (tags.length > TAGS) problem("tags", `TagLimitExceeded: ${tags.length} tags, and ${TAGS} is the most`);
    for (const [key, value] of tags) {
        if (key.length === 0 || key.length > 128 || /^aws:/i.test(key))
            problem(
                "tags",
                `InvalidParameterValue: tag key "${key}": 1 to 128 characters, and not beginning with aws:`,
            );
        if (hasUnknown(value)) continue;
        if (String(value).length > 256)
            problem("tags", `InvalidParameterValue: the value of tag ${key} is over 256 characters`);
        if (kind.global && !/^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u.test(key + value))
            problem("tags", `ValidationError: tag ${key} has characters that are not allowed`);
    }
}

/** What an id in the inputs names has to exist. */
function refer(kind: Kind, inputs: Props, world: World): void {
    for (const [path, [type, code]] of Object.entries(kind.refers ?? {}))
        for (const id of at(inputs, path))
            if (!world.find(type, id)) throw new Refusal(code, `${path}: '${id}' does not exist`);
}

function forget(kind: Kind, row: Row, state: Props, world: World): void {
    world.remove(row.type, row.id);
    kind.afterDelete?.(row, state, world);
}

function sameDocument(one: unknown, other: unknown): boolean {
    if (typeof one !== "string" || typeof other !== "string" || other === UNKNOWN) return false;
    return JSON.stringify(canonical(JSON.parse(one))) === JSON.stringify(canonical(JSON.parse(other)));
}

/** Where two sets of inputs differ. Lists of scalars are sets; an asset is its hash. */
export function compare(olds: Props, news: Props, prefix = ""): Omit<Difference, "replaces">[] {
    const found: Omit<Difference, "replaces">[] = [];
    for (const key of new Set([...Object.keys(olds), ...Object.keys(news)])) {
        if (key.startsWith("__")) continue;
        const [one, other] = [olds[key], news[key]];
        const path = prefix === "" ? key : /^\w+$/.test(key) ? `${prefix}.${key}` : `${prefix}["${key}"]`;
        if (other === undefined) found.push({ path, kind: "delete" });
        else if (one === undefined) found.push({ path, kind: "add" });
        else if (isObject(one) && isObject(other) && one[SIGNATURE] === undefined && other[SIGNATURE] === undefined)
            found.push(...compare(one, other, path));
        else if (comparable(one) !== comparable(other)) found.push({ path, kind: "update" });
    }
    return found;
}

function comparable(value: unknown): string {
    if (Array.isArray(value) && value.every((v) => typeof v !== "object")) return JSON.stringify([...value].sort());
    if (isObject(value) && value[SIGNATURE] !== undefined && value.hash !== undefined) return String(value.hash);
    return JSON.stringify(canonicalOrder(value));
}

function canonicalOrder(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(canonicalOrder);
    if (!isObject(value)) return value;
    return Object.fromEntries(
        Object.keys(value)
            .sort()
            .map((key) => [key, canonicalOrder(value[key])]),
    );
}

/** One line a call, in the file that `STANDIN_LOG` names. */
export function logCall(call: Props): void {
    if (process.env.STANDIN_LOG) appendFileSync(process.env.STANDIN_LOG, `${JSON.stringify(call)}\n`);
}
