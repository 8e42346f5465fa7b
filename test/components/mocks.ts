/**
 * Pulumi's mocks with what they lack: hooks can be registered, and what the engine is asked beside the inputs
 * (protect, deletedWith, dependencies, additional secret outputs, hooks) can be seen.
 */
import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { MockMonitor } from "@pulumi/pulumi/runtime/mocks.js";
import * as state from "@pulumi/pulumi/runtime/state.js";
import { NEW_CITUS_VERSION } from "../../components/config/args.ts";

/** The part of RegisterResourceRequest that tests look at. */
interface Request {
    getType(): string;
    getName(): string;
    getParent(): string;
    getProvider(): string;
    getProtect(): boolean;
    getDeletedwith(): string;
    getDependenciesList(): string[];
    getAdditionalsecretoutputsList(): string[];
    getHooks(): { getBeforeCreateList(): string[]; getBeforeDeleteList(): string[] } | undefined;
    getReplaceonchangesList(): string[];
    getIgnorechangesList(): string[];
    getDeletebeforereplace(): boolean;
    getRetainondelete(): boolean;
}

export interface Registered {
    readonly type: string;
    readonly name: string;
    readonly urn: string;
    readonly parent: string;
    readonly custom: boolean;
    /** Secrets unwrapped. */
    // biome-ignore lint/suspicious/noExplicitAny: inputs of every kind of resource
    readonly inputs: Record<string, any>;
    /** Names of the top-level inputs that are secret, or hold a secret. */
    readonly secrets: readonly string[];
    readonly request: Request;
}

const SIGNATURE = "4dabf18193072939515e22adb298388d";
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

const isSecret = (value: unknown): value is { value: unknown } =>
    value !== null && typeof value === "object" && (value as Record<string, unknown>)[SIGNATURE] === SECRET;

export function holdsSecret(value: unknown): boolean {
    if (isSecret(value)) return true;
    return value !== null && typeof value === "object" && Object.values(value).some(holdsSecret);
}

function unwrap(value: unknown): unknown {
    if (isSecret(value)) return unwrap(value.value);
    if (Array.isArray(value)) return value.map(unwrap);
    if (value !== null && typeof value === "object")
        return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unwrap(inner)]));
    return value;
}

export const PASSWORD = "Sup3rSecretPassw0rdSup3rSecretPa";
export const CLUSTER_ID = "0123456789abcdef";
export const NODE_SUBNET = "172.30.0.0/16";
/** A stack with backups, to be referred to; every other one has no outputs. */
export const ORIGIN_STACK = "prod";
export const ORIGIN_BACKUPS = { repository: "citus-prod-fedcba-backups", cluster: "citus-prod" };

let registered: Registered[] = [];
let latest: Request | undefined;
let groups = 0;

type Values = Record<string, unknown>;

/** What a provider would say about a resource. */
function outputs(type: string, name: string, inputs: Values): Values {
    switch (type) {
        case "random:index/randomId:RandomId":
            return { hex: CLUSTER_ID };
        case "random:index/randomPassword:RandomPassword":
            return { result: PASSWORD };
        case "tls:index/privateKey:PrivateKey":
            return { privateKeyPem: `PRIVATE KEY OF ${name}` };
        case "tls:index/selfSignedCert:SelfSignedCert":
            return { certPem: "CA CERTIFICATE" };
        case "tls:index/certRequest:CertRequest":
            return { certRequestPem: `REQUEST OF ${name}` };
        case "tls:index/locallySignedCert:LocallySignedCert":
            return { certPem: `CERTIFICATE OF ${name}` };
        case "citus-clusters:index:Identity":
            // what its check does for a new cluster
            return { citusVersion: NEW_CITUS_VERSION };
        case "citus-clusters:index:NodeImage":
            return {
                imageId: "sha256:image",
                name: "citus-node:17-image",
                postgresVersion: "17.10",
                citusVersion:
                    /^citusdata\/citus:([0-9.]+)-pg17$/.exec(String(inputs.base || inputs.newBase))?.[1] ?? "14.9.0",
                emulated: "",
            };
        case "docker:index/network:Network":
            return { ipamConfigs: [{ subnet: name.endsWith("-nodes") ? NODE_SUBNET : "172.31.0.0/16" }] };
        case "citus-clusters:index:PortRange":
            return { first: name.endsWith("-pool-ports") ? 25_000 : 24_000 };
        case "citus-clusters:index:Member":
            return { groupId: name.endsWith("coordinator") ? 0 : ++groups, nodeId: groups + 1 };
        case "citus-clusters:index:Placement":
            return { status: "a line about the cluster" };
        case "citus-clusters:index:Configuration":
            return inputs.restoreId === undefined ? {} : { restored: inputs.restoreId };
        case "citus-clusters:index:Restore":
            return { point: "citus-prod_point", restoreId: "feedbeef", manifest: '{"name":"citus-prod_point"}' };
        case "pulumi:pulumi:StackReference":
            return { outputs: name.endsWith(`/${ORIGIN_STACK}`) ? { backups: ORIGIN_BACKUPS } : {} };
        default:
            return {};
    }
}

type Callback = (error: Error | null, response: unknown) => void;
interface Monitor {
    registerResource(request: Request, callback: Callback): Promise<void>;
    readResource(request: Request, callback: Callback): Promise<void>;
    registerResourceHook(request: unknown, callback: Callback): void;
}

/** What the provider of a platform would say. */
export interface Cloud {
    /** Outputs of a resource beside its inputs; `id` is its id. */
    outputs(type: string, name: string, inputs: Values): Values;
    /** The answer of a function. */
    call(token: string, inputs: Values): Values;
}

/** The engine that programs mean unless they name another; nobody is asked there. */
export const ENGINE = "unix:///engine-of-the-tests.sock";

/** To be awaited before a component is imported. */
export async function mock(cloud?: Cloud): Promise<void> {
    process.env.DOCKER_HOST = ENGINE;
    const prototype = MockMonitor.prototype as unknown as Monitor;
    const { registerResource: register, readResource: read } = prototype;
    prototype.registerResource = function (this: Monitor, request, callback) {
        // newResource is called before anything is awaited, so it sees this request
        latest = request;
        return register.call(this, request, callback);
    };
    prototype.readResource = function (this: Monitor, request, callback) {
        latest = request;
        return read.call(this, request, callback);
    };
    prototype.registerResourceHook ??= (_request, callback) => callback(null, {});
    await pulumi.runtime.setMocks(
        {
            newResource: (args) => {
                const request = latest;
                assert.ok(request && request.getName() === args.name, "mocks are out of step with the SDK");
                const { type, name } = args;
                const parent = request.getParent();
                const types = parent === "" ? type : `${parent.split("::")[2]?.split("$").at(-1)}$${type}`;
                registered.push({
                    type,
                    name,
                    parent,
                    urn: `urn:pulumi:dev::citus::${types}::${name}`,
                    custom: args.custom ?? false,
                    inputs: unwrap(args.inputs) as Registered["inputs"],
                    secrets: Object.keys(args.inputs).filter((key) => holdsSecret(args.inputs[key])),
                    request,
                });
                const inputs = unwrap(args.inputs) as Values;
                const { id = `${name}-id`, ...more } = cloud?.outputs(type, name, inputs) ?? {};
                const state: Values = { ...args.inputs, ...outputs(type, name, inputs), ...more };
                // as the engine does
                for (const key of request.getAdditionalsecretoutputsList())
                    if (state[key] !== undefined) state[key] = pulumi.secret(state[key]);
                return { id: String(id), state };
            },
            call: ({ token, inputs }) => cloud?.call(token, inputs) ?? {},
        },
        "citus",
        "dev",
        false,
        // what every backend without organizations says
        "organization",
    );
    // on by default in the SDK, off under mocks: without it each resource serializes its provider again
    const { getStore } = state as unknown as {
        getStore: () => { settings: { options: { cacheDynamicProviders?: boolean } } };
    };
    getStore().settings.options.cacheDynamicProviders = true;
}

/** What was registered since the last `build` began, for a program of which something never is. */
export const registeredSoFar = (): readonly Registered[] => registered;

/** After programs that failed: what they left waiting is not said to be a mistake of the test's. */
export function abandon(): void {
    const { getStore } = state as unknown as {
        getStore: () => { leakCandidates: Set<unknown>; pendingResourceRegistrations: Map<unknown, unknown> };
    };
    getStore().leakCandidates.clear();
    getStore().pendingResourceRegistrations.clear();
}

/** Makes what `make` makes and waits until every registration is done. */
export async function build<T>(make: () => T): Promise<{ made: T; resources: Registered[] }> {
    registered = [];
    groups = 0;
    // Pulumi takes a trace of each of its promises, which is half of the time that a big cluster takes
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    try {
        const made = make();
        const { waitForRPCs } = pulumi.runtime as unknown as { waitForRPCs: () => Promise<void> };
        // inputs that come from outputs register late: done when nothing was added for some turns
        for (let quiet = 0, seen = -1; quiet < 10; ) {
            await waitForRPCs();
            await new Promise((resolve) => setTimeout(resolve, 5));
            quiet = registered.length === seen ? quiet + 1 : 0;
            seen = registered.length;
        }
        return { made, resources: registered };
    } finally {
        Error.stackTraceLimit = stackTraceLimit;
    }
}

export function resolved<T>(output: pulumi.Output<T>): Promise<T> {
    return new Promise((resolve) => {
        output.apply(resolve);
    });
}

/** What was registered, to be asked by type and name. */
export interface Indexed {
    readonly all: readonly Registered[];
    of(type: string): Registered[];
    /** The only one of a type, or of that name. */
    one(type: string, name?: string): Registered;
}

/** A component with what it registered. */
export type Built<T> = Indexed & { readonly cluster: T };

export function indexed(all: readonly Registered[]): Indexed {
    const of = (type: string) => all.filter((resource) => resource.type === type);
    return {
        all,
        of,
        one: (type, name) => {
            const found = of(type).filter((resource) => name === undefined || resource.name === name);
            assert.equal(found.length, 1, `${type} ${name ?? ""}: ${found.length}`);
            return found[0] as Registered;
        },
    };
}

/** A cluster's nodes by name, the coordinator first. */
export const nodesOf = (workers: number) => [
    "coordinator",
    ...Array.from({ length: workers }, (_, i) => `worker-${i + 1}`),
];
