/** What a node is made from, whatever the platform. */

import type { Settings } from "../../core/node/settings.ts";
import type { NodeSpec } from "../../core/node/topology.ts";
import type { MachineArgs } from "../config/index.ts";
import type { NodeCertificate } from "./security.ts";

/** One node, before there is a machine. */
export interface NodeArgs {
    readonly spec: NodeSpec;
    readonly machine: MachineArgs;
    readonly settings: Settings;
    readonly certificate: NodeCertificate;
    /** Whether what holds its data may not be deleted. */
    readonly protect: boolean;
}
