/** AWS: a network, a bucket, a role a kind of node and an EC2 instance a node. Makes machines and says how to reach them. */

import * as pulumi from "@pulumi/pulumi";
import { backupFiles, s3Repository } from "../../../core/node/archive.ts";
import { SUPERUSER } from "../../../core/node/names.ts";
import type { Access, SsmShell } from "../../../core/node/reach.ts";
import { POSTGRES_PORT, type Role } from "../../../core/node/topology.ts";
import type { BackupsOutput } from "../../../core/restore/site.ts";
import type { AwsParts, ClusterParts, RestoreFromParts } from "../../config/index.ts";
import { Configuration } from "../../resources/configuration.ts";
import type { NodeArgs, Size } from "../../resources/nodeArgs.ts";
import { type Origin, originOf } from "../../resources/origin.ts";
import type { Restore } from "../../resources/restore.ts";
import { restoreCluster } from "../../resources/restoredCluster.ts";
import { passphraseOf, type Security } from "../../resources/security.ts";
import { directAccess, type Machine, type NetworkOutput, type Platform } from "../platform.ts";
import { metricsGroup } from "./alarms.ts";
import { makeBundle } from "./bundle.ts";
import { privateZone } from "./dns.ts";
import { machineModels } from "./models.ts";
import { Network } from "./network.ts";
import { AwsNode, type NodeSecrets, type Surroundings } from "./node.ts";
import { willReplace } from "./rolling.ts";
import { type Scope, scopeOf } from "./scope.ts";
import * as aws from "./sdk.ts";
import { sizeOf } from "./sizes.ts";
import { Storage } from "./storage.ts";

export { placeOf } from "./place.ts";

/** AWS' most for one zone. */
const PARTITIONS = 7;

/** What all nodes of a cluster share on AWS. */
export class AwsPlatform extends pulumi.ComponentResource implements Platform {
    readonly backups: pulumi.Output<Required<BackupsOutput>>;
    readonly network: pulumi.Output<NetworkOutput>;
    readonly citusVersion: pulumi.Output<string>;
    connect: pulumi.Output<string> = pulumi.output("");
    private readonly args: ClusterParts;
    /** EC2 is asked once for all machines of a kind. */
    private readonly sizes: Readonly<Record<Role, pulumi.Output<Size>>>;
    private readonly scope: Scope;
    private readonly security: Security;
    private readonly storage: Storage;
    private readonly around: Surroundings;
    /** Networks that carry only nodes, as CIDR. */
    private readonly nodeNetworks: pulumi.Output<string[]>;
    private readonly origin: pulumi.Output<Origin> | undefined;
    /** Whether existing machines will be replaced. */
    private readonly rolling: pulumi.Output<boolean>;

    constructor(
        name: string,
        args: ClusterParts & { readonly aws: AwsParts },
        security: Security,
        opts?: pulumi.ComponentResourceOptions,
    ) {
        super("citus:aws:Platform", name, {}, opts);
        this.args = args;
        this.security = security;
        const scope = scopeOf(name, args, security);
        this.scope = scope;
        const size = (role: Role) => sizeOf(name, role, args[role], args.aws.region, this);
        this.sizes = { coordinator: size("coordinator"), worker: size("worker") };
        this.citusVersion = scope.citusVersion;
        const network = new Network(scope, { parent: this });
        this.nodeNetworks = network.subnets.apply((all) => all.map(({ cidr }) => cidr));
        this.storage = new Storage(scope, makeBundle(), { parent: this });
        this.backups = this.storage.bucket.apply((repository) => ({
            repository,
            region: args.aws.region,
            cluster: args.name,
        }));
        const own = { repository: this.storage.bucket, region: args.aws.region, cluster: args.name };
        this.origin = args.restoreFrom && originOf(args.restoreFrom, own, this);
        const logGroup = args.aws.alarmTopic === undefined ? undefined : metricsGroup(scope, this).name;
        const { bucket } = this.storage;
        const models = machineModels(scope, args, { bucket, origin: this.origin, logGroup }, this);
        const placementGroup = this.placementGroup();
        const zoneId = privateZone(scope, network.vpcId, this).id;
        this.network = pulumi
            .all([network.vpcId, zoneId, network.securityGroupId])
            .apply(([vpcId, zone, securityGroupId]) => ({ vpcId, zoneId: zone, securityGroupId }));
        this.around = {
            scope,
            subnets: network.subnets,
            securityGroupId: network.securityGroupId,
            zoneId,
            models,
            ...(placementGroup === undefined ? {} : { placementGroup }),
            ...(args.transform === undefined ? {} : { transform: args.transform }),
            archives: args.backup.enabled,
            ready: [
                ...network.ready,
                ...this.storage.ready,
                ...Object.values(models).flatMap(({ role }) => role.ready),
            ],
        };
        const hashes = Object.values(models).map(({ hash }) => hash);
        // of what the program changes no hash knows
        this.rolling =
            args.transform?.instance === undefined
                ? willReplace(security.clusterId, hashes, this)
                : pulumi.output(true);
        this.registerOutputs({});
    }

    private placementGroup(): pulumi.Output<string> | undefined {
        const { scope } = this;
        const { placement } = scope.aws;
        if (placement === "none") return undefined;
        return new aws.ec2.PlacementGroup(
            `${scope.prefix}-nodes`,
            {
                strategy: placement,
                ...(placement === "partition" ? { partitionCount: PARTITIONS } : {}),
                tags: scope.tags("nodes"),
            },
            { parent: this },
        ).name;
    }

    sizeOf(role: Role): pulumi.Output<Size> {
        return this.sizes[role];
    }

    make(nodes: readonly NodeArgs[]): { machines: Machine[]; restore?: Restore } {
        const places: Place[] = [];
        const machines: Machine[] = [];
        // data is restored when all machines are there: so none of them can wait for the configuration of another
        const restores = this.args.restoreFrom !== undefined;
        let before: readonly pulumi.Resource[] = [];
        for (const args of nodes) {
            const place = this.place(args, before);
            places.push(place);
            before = place.node.ready;
            if (restores) continue;
            const machine = this.machine(place);
            machines.push(machine);
            before = [machine.ready];
        }
        this.connect = this.connection(places[0]);
        if (!this.args.restoreFrom || !this.origin) return { machines };
        const restore = this.restore(places, this.args.restoreFrom, this.origin);
        return { machines: places.map((place) => this.machine(place, restore)), restore };
    }

    /** @param before what one machine waits for when they are replaced one at a time */
    private place(args: NodeArgs, before: readonly pulumi.Resource[]): Place {
        const { spec } = args;
        const configuration = this.configurationOf(args);
        const secrets = this.secretsOf(configuration);
        const after = this.rolling.apply((one) => (one ? [...before] : []));
        const node = new AwsNode(this.around, args, secrets, after, { parent: this });
        const { region, profile } = this.scope.aws;
        const shell = this.security.clusterId.apply(
            (clusterId): SsmShell => ({ kind: "ssm", region, profile: profile ?? "", clusterId, node: spec.name }),
        );
        return { args, node, configuration, shell };
    }

    private configurationOf({ spec, size, settings, certificate }: NodeArgs) {
        const backup = pulumi
            .all([this.storage.bucket, size, passphraseOf(this.args.backupPassphrase)])
            .apply(([bucket, machine, passphrase]) =>
                backupFiles(
                    spec,
                    machine,
                    { name: this.args.name, backup: this.args.backup, ...passphrase },
                    s3Repository(bucket, this.scope.aws.region),
                ),
            );
        return {
            cluster: this.args.name,
            clusterId: this.security.clusterId,
            database: this.args.database,
            settings,
            overrides: this.args.settings,
            nodeNetworks: this.nodeNetworks,
            caCertificate: this.security.caCertificate,
            certificate: certificate.certificate,
            privateKey: pulumi.secret(certificate.privateKey),
            verifier: this.security.verifier,
            backup: this.args.backupPassphrase === undefined ? backup : pulumi.secret(backup),
        };
    }

    private secretsOf(configuration: ReturnType<AwsPlatform["configurationOf"]>): pulumi.Output<NodeSecrets> {
        const { clusterId, nodeNetworks, caCertificate, certificate, privateKey, verifier, backup } = configuration;
        const { backupPassphrase, restorePassphrase } = this.args;
        const passphrases = pulumi.all([restorePassphrase ?? backupPassphrase, backupPassphrase]);
        const passphrase = (text?: string): Record<string, string> => (text === undefined ? {} : { passphrase: text });
        return pulumi
            .all([
                pulumi.all([clusterId, nodeNetworks, caCertificate, certificate, privateKey, verifier, backup]),
                configuration.settings,
                passphrases,
            ])
            .apply(
                ([[id, networks, ca, own, key, proof, files], settings, [restore, backups]]): NodeSecrets => ({
                    configuration: {
                        ...configuration,
                        settings,
                        clusterId: id,
                        nodeNetworks: networks,
                        caCertificate: ca,
                        certificate: own,
                        privateKey: key,
                        verifier: proof,
                        backup: files,
                    },
                    restore: { ...passphrase(restore), verifier: proof },
                    own: passphrase(backups),
                }),
            );
    }

    /** A node that is configured. */
    private machine({ args, node, configuration, shell }: Place, restore?: Restore): Machine {
        const { spec } = args;
        const name = `${this.scope.prefix}-${spec.name}`;
        const { database } = this.args;
        const ready = new Configuration(
            name,
            {
                name: spec.name,
                ...configuration,
                ...(restore ? { restoreId: restore.restoreId } : {}),
                shell,
                machine: node.instance.id,
                secretVersion: node.secretVersion,
                bundle: this.storage.bundle,
                volumeSize: args.machine.volumeSize ?? 0,
                metrics: this.scope.aws.alarmTopic !== undefined,
            },
            { parent: node, dependsOn: [...node.ready] },
        );
        const access =
            this.scope.aws.connection === "direct"
                ? directAccess({ spec, host: node.instance.privateIp, port: POSTGRES_PORT }, this.security, database)
                : shell.apply((tunnel): Access => ({ tunnel, user: SUPERUSER, database }));
        return { spec, host: spec.host, port: pulumi.output(POSTGRES_PORT), shell, access, ready, volume: node.volume };
    }

    /** Restores the data of all nodes before their servers start. */
    private restore(places: readonly Place[], from: RestoreFromParts, origin: pulumi.Output<Origin>): Restore {
        return restoreCluster(`${this.scope.prefix}-restore`, {
            args: this.args,
            security: this.security,
            from,
            origin,
            ownRepository: this.storage.bucket,
            nodes: places.map(({ args }) => args),
            site: pulumi.output({
                kind: "aws" as const,
                nodes: places.map(({ args: { spec }, node, shell }) => ({
                    name: spec.name,
                    shell,
                    machine: node.instance.id,
                    secretVersion: node.secretVersion,
                })),
                bundle: this.storage.bundle,
            }),
            parent: this,
            dependsOn: places.flatMap(({ node }) => [...node.ready]),
        });
    }

    /** How a person reaches the coordinator. */
    private connection(coordinator: Place | undefined): pulumi.Output<string> {
        if (!coordinator) return pulumi.output("");
        const { region, profile, connection } = this.scope.aws;
        const { id, privateIp } = coordinator.node.instance;
        const shell = pulumi.interpolate`aws ssm start-session --region ${region}${profile === undefined ? "" : ` --profile ${profile}`} --target ${id}`;
        return connection === "ssm"
            ? pulumi.interpolate`through SSM, no port is open; a shell: ${shell}`
            : pulumi.interpolate`from where ${privateIp}:${POSTGRES_PORT} can be reached; a shell: ${shell}`;
    }
}

/** A node before it is configured. */
interface Place {
    readonly args: NodeArgs;
    readonly node: AwsNode;
    readonly configuration: ReturnType<AwsPlatform["configurationOf"]>;
    readonly shell: pulumi.Output<SsmShell>;
}
