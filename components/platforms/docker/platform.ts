/** Local Docker: an image, two networks and a container a node. Makes machines and says how to reach them. */
import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { packagesHash, scriptsHash } from "../../../core/image/contents.ts";
import { backupFiles, DOCKER_REPOSITORY, REPOSITORY_HOME } from "../../../core/node/archive.ts";
import { SUPERUSER } from "../../../core/node/names.ts";
import type { Access, Shell } from "../../../core/node/reach.ts";
import { NODE_HOME, NODE_SCRIPTS } from "../../../core/node/settings.ts";
import {
    coordinatorOf,
    HIGHEST_INDEX,
    type NodeSpec,
    POOL_OFFSET,
    POOL_PORT,
    POSTGRES_PORT,
    type Role,
} from "../../../core/node/topology.ts";
import { clearLeftover, dockerEngine, engineAnswers } from "../../../core/reach/docker/engine.ts";
import { MADE_LABEL, madeOf, readContainers, turnsOf } from "../../../core/reach/docker/rolling.ts";
import { freePort, takenPorts, tryAddressPool } from "../../../core/reach/docker/trouble.ts";
import { graceSeconds } from "../../../core/reach/run.ts";
import type { BackupsOutput } from "../../../core/restore/site.ts";
import { wantedEngine } from "../../config/ask.ts";
import { type ClusterParts, citusImage, type RestoreFromParts } from "../../config/index.ts";
import { type Transform, transformed } from "../../config/transform.ts";
import { Configuration } from "../../resources/configuration.ts";
import { DockerEngine } from "../../resources/dockerEngine.ts";
import type { NodeArgs, Size } from "../../resources/nodeArgs.ts";
import { NodeImage } from "../../resources/nodeImage.ts";
import { originOf } from "../../resources/origin.ts";
import { PortRange } from "../../resources/ports.ts";
import { Replacements } from "../../resources/replacements.ts";
import type { Restore } from "../../resources/restore.ts";
import { restoreCluster } from "../../resources/restoredCluster.ts";
import { passphraseOf, type Security, secretWith } from "../../resources/security.ts";
import { directAccess, type Machine, type Platform } from "../platform.ts";

/** An address that the provider does not try to reach when it starts. */
const NOWHERE = "ssh://no-docker-engine-here.invalid";

/**
 * The provider greets its engine when it starts and fails without one, though a preview asks nothing of it. So a preview
 * where no engine answers, as in CI, gives it an address that it does not greet.
 */
async function providerHost(address: string): Promise<string> {
    return !pulumi.runtime.isDryRun() || (await engineAnswers(address)) ? address : NOWHERE;
}

/** A node's place before there is a machine: what its data will be on. */
interface Place extends NodeArgs {
    readonly volume: docker.Volume;
    readonly component: pulumi.ComponentResource;
    readonly port: pulumi.Output<number>;
    readonly poolPort: pulumi.Output<number>;
    readonly access: pulumi.Output<Access>;
    /** What its container is, without what says so. */
    readonly container: docker.ContainerArgs;
    /** What the program adds to its options. */
    readonly options: pulumi.CustomResourceOptions;
    /** Hash of it. */
    readonly made: pulumi.Output<string>;
}

/** What all nodes of a cluster share on one Docker engine. */
export class DockerPlatform extends pulumi.ComponentResource implements Platform {
    readonly connect: pulumi.Output<string>;
    private readonly prefix: string;
    private readonly args: ClusterParts;
    private readonly security: Security;
    readonly citusVersion: pulumi.Output<string>;
    private readonly image: NodeImage;
    private readonly nodeNetwork: docker.Network;
    private readonly clientNetwork: docker.Network;
    /** How the coordinator is reached. */
    private readonly coordinator: pulumi.Output<Access>;
    private readonly firstPort: pulumi.Output<number>;
    private readonly firstPoolPort: pulumi.Output<number>;
    private readonly base: pulumi.Output<string>;
    private readonly clearContainer: pulumi.ResourceHook;
    private readonly provider: docker.Provider;
    /** The engine's address. */
    private readonly engine: string;
    private readonly repository: docker.Volume;

    constructor(name: string, args: ClusterParts, security: Security, opts?: pulumi.ComponentResourceOptions) {
        super("citus:docker:Platform", name, {}, opts);
        this.prefix = name;
        this.args = args;
        this.security = security;
        const engine = wantedEngine(args.dockerHost);
        this.engine = engine.address;
        // nothing is made, and the provider is given no other address, before it is known to be the cluster's engine
        const { address } = new DockerEngine(
            `${name}-engine`,
            { address: this.engine, clusterId: security.clusterId },
            { parent: this },
        );
        this.provider = new docker.Provider(
            `${name}-docker`,
            {
                disableDockerDaemonCheck: true,
                host: address.apply(providerHost),
                // empty, so that the provider does not take DOCKER_CONTEXT and DOCKER_CERT_PATH by an order of its own
                context: "",
                certPath: engine.certificates ?? "",
            },
            { parent: this },
        );
        const child = { parent: this, provider: this.provider };
        // names carry the stack's random id: they are the same when a killed run is repeated, and no other stack's
        this.base = security.clusterId.apply((id) => `${args.name}-${id.slice(0, 6)}`);
        this.firstPort =
            args.port !== undefined
                ? pulumi.output(args.port)
                : new PortRange(`${name}-ports`, { size: HIGHEST_INDEX + 1 }, { parent: this }).first;
        // published from the start: a port that comes later means another container
        this.firstPoolPort =
            args.port !== undefined
                ? pulumi.output(args.port + POOL_OFFSET)
                : new PortRange(
                      `${name}-pool-ports`,
                      { size: HIGHEST_INDEX + 1, apart: this.firstPort },
                      { parent: this },
                  ).first;
        this.coordinator = this.accessOf(coordinatorOf(args.name));
        const wanted = args.citusVersion === undefined ? "" : citusImage(args.citusVersion);
        this.image = new NodeImage(
            `${name}-node-image`,
            {
                base: args.image ?? wanted,
                newBase: security.defaultCitus.apply(citusImage),
                postgres: args.postgresVersion ?? "",
                packagesHash: packagesHash(),
                scriptsHash: scriptsHash(),
                engine: address,
                clusterId: security.clusterId,
                coordinator: this.coordinator,
            },
            { parent: this },
        );
        this.citusVersion = this.image.citusVersion;
        this.clearContainer = new pulumi.ResourceHook(`${name}-clear-container`, async (hook) => {
            await clearLeftover("container", String(hook.newInputs?.name), this.engine);
            await this.refuseTakenPorts(String(hook.newInputs?.hostname), hook.newInputs?.ports);
        });
        const clearNetwork = new pulumi.ResourceHook(`${name}-clear-network`, async (hook) => {
            const network = String(hook.newInputs?.name);
            const trial = `${network}-try`;
            for (const one of [network, trial]) await clearLeftover("network", one, this.engine);
            const labels = (hook.newInputs?.labels ?? []) as { label: string; value: string }[];
            await tryAddressPool(
                dockerEngine(this.engine),
                trial,
                Object.fromEntries(labels.map(({ label, value }) => [label, value])),
            );
        });
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
            // one after the other: each looks first whether an address range is left
            { ...networkOptions, dependsOn: [this.nodeNetwork] },
        );
        // outlives the nodes, and stays when backups are turned off
        this.repository = new docker.Volume(
            `${name}-backups`,
            { name: pulumi.interpolate`${this.base}-backups`, labels: this.labels() },
            { ...child, protect: args.protect, ignoreChanges: ["name", "labels", "driver", "driverOpts"] },
        );
        this.connect = pulumi.interpolate`psql "host=localhost port=${this.firstPort} dbname=${args.database} user=${SUPERUSER} sslmode=verify-full"`;
        this.registerOutputs({});
    }

    /** The provider would leave a container that can't start. */
    private async refuseTakenPorts(node: string, published: { external?: number }[] | undefined): Promise<void> {
        const ports = (published ?? []).flatMap(({ external }) => external ?? []);
        const taken = await takenPorts(dockerEngine(this.engine), ports);
        if (taken.length === 0) return;
        throw new Error(
            `Port ${taken.join(" and port ")} of 127.0.0.1 is taken, and ${node} is to be published there. ${node} was not made. ${freePort(Number.parseInt(taken[0] ?? "", 10))}`,
        );
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

    sizeOf(role: Role): pulumi.Output<Size> {
        return pulumi.output<Size>(this.args[role]);
    }

    /** Where the cluster's backups are. */
    get backups(): pulumi.Output<BackupsOutput> {
        return this.repository.name.apply((repository) => ({ repository, cluster: this.args.name }));
    }

    make(nodes: readonly NodeArgs[]): { machines: Machine[]; restore?: Restore } {
        const places = nodes.map((node) => this.place(node));
        const restore = this.args.restoreFrom && this.restore(places, this.args.restoreFrom);
        const turns = this.turns(places);
        const ready = new Map<string, pulumi.Resource>();
        const readyOf = (names: readonly string[]) => names.flatMap((name) => ready.get(name) ?? []);
        const first = restore ? [restore] : [];
        const all = places.map(({ spec }) => spec.name);
        // what stays or is new is made and configured first, then asked, and then the others have their turns
        const replacements = this.replacements(
            places,
            turns.apply((order) => [
                ...first,
                ...(order.length > 0 ? readyOf(all.filter((name) => !order.includes(name))) : []),
            ]),
        );
        const machines = places.map((place) => {
            const { name } = place.spec;
            const after = turns.apply((order) => {
                const turn = order.indexOf(name);
                return turn < 0 ? first : [...first, replacements, ...readyOf(order.slice(0, turn).slice(-1))];
            });
            const machine = this.node(place, after, restore);
            ready.set(name, machine.ready);
            return machine;
        });
        return { machines, ...(restore ? { restore } : {}) };
    }

    private replacements(places: readonly Place[], after: pulumi.Output<pulumi.Resource[]>): Replacements {
        const name = `${this.prefix}-replacements`;
        return new Replacements(
            name,
            {
                engine: this.engine,
                clusterId: this.security.clusterId,
                nodes: places.map(({ spec, made, access }) => ({
                    name: spec.name,
                    made,
                    access,
                    shell: this.fullName(spec).apply((container) => this.shell(container)),
                })),
            },
            { parent: this, dependsOn: after },
        );
    }

    /** Nodes whose containers are replaced one after the other: all of them where the engine does not say what it has. */
    private turns(places: readonly Place[]): pulumi.Output<string[]> {
        const wanted = places.map(({ spec, made }) => made.apply((hash) => ({ name: spec.name, made: hash })));
        return pulumi.all([pulumi.all(wanted), this.security.clusterId]).apply(async ([nodes, clusterId]) => {
            const found = await readContainers(this.engine, clusterId).catch(() =>
                pulumi.runtime.isDryRun() ? [] : nodes.map(({ name }) => ({ node: name, made: "", serves: true })),
            );
            return turnsOf(found, nodes);
        });
    }

    private shell(container: string): Shell {
        return { kind: "docker", engine: this.engine, container };
    }

    private portOf(spec: NodeSpec): pulumi.Output<number> {
        return this.firstPort.apply((first) => first + spec.index);
    }

    private accessOf(spec: NodeSpec): pulumi.Output<Access> {
        return directAccess({ spec, host: "localhost", port: this.portOf(spec) }, this.security, this.args.database);
    }

    /** What a node's data is on, and what its container is made of. */
    private place(node: NodeArgs): Place {
        const { spec, protect } = node;
        const name = `${this.prefix}-${spec.name}`;
        const component = new DockerNode(name, { parent: this });
        const { args, opts } = transformed<docker.VolumeArgs>(
            // its own members only: those of an EBS volume mean nothing here
            this.args.transform?.volume as Transform<docker.VolumeArgs> | undefined,
            { name: pulumi.interpolate`${this.fullName(spec)}-data`, labels: this.labels(spec.name) },
            spec.name,
        );
        // nothing that a configuration says may ever replace what holds the data
        const own = {
            parent: component,
            provider: this.provider,
            protect,
            ignoreChanges: ["name", "labels", "driver", "driverOpts"],
        };
        const volume = new docker.Volume(`${name}-data`, args, pulumi.mergeOptions(own, opts));
        const poolPort = this.firstPoolPort.apply((first) => first + spec.index);
        const container = transformed<docker.ContainerArgs>(
            this.args.transform?.container,
            this.containerArgs(node, volume, poolPort),
            spec.name,
        );
        return {
            ...node,
            volume,
            component,
            port: this.portOf(spec),
            poolPort,
            access: this.accessOf(spec),
            container: container.args,
            options: container.opts,
            made: pulumi.output(container.args).apply(madeOf),
        };
    }

    private fullName(spec: NodeSpec): pulumi.Output<string> {
        return pulumi.interpolate`${this.base}-${spec.name}`;
    }

    /** Restores the data of all nodes before their machines start. */
    private restore(places: readonly Place[], from: RestoreFromParts): Restore {
        const { args } = this;
        const own = this.repository.name;
        return restoreCluster(`${this.prefix}-restore`, {
            args,
            security: this.security,
            from,
            origin: originOf(from, { repository: own, region: "", cluster: args.name }, this),
            ownRepository: own,
            nodes: places,
            site: {
                kind: "docker",
                engine: this.engine,
                image: this.image.name,
                labels: { "citus.cluster": args.name, "citus.cluster-id": this.security.clusterId },
                nodes: places.map(({ spec, volume }) => ({
                    name: spec.name,
                    volume: volume.name,
                    container: this.fullName(spec),
                })),
            },
            parent: this,
            dependsOn: [this.image],
        });
    }

    /** Everything that only another container changes. */
    private containerArgs(
        { spec, machine }: NodeArgs,
        volume: docker.Volume,
        poolPort: pulumi.Output<number>,
    ): docker.ContainerArgs {
        return {
            name: this.fullName(spec),
            image: this.image.imageId,
            // only where the engine would choose another by itself
            platform: this.image.emulated.apply((platform) => platform || undefined),
            hostname: spec.name,
            memory: machine.memory,
            // no swap: a database that swaps is slower than one that refuses work
            memorySwap: machine.memory,
            shmSize: Math.max(64, Math.floor(machine.memory / 4)),
            // a fast shutdown; Docker's own SIGTERM waits for clients and its SIGKILL means crash recovery
            stopSignal: "SIGINT",
            stopTimeout: graceSeconds(machine.memory),
            capabilities: { drops: ["ALL"] },
            securityOpts: ["no-new-privileges"],
            // a query or cancel request to a node whose address is gone fails in seconds, not in minutes (docs/decisions/0005)
            sysctls: { "net.ipv4.tcp_syn_retries": "2", "net.ipv4.tcp_retries2": "6" },
            logDriver: "json-file",
            logOpts: { "max-size": "20m", "max-file": "5" },
            mounts: [
                { type: "volume", source: volume.name, target: NODE_HOME },
                ...(this.args.backup.enabled
                    ? [{ type: "volume", source: this.repository.name, target: REPOSITORY_HOME }]
                    : []),
            ],
            networksAdvanced: [
                { name: this.nodeNetwork.name, aliases: [spec.host] },
                { name: this.clientNetwork.name },
            ],
            ports: [
                { internal: POSTGRES_PORT, external: this.portOf(spec), ip: "127.0.0.1" },
                { internal: POOL_PORT, external: poolPort, ip: "127.0.0.1" },
            ],
            healthcheck: {
                tests: ["CMD", `${NODE_SCRIPTS}/health.sh`],
                interval: "15s",
                timeout: "10s",
                startPeriod: "2m0s",
                retries: 3,
            },
            labels: this.labels(spec.name),
        };
    }

    /** One node: a container and its configuration. */
    private node(args: Place, after: pulumi.Output<pulumi.Resource[]>, restore: Restore | undefined): Machine {
        const { spec, volume, component: node, port, poolPort, access } = args;
        const name = `${this.prefix}-${spec.name}`;
        const child = { parent: node, provider: this.provider };
        const container = new docker.Container(
            name,
            {
                ...args.container,
                labels: pulumi
                    .all([args.container.labels, args.made])
                    .apply(([labels = [], value]) => [...labels, { label: MADE_LABEL, value }]),
                restart: "unless-stopped",
                destroyGraceSeconds: graceSeconds(args.machine.memory),
            },
            pulumi.mergeOptions(
                {
                    ...child,
                    replaceOnChanges: ["healthcheck"],
                    deleteBeforeReplace: true,
                    dependsOn: after,
                    hooks: { beforeCreate: [this.clearContainer] },
                },
                args.options,
            ),
        );
        const shell = container.name.apply((found) => this.shell(found));
        const configuration = new Configuration(
            name,
            {
                name: spec.name,
                cluster: this.args.name,
                clusterId: this.security.clusterId,
                database: this.args.database,
                settings: args.settings,
                overrides: this.args.settings,
                nodeNetworks: this.nodeNetworks(),
                caCertificate: this.security.caCertificate,
                certificate: args.certificate.certificate,
                privateKey: pulumi.secret(args.certificate.privateKey),
                verifier: this.security.verifier,
                backup: secretWith(
                    this.args.backupPassphrase,
                    passphraseOf(this.args.backupPassphrase).apply((passphrase) =>
                        backupFiles(
                            spec,
                            args.machine,
                            { name: this.args.name, backup: this.args.backup, ...passphrase },
                            DOCKER_REPOSITORY,
                        ),
                    ),
                ),
                ...(restore ? { restoreId: restore.restoreId } : {}),
                shell,
                machine: container.id,
                membership: pulumi
                    .all([this.coordinator, this.fullName(coordinatorOf(this.args.name))])
                    .apply(([coordinator, pool]) => ({ coordinator, host: spec.host, pool: this.shell(pool) })),
                secretVersion: "",
                bundle: "",
                volumeSize: 0,
                metrics: false,
            },
            { parent: node },
        );
        return { spec, host: "localhost", port, poolPort, shell, access, ready: configuration, volume };
    }
}

class DockerNode extends pulumi.ComponentResource {
    constructor(name: string, opts: pulumi.ComponentResourceOptions) {
        super("citus:docker:Node", name, {}, opts);
        this.registerOutputs({});
    }
}
