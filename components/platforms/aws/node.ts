/** One node on AWS: a volume that outlives its machine, the machine, its name, and the secret that only it may read. */

import * as pulumi from "@pulumi/pulumi";
import { type NodeConfiguration, nodeFiles } from "../../../core/node/files.ts";
import type { Role } from "../../../core/node/topology.ts";
import { type Transforms, transformed } from "../../config/transform.ts";
import type { NodeArgs } from "../../resources/nodeArgs.ts";
import { type NodeSubnet, subnetIn, zoneFor } from "./addresses.ts";
import { nodeAlarms } from "./alarms.ts";
import { nodeRecord } from "./dns.ts";
import type { MachineModel } from "./models.ts";
import { MACHINE_TAG } from "./rolling.ts";
import type { Scope } from "./scope.ts";
import * as aws from "./sdk.ts";
import { renderUserData } from "./userData.ts";

/** GiB; packages and logs, no data. */
const ROOT_SIZE = 16;
/** Only a label: machines find the volume by its id. */
const DEVICE = "/dev/sdf";

/** What the nodes of a cluster share. */
export interface Surroundings {
    readonly scope: Scope;
    readonly subnets: pulumi.Output<NodeSubnet[]>;
    readonly securityGroupId: pulumi.Output<string>;
    readonly zoneId: pulumi.Output<string>;
    readonly models: Readonly<Record<Role, MachineModel>>;
    readonly placementGroup?: pulumi.Output<string>;
    /** What the program changes of a node's resources. */
    readonly transform?: Transforms;
    /** Whether nodes archive. */
    readonly archives: boolean;
    /** Without these a machine can't boot. */
    readonly ready: readonly pulumi.Resource[];
}

/** Secrets that a node is given, by group and file name: each group is added to what a script is given. */
export interface NodeSecrets {
    readonly configuration: NodeConfiguration;
    readonly restore: Readonly<Record<string, string>>;
    readonly own: Readonly<Record<string, string>>;
}

export class AwsNode extends pulumi.ComponentResource {
    readonly volume: aws.ebs.Volume;
    readonly instance: aws.ec2.Instance;
    /** VersionId of the secret that holds the node's files. */
    readonly secretVersion: pulumi.Output<string>;
    /** The machine with its disk and its name. */
    readonly ready: readonly pulumi.Resource[];
    private readonly around: Surroundings;
    private readonly args: NodeArgs;
    private readonly prefix: string;

    /** @param after what must be there before its machine is replaced */
    constructor(
        around: Surroundings,
        args: NodeArgs,
        secrets: pulumi.Input<NodeSecrets>,
        after: pulumi.Input<pulumi.Resource[]>,
        opts: pulumi.ComponentResourceOptions,
    ) {
        const name = `${around.scope.prefix}-${args.spec.name}`;
        super("citus:aws:Node", name, {}, opts);
        this.prefix = name;
        this.around = around;
        this.args = args;
        this.volume = this.makeVolume();
        const secretName = pulumi.interpolate`citus/${around.scope.base}/${args.spec.name}`;
        const secret = this.makeSecret(secretName, secrets);
        this.secretVersion = secret.versionId;
        this.instance = this.makeInstance(secretName, after);
        const attachment = new aws.ec2.VolumeAttachment(
            `${name}-data`,
            {
                deviceName: DEVICE,
                instanceId: this.instance.id,
                volumeId: this.volume.id,
                // PostgreSQL is shut down and its file system unmounted first
                stopInstanceBeforeDetaching: true,
            },
            { parent: this, deleteBeforeReplace: true },
        );
        const record = nodeRecord(
            name,
            { zoneId: around.zoneId, host: args.spec.host, address: this.instance.privateIp },
            this,
        );
        nodeAlarms(around.scope, args.spec.name, { instanceId: this.instance.id, archives: around.archives }, this);
        this.ready = [attachment, record, secret];
        this.registerOutputs({});
    }

    private tags(name: string): pulumi.Output<Readonly<Record<string, string>>> {
        return this.around.scope.tags(name, this.args.spec.name);
    }

    private makeVolume(): aws.ebs.Volume {
        const { scope, subnets } = this.around;
        const { spec, machine, protect } = this.args;
        const { args, opts } = transformed<aws.ebs.VolumeArgs>(
            this.around.transform?.volume,
            {
                availabilityZone: subnets.apply((all) => zoneFor(spec.index, all, scope.aws.azs)),
                type: "gp3",
                ...given({ size: machine.volumeSize, iops: machine.iops, throughput: machine.throughput }),
                encrypted: true,
                ...given({ kmsKeyId: scope.aws.kmsKeyId }),
                tags: this.tags(`${spec.name}-data`),
            },
            spec.name,
        );
        const own = {
            parent: this,
            protect,
            retainOnDelete: scope.protect,
            // nothing that a configuration says may ever replace what holds the data
            ignoreChanges: ["availabilityZone", "snapshotId", "encrypted", "kmsKeyId"],
        };
        return new aws.ebs.Volume(`${this.prefix}-data`, args, pulumi.mergeOptions(own, opts));
    }

    /** Everything that a node is given and others must not see; it fetches it as its own role. */
    private makeSecret(
        name: pulumi.Output<string>,
        secrets: pulumi.Input<NodeSecrets>,
    ): aws.secretsmanager.SecretVersion {
        const { scope } = this.around;
        const secret = new aws.secretsmanager.Secret(
            this.prefix,
            {
                name,
                description: `Configuration of ${this.args.spec.host}`,
                ...given({ kmsKeyId: scope.aws.kmsKeyId }),
                // all of it is in the stack's state: a name that comes back must be free
                recoveryWindowInDays: 0,
                tags: this.tags(this.args.spec.name),
            },
            { parent: this },
        );
        return new aws.secretsmanager.SecretVersion(
            this.prefix,
            {
                secretId: secret.id,
                secretString: pulumi.secret(
                    pulumi
                        .output(secrets)
                        .apply(({ configuration, restore, own }) =>
                            JSON.stringify({ configuration: nodeFiles(configuration), restore, own }),
                        ),
                ),
            },
            { parent: this },
        );
    }

    private makeInstance(secretName: pulumi.Output<string>, after: pulumi.Input<pulumi.Resource[]>): aws.ec2.Instance {
        const { scope, subnets, securityGroupId, models, placementGroup, ready } = this.around;
        const { spec, machine } = this.args;
        const model = models[spec.role];
        const { kmsKeyId } = scope.aws;
        const userData = pulumi
            .all([model.launcher, this.volume.id, secretName])
            .apply(([launcher, volumeId, secret]) =>
                renderUserData({ node: spec.name, role: spec.role, volumeId, secret }, launcher),
            );
        const { args, opts } = transformed<aws.ec2.InstanceArgs>(
            this.around.transform?.instance,
            {
                ami: model.ami,
                ...given({ instanceType: machine.instanceType }),
                // a machine follows its volume
                subnetId: pulumi
                    .all([this.volume.availabilityZone, subnets])
                    .apply(([zone, all]) => subnetIn(zone, spec.name, all)),
                vpcSecurityGroupIds: [securityGroupId],
                associatePublicIpAddress: false,
                iamInstanceProfile: model.role.profile,
                metadataOptions: {
                    httpEndpoint: "enabled",
                    httpTokens: "required",
                    httpPutResponseHopLimit: 1,
                    instanceMetadataTags: "enabled",
                },
                rootBlockDevice: {
                    volumeType: "gp3",
                    volumeSize: ROOT_SIZE,
                    encrypted: true,
                    ...given({ kmsKeyId }),
                    deleteOnTermination: true,
                    tags: this.tags(`${spec.name}-root`),
                },
                maintenanceOptions: { autoRecovery: "default" },
                // pulumi may end it, and nobody else by mistake
                disableApiTermination: true,
                forceDestroy: true,
                ...(placementGroup === undefined ? {} : { placementGroup }),
                userData,
                userDataReplaceOnChange: true,
                tags: pulumi
                    .all([this.tags(spec.name), model.hash])
                    .apply(([tags, hash]) => ({ ...tags, [MACHINE_TAG]: hash })),
            },
            spec.name,
        );
        const own = {
            parent: this,
            // the disk can be attached to one machine only
            deleteBeforeReplace: true,
            replaceOnChanges: ["instanceType"],
            dependsOn: pulumi.output(after).apply((resources) => [...ready, ...resources]),
        };
        return new aws.ec2.Instance(this.prefix, args, pulumi.mergeOptions(own, opts));
    }
}

/** Without what is not set. */
function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
        [K in keyof T]?: Exclude<T[K], undefined>;
    };
}
