/** START HERE: a Citus cluster. */
import * as pulumi from "@pulumi/pulumi";
import { archiveSettings, stanzaOf } from "../core/node/archive.ts";
import { SUPERUSER } from "../core/node/names.ts";
import { nodeSettings, type Settings } from "../core/node/settings.ts";
import { type NodeSpec, POSTGRES_PORT, topology } from "../core/node/topology.ts";
import type { BackupsOutput } from "../core/restore/site.ts";
import type { TenantGroupNode } from "../provider/tenantGroup.ts";
import { keepCertificate } from "./caFile.ts";
import { type ClusterInput, type ClusterParts, resolve } from "./config/index.ts";
import { fileSpec, projectFiles } from "./config/tenants/project.ts";
import { loadAws } from "./platforms/aws/load.ts";
import { DockerPlatform } from "./platforms/docker/platform.ts";
import type { Machine, NetworkOutput, Platform } from "./platforms/platform.ts";
import { Backups } from "./resources/backups.ts";
import { Member } from "./resources/member.ts";
import { Placement } from "./resources/placement.ts";
import { PostDeploy } from "./resources/postDeploy.ts";
import { Recovered } from "./resources/recovered.ts";
import type { Restore } from "./resources/restore.ts";
import { Security } from "./resources/security.ts";

export interface WorkerOutput {
    readonly name: string;
    readonly host: string;
    readonly port: number;
    /** Citus' group id. */
    readonly groupId: number;
}

/**
 * One coordinator and N workers, PostgreSQL 17 with Citus, verified TLS, registered and balanced.
 *
 * Editing `workers` and running `pulumi up` is the whole of a scale-out or scale-in: new workers are registered and take
 * their share of the shards; leaving ones are emptied, proved empty and removed before their machines are.
 */
export class CitusCluster extends pulumi.ComponentResource {
    readonly coordinator: pulumi.Output<{ host: string; port: number }>;
    readonly workers: pulumi.Output<WorkerOutput[]>;
    /** Secret. Names `caFile` where there is one. */
    readonly connectionString: pulumi.Output<string>;
    /** The superuser's password, secret. */
    readonly password: pulumi.Output<string>;
    /** What passwords of tenants are made from, secret. */
    readonly tenantsSeed: pulumi.Output<string>;
    readonly caCertificate: pulumi.Output<string>;
    /** Where the backups are. */
    readonly backups: pulumi.Output<BackupsOutput>;
    /** Ids of the network on AWS. */
    readonly network: pulumi.Output<NetworkOutput> | undefined;
    /** How a person reaches it from where this runs. */
    readonly connect: pulumi.Output<string>;
    /** One line about the cluster, written by the last `up` that asked it. */
    readonly status: pulumi.Output<string>;
    /** Its name, part of its nodes' names. */
    readonly clusterName: string;
    /** The database that is distributed. */
    readonly database: string;
    /** Names of its nodes as the program wants them, the coordinator first. */
    readonly nodeNames: readonly string[];
    /** Whether the coordinator takes shards too. */
    readonly coordinatorShards: boolean;
    /** Each node and how it is reached, the coordinator first; secret. */
    readonly nodes: readonly pulumi.Output<TenantGroupNode>[];
    /** What holds the coordinator's data: with it goes everything that is in the database. */
    readonly volume: pulumi.Resource;
    /** What must be there before tenants can be: shards in their place, the user's own SQL run. */
    readonly settled: readonly pulumi.Resource[];

    constructor(name: string, input: ClusterInput = {}, opts?: pulumi.ComponentResourceOptions) {
        const args = resolve(name, input);
        super("citus:index:Cluster", name, {}, opts);

        const security = new Security(
            name,
            {
                cluster: args.name,
                database: args.database,
                platform: args.platform,
                ...(args.aws ? { place: loadAws().placeOf(args.aws) } : {}),
                ...(args.backup.enabled ? { repository: { passphrase: args.backupPassphrase } } : {}),
            },
            { parent: this },
        );
        const platform = platformOf(name, args, security, this);
        const { machines, restore } = platform.make(
            topology(args.name, args.workers, args.retire).map((spec) => ({
                spec,
                machine: spec.role === "coordinator" ? args.coordinator : args.worker,
                size: platform.sizeOf(spec.role),
                settings: settingsOf(spec, args, platform),
                certificate: security.certify(spec),
                // a worker's volume is guarded by its registration: that goes only when it is provably empty
                protect: args.protect && spec.role === "coordinator",
            })),
        );
        const [coordinator, ...workers] = machines as [Machine, ...Machine[]];
        const recovered = restore && recover(name, args, { machines, restore }, this);
        const members = registerMembers(
            name,
            {
                coordinator,
                workers,
                transferMode: args.rebalance.transferMode,
                ...(recovered ? { recovered } : {}),
            },
            this,
        );
        const placement = placeShards(name, args, { coordinator, workers, members }, this);
        const postDeploy =
            args.postDeploy.length > 0 ? [runPostDeploy(name, args, { coordinator, placement }, this)] : [];

        if (args.backup.enabled)
            watchBackups(name, { coordinator, placement, citusVersion: platform.citusVersion }, this);

        this.password = security.password;
        this.tenantsSeed = security.tenantsSeed;
        this.backups = platform.backups;
        this.connect = platform.connect;
        this.network = platform.network;
        this.caCertificate = security.caCertificate;
        this.coordinator = coordinator.port.apply((port) => ({ host: coordinator.host, port }));
        this.workers = pulumi.all(
            workers.map((machine, i) =>
                pulumi
                    .all([machine.port, (members[i + 1] as Member).groupId])
                    .apply(([port, groupId]) => ({ name: machine.spec.name, host: machine.host, port, groupId })),
            ),
        );
        this.connectionString = pulumi.secret(
            pulumi.interpolate`postgresql://${SUPERUSER}:${security.password}@${coordinator.host}:${coordinator.port}/${args.database}?sslmode=verify-full${args.caFile === undefined ? "" : `&sslrootcert=${args.caFile}`}`,
        );
        if (args.caFile !== undefined) keepCertificate(args.caFile, this.caCertificate);
        this.status = placement.status;
        this.clusterName = args.name;
        this.database = args.database;
        this.nodeNames = machines.map(({ spec }) => spec.name);
        this.coordinatorShards = coordinatorShards(args);
        this.nodes = machines.map(({ spec, host, port, poolPort, access, shell }) =>
            pulumi.secret(
                pulumi.all([port, poolPort, access, shell]).apply(
                    ([clientPort, pool, reached, commands]): TenantGroupNode => ({
                        name: spec.name,
                        host: spec.host,
                        port: POSTGRES_PORT,
                        address: { host, port: clientPort, ...(pool === undefined ? {} : { poolPort: pool }) },
                        access: reached,
                        shell: commands,
                    }),
                ),
            ),
        );
        this.volume = coordinator.volume;
        this.settled = [placement, ...postDeploy];
        this.registerOutputs({
            coordinator: this.coordinator,
            workers: this.workers,
            connectionString: this.connectionString,
            password: this.password,
            caCertificate: this.caCertificate,
            backups: this.backups,
            connect: this.connect,
            ...(this.network ? { network: this.network } : {}),
            status: this.status,
        });
    }
}

function platformOf(name: string, args: ClusterParts, security: Security, parent: pulumi.Resource): Platform {
    return args.aws === undefined
        ? new DockerPlatform(name, args, security, { parent })
        : new (loadAws().AwsPlatform)(name, { ...args, aws: args.aws }, security, { parent });
}

function settingsOf({ role, name }: NodeSpec, args: ClusterParts, platform: Platform): pulumi.Output<Settings> {
    const other = role === "coordinator" ? "worker" : "coordinator";
    const archive = archiveSettings(stanzaOf(args.name, name), args.backup);
    return pulumi
        .all([platform.sizeOf(role), platform.sizeOf(other)])
        .apply(([{ memory, cores }, { memory: otherMemory }]) => ({
            ...nodeSettings(
                { role, memory, cores, otherMemory, workers: args.workers, shardCount: args.shardCount },
                args.settings,
            ),
            ...archive,
        }));
}

/** A restored cluster takes part only when it is proved whole. */
function recover(
    name: string,
    args: ClusterParts,
    cluster: { machines: readonly Machine[]; restore: Restore },
    parent: pulumi.Resource,
): Recovered {
    return new Recovered(
        `${name}-recovered`,
        {
            restoreId: cluster.restore.restoreId,
            manifest: cluster.restore.manifest,
            partial: args.restoreFrom?.onlyWorker !== undefined,
            nodes: cluster.machines.map((machine) => ({
                name: machine.spec.name,
                access: machine.access,
                shell: machine.shell,
            })),
            backups: args.backup.enabled,
        },
        { parent, dependsOn: cluster.machines.map((machine) => machine.ready) },
    );
}

function watchBackups(
    name: string,
    cluster: { coordinator: Machine; placement: Placement; citusVersion: pulumi.Output<string> },
    parent: pulumi.Resource,
): Backups {
    return new Backups(
        `${name}-backups-watch`,
        {
            coordinator: cluster.coordinator.access,
            citus: cluster.citusVersion,
        },
        { parent, dependsOn: [cluster.placement] },
    );
}

/** The coordinator first, then each worker when it answers. */
function registerMembers(
    name: string,
    args: {
        coordinator: Machine;
        workers: Machine[];
        transferMode: string;
        recovered?: Recovered;
    },
    parent: pulumi.Resource,
): Member[] {
    const coordinatorAccess = args.coordinator.access;
    const register = (machine: Machine, dependsOn: pulumi.Resource[]) =>
        new Member(
            `${name}-${machine.spec.name}`,
            {
                role: machine.spec.role,
                name: machine.spec.name,
                host: machine.spec.host,
                port: POSTGRES_PORT,
                coordinator: coordinatorAccess,
                access: machine.access,
                transferMode: args.transferMode,
            },
            // with the coordinator's data goes every registration: a destroy has nothing to unregister from
            { parent, dependsOn, ...(machine === args.coordinator ? {} : { deletedWith: args.coordinator.volume }) },
        );
    const first = register(args.coordinator, [args.coordinator.ready, ...(args.recovered ? [args.recovered] : [])]);
    return [first, ...args.workers.map((worker) => register(worker, [worker.ready, first]))];
}

/** Without workers everything is on it. */
const coordinatorShards = ({ coordinator, workers }: ClusterParts) => coordinator.shards || workers === 0;

function placeShards(
    name: string,
    args: ClusterParts,
    cluster: { coordinator: Machine; workers: Machine[]; members: Member[] },
    parent: pulumi.Resource,
): Placement {
    return new Placement(
        `${name}-shards`,
        {
            cluster: args.name,
            coordinator: cluster.coordinator.access,
            coordinatorHost: cluster.coordinator.spec.host,
            shell: cluster.coordinator.shell,
            workers: cluster.workers.map((machine) => ({
                name: machine.spec.name,
                host: machine.spec.host,
                port: POSTGRES_PORT,
                access: machine.access,
                shell: machine.shell,
            })),
            coordinatorShards: coordinatorShards(args),
            rebalance: args.rebalance.enabled,
            strategy: args.rebalance.strategy,
            transferMode: args.rebalance.transferMode,
            ...(args.rebalance.threshold === undefined ? {} : { threshold: args.rebalance.threshold }),
        },
        // a destroy begins here: refused here, it has deleted nothing yet
        { parent, dependsOn: cluster.members, protect: args.protect },
    );
}

function runPostDeploy(
    name: string,
    args: ClusterParts,
    cluster: { coordinator: Machine; placement: Placement },
    parent: pulumi.Resource,
): PostDeploy {
    return new PostDeploy(
        `${name}-post-deploy`,
        {
            files: args.postDeploy.map((path) => fileSpec(path, projectFiles)),
            database: args.database,
            restoreId: cluster.coordinator.ready.restored as pulumi.Output<string>,
            shell: cluster.coordinator.shell,
        },
        { parent, dependsOn: [cluster.placement] },
    );
}
