/** What a node is made from, whatever the platform. */

import type * as pulumi from "@pulumi/pulumi";
import type { Settings } from "../../core/node/settings.ts";
import type { NodeSpec } from "../../core/node/topology.ts";
import type { MachineArgs } from "../config/index.ts";
import type { NodeCertificate } from "./security.ts";

/** What a machine has. */
export interface Size {
    /** MiB. */
    readonly memory: number;
    readonly cores: number;
}

/** One node, before there is a machine. */
export interface NodeArgs {
    readonly spec: NodeSpec;
    readonly machine: MachineArgs;
    /** What the machine has; on aws what EC2 says of its type. */
    readonly size: pulumi.Input<Size>;
    readonly settings: pulumi.Input<Settings>;
    readonly certificate: NodeCertificate;
    /** Whether what holds its data may not be deleted. */
    readonly protect: boolean;
}
