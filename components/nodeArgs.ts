/** What a node is made from, whatever the platform. */
import type { MachineArgs } from "./config.ts";
import type { NodeCertificate } from "./security.ts";
import type { Settings } from "./settings.ts";
import type { NodeSpec } from "./topology.ts";

/** One node, before there is a machine. */
export interface NodeArgs {
    readonly spec: NodeSpec;
    readonly machine: MachineArgs;
    readonly settings: Settings;
    readonly certificate: NodeCertificate;
    /** Whether what holds its data may not be deleted. */
    readonly protect: boolean;
}
