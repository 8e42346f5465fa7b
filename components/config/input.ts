/** What a program gives a cluster. Types; `args.ts` says of each argument what it means, its default and what a change does. */
import type * as pulumi from "@pulumi/pulumi";
import type { BackupArgs } from "../../core/node/archive.ts";
import type { Overrides } from "../../core/node/settings.ts";
import type { ClusterArgs, CoordinatorArgs, MachineArgs, RebalanceArgs, RestoreFromArgs } from "./args.ts";
import type { AwsArgs, AwsNetworkArgs } from "./awsArgs.ts";
import type { Transforms } from "./transform.ts";

/** Each member may be left out, and some are written otherwise than they are kept. Keeps what is said of each. */
type Given<Args, Otherwise = unknown> = {
    readonly [K in keyof Args]?: K extends keyof Otherwise ? Otherwise[K] : Args[K];
};

/** Memory as PostgreSQL writes it, from "256MB" to "4096GB". */
interface Written {
    memory: string;
}

/** A time span such as "30s", "5m", "6h" or "7d"; false and "off" are never. */
interface Spans {
    full: string;
    diff: string | false;
    incr: string | false;
    restorePoint: string | false;
}

type Value = string | number | boolean;
/** PostgreSQL's settings by name. */
type SettingsInput = { readonly [K in keyof Overrides]: Readonly<Record<string, Value>> };

/** What is an id, a key or a text that is only handed on may come from another resource. */
export type NetworkInput = Given<
    AwsNetworkArgs,
    {
        vpcId: pulumi.Input<string>;
        subnetIds: pulumi.Input<readonly pulumi.Input<string>[]>;
        allowedCidrs: readonly pulumi.Input<string>[];
        allowedSecurityGroups: readonly pulumi.Input<string>[];
    }
>;
export type MachineInput = Given<MachineArgs, Written>;
export type CoordinatorInput = Given<CoordinatorArgs, Written>;
export type RebalanceInput = Given<RebalanceArgs>;
export type BackupInput = Given<BackupArgs, Spans>;
export type RestoreFromInput = Given<RestoreFromArgs, { repository: pulumi.Input<string> }>;

/** Arguments that are written otherwise than they are kept. */
interface Otherwise {
    coordinator: CoordinatorInput;
    worker: MachineInput;
    settings: SettingsInput;
    rebalance: boolean | RebalanceInput;
    backup: boolean | BackupInput;
    backupPassphrase: pulumi.Input<string>;
    restoreFrom: RestoreFromInput;
    restorePassphrase: pulumi.Input<string>;
}

interface AwsOtherwise {
    ami: pulumi.Input<string>;
    network: NetworkInput;
    kmsKeyId: pulumi.Input<string>;
    alarmTopic: pulumi.Input<string>;
    tags: pulumi.Input<Readonly<Record<string, pulumi.Input<string>>>>;
}

/** What only a program can say. */
export interface ProgramArgs {
    /**
     * Changes what the resources of a node are made with, for what no argument says.
     * @default none
     * @change that of the resource: what its arguments do
     * @example { container: (args) => { args.cpuShares = 512; } }
     */
    readonly transform?: Transforms;
    /**
     * File that the CA's certificate is written to, relative to the folder of Pulumi.yaml. `connectionString` then names it.
     * @default none: the certificate is the output `caCertificate`
     * @change in place
     * @example "certificates/orders.crt"
     */
    readonly caFile?: string;
}

/**
 * A cluster as a program asks for it. Everything may be left out, and `new CitusCluster("orders", { workers: 3 })` is a whole
 * one. The names are those of the configuration's keys.
 *
 * What decides which resources there are must be a plain value. What is only handed on to a resource may be an output of another
 * one: `backupPassphrase`, `restorePassphrase`, `restoreFrom.repository`, and on aws `ami`, `kmsKeyId`, `alarmTopic`, `tags`,
 * `network.vpcId`, `network.subnetIds` and the elements of `network.allowedCidrs` and `network.allowedSecurityGroups`.
 * @throws pulumi.InputPropertiesError naming every mistake with its path
 */
export interface ClusterInput
    extends Given<Omit<ClusterArgs, "aws" | "tenantGroups">, Otherwise>,
        Given<AwsArgs, AwsOtherwise>,
        ProgramArgs {}

/** What is only handed on, in place of the plain values of the configuration. */
type WithOutputs<Args, Outputs> = Omit<Args, keyof Outputs> & {
    readonly [K in keyof Args as K extends keyof Outputs ? K : never]: K extends keyof Outputs ? Outputs[K] : never;
};

export type NetworkArgs = WithOutputs<
    AwsNetworkArgs,
    {
        vpcId: pulumi.Input<string>;
        subnetIds: pulumi.Input<readonly pulumi.Input<string>[]>;
        allowedCidrs: readonly pulumi.Input<string>[];
        allowedSecurityGroups: readonly pulumi.Input<string>[];
    }
>;

/** What a cluster has on aws only, as its resources have it. */
export type AwsParts = WithOutputs<AwsArgs, AwsOtherwise & { network: NetworkArgs }>;

export type RestoreFromParts = WithOutputs<RestoreFromArgs, { repository: pulumi.Input<string> }>;

/** A cluster as its resources have it: complete, checked, and with outputs where they may be. */
export type ClusterParts = WithOutputs<
    Omit<ClusterArgs, "tenantGroups">,
    {
        backupPassphrase: pulumi.Input<string>;
        restorePassphrase: pulumi.Input<string>;
        restoreFrom: RestoreFromParts;
        aws: AwsParts;
    }
> &
    ProgramArgs;
