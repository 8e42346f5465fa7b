/** Local Docker: an image, two networks and a container a node. Makes machines and says how to reach them. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { type ClusterArgs, HIGHEST_INDEX, type MachineArgs } from "../config.ts";
import { Configuration } from "../hooks/configuration.ts";
import { PortRange } from "../hooks/ports.ts";
import { selfUrn } from "../hooks/self.ts";
import type { NodeCertificate, Security } from "../security.ts";
import type { Settings } from "../settings.ts";
import { NODE_HOME } from "../settings.ts";
import { type NodeSpec, POSTGRES_PORT } from "../topology.ts";
import { clearLeftover, engineAnswers } from "./engine.ts";

/** The build context of the node image: the scripts that run on every node. */
const CONTEXT = "scripts/node";
const GRACE_SECONDS = 60;

/** A short hash of everything that goes into the image, so that its tag changes exactly when it does. */
export function imageHash(base: string, context = CONTEXT): string {
    const hash = createHash("sha256").update(base);
    for (const file of readdirSync(context).sort()) hash.update(file).update(readFileSync(join(context, file)));
    return hash.digest("hex").slice(0, 12);
}

/** An address that the provider does not try to reach when it starts. */
const NOWHERE = "ssh://no-docker-engine-here.invalid";

/**
 * The provider greets its engine when it starts and fails without one, though a preview asks nothing of it. So a preview
 * where no engine answers, as in CI, gives it an address that it does not greet.
 */
function providerHost(host: string | undefined): pulumi.Input<string | undefined> {
    if (!pulumi.runtime.isDryRun()) return host;
    return pulumi.output(engineAnswers(host)).apply((answers) => (answers ? host : NOWHERE));
}

/** A node as the rest of the cluster sees it. */
export interface Machine {
    readonly spec: NodeSpec;
    /** Where people and tools on this machine reach it. */
    readonly host: string;
    readonly port: pulumi.Output<number>;
    readonly container: pulumi.Output<string>;
    /** Everything that must exist before the node answers. */
    readonly ready: pulumi.Resource;
    /** What holds its data. */
    readonly volume: pulumi.Resource;
}

export interface NodeArgs {
    readonly spec: NodeSpec;
    readonly machine: MachineArgs;
    readonly settings: Settings;
    readonly certificate: NodeCertificate;
    readonly protect: boolean;
}

/** What all nodes of a cluster share on one Docker engine. */
export class DockerPlatform extends pulumi.ComponentResource {
    private readonly prefix: string;
    private readonly args: ClusterArgs;
    private readonly security: Security;
    private readonly image: docker.RemoteImage;
    private readonly nodeNetwork: docker.Network;
    private readonly clientNetwork: docker.Network;
    private readonly firstPort: pulumi.Output<number>;
    private readonly base: pulumi.Output<string>;
    private readonly clearContainer: pulumi.ResourceHook;
    private readonly provider: docker.Provider;

    constructor(name: string, args: ClusterArgs, security: Security, opts?: pulumi.ComponentResourceOptions) {
        super("citus:docker:Platform", name, {}, opts);
        this.prefix = name;
        this.args = args;
        this.security = security;
        this.provider = new docker.Provider(
            `${name}-docker`,
            { disableDockerDaemonCheck: true, host: providerHost(args.dockerHost) as pulumi.Input<string> },
            { parent: this },
        );
        const child = { parent: this, provider: this.provider };
        // names carry the stack's random id: they are the same when a killed run is repeated, and no other stack's
        this.base = security.clusterId.apply((id) => `${args.name}-${id.slice(0, 6)}`);
        const tag = imageHash(args.image);
        this.image = new docker.RemoteImage(
            `${name}-image`,
            {
                name: `citus-node:17-${tag}`,
                build: { context: CONTEXT, buildArgs: { BASE: args.image } },
                triggers: { content: tag },
                // other stacks of the same content use it too
                keepLocally: true,
            },
            child,
        );
        this.clearContainer = new pulumi.ResourceHook(`${name}-clear-container`, (hook) =>
            clearLeftover("container", String(hook.newInputs?.name), args.dockerHost),
        );
        const clearNetwork = new pulumi.ResourceHook(`${name}-clear-network`, (hook) =>
            clearLeftover("network", String(hook.newInputs?.name), args.dockerHost),
        );
        const networkOptions = { ...child, hooks: { beforeCreate: [clearNetwork] } };
        // node names resolve here only, and a certificate is all that is asked of who comes from here
        this.nodeNetwork = new docker.Network(
            `${name}-nodes`,
            { name: pulumi.interpolate`${this.base}-nodes`, driver: "bridge", internal: true, labels: this.labels() },
            networkOptions,
        );
        this.clientNetwork = new docker.Network(
            `${name}-clients`,
            { name: pulumi.interpolate`${this.base}-clients`, driver: "bridge", labels: this.labels() },
            networkOptions,
        );
        this.firstPort =
            args.port !== undefined
                ? pulumi.output(args.port)
                : new PortRange(`${name}-ports`, { size: HIGHEST_INDEX + 1 }, { parent: this }).first;
        this.registerOutputs({});
    }

    private labels(node?: string) {
        return [
            { label: "citus.cluster", value: this.args.name },
            { label: "citus.cluster-id", value: this.security.clusterId },
            ...(node ? [{ label: "citus.node", value: node }] : []),
        ];
    }

    /** Networks that carry only nodes, as CIDR. */
    private nodeNetworks(): pulumi.Output<string[]> {
        return this.nodeNetwork.ipamConfigs.apply((configs) =>
            configs.map((config) => config.subnet ?? "").filter((subnet) => subnet !== ""),
        );
    }

    /** One node: a volume, a container and its configuration. */
    node(args: NodeArgs): Machine {
        const node = new DockerNode(`${this.prefix}-${args.spec.name}`, { parent: this });
        const name = `${this.prefix}-${args.spec.name}`;
        const child = { parent: node, provider: this.provider };
        const port = this.firstPort.apply((first) => first + args.spec.index);
        const fullName = pulumi.interpolate`${this.base}-${args.spec.name}`;
        const volume = new docker.Volume(
            `${name}-data`,
            { name: pulumi.interpolate`${fullName}-data`, labels: this.labels(args.spec.name) },
            // nothing that a configuration says may ever replace what holds the data
            { ...child, protect: args.protect, ignoreChanges: ["name", "labels", "driver", "driverOpts"] },
        );
        const container = new docker.Container(
            name,
            {
                name: fullName,
                image: this.image.imageId,
                hostname: args.spec.name,
                restart: "unless-stopped",
                memory: args.machine.memory,
                // no swap: a database that swaps is slower than one that refuses work
                memorySwap: args.machine.memory,
                shmSize: Math.max(64, Math.floor(args.machine.memory / 4)),
                // a fast shutdown; Docker's own SIGTERM waits for clients and its SIGKILL means crash recovery
                stopSignal: "SIGINT",
                stopTimeout: GRACE_SECONDS,
                destroyGraceSeconds: GRACE_SECONDS,
                capabilities: { drops: ["ALL"] },
                securityOpts: ["no-new-privileges"],
                // a query or cancel request to a node whose address is gone fails in seconds, not in minutes (docs/decisions/0005)
                sysctls: { "net.ipv4.tcp_syn_retries": "2", "net.ipv4.tcp_retries2": "6" },
                logDriver: "json-file",
                logOpts: { "max-size": "20m", "max-file": "5" },
                mounts: [{ type: "volume", source: volume.name, target: NODE_HOME }],
                networksAdvanced: [
                    { name: this.nodeNetwork.name, aliases: [args.spec.host] },
                    { name: this.clientNetwork.name },
                ],
                ports: [{ internal: POSTGRES_PORT, external: port, ip: "127.0.0.1" }],
                healthcheck: {
                    tests: ["CMD", "/usr/local/lib/citus-node/health.sh"],
                    interval: "15s",
                    timeout: "10s",
                    startPeriod: "2m0s",
                    retries: 3,
                },
                labels: this.labels(args.spec.name),
            },
            {
                ...child,
                replaceOnChanges: ["healthcheck"],
                deleteBeforeReplace: true,
                hooks: { beforeCreate: [this.clearContainer] },
            },
        );
        const configuration = new Configuration(
            name,
            {
                name: args.spec.name,
                cluster: this.args.name,
                clusterId: this.security.clusterId,
                database: this.args.database,
                settings: args.settings,
                nodeNetworks: this.nodeNetworks(),
                caCertificate: this.security.caCertificate,
                certificate: args.certificate.certificate,
                privateKey: pulumi.secret(args.certificate.privateKey),
                verifier: this.security.verifier,
                container: container.name,
                containerId: container.id,
                dockerHost: this.args.dockerHost ?? "",
                self: selfUrn("Configuration", name, node),
            },
            { parent: node },
        );
        return { spec: args.spec, host: "localhost", port, container: container.name, ready: configuration, volume };
    }
}

class DockerNode extends pulumi.ComponentResource {
    constructor(name: string, opts: pulumi.ComponentResourceOptions) {
        super("citus:docker:Node", name, {}, opts);
        this.registerOutputs({});
    }
}
