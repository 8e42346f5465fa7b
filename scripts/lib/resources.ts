/** What the selected stack's state holds. */
import { readPulumi } from "./project.ts";

export interface StateResource {
    readonly urn: string;
    readonly type: string;
    readonly parent?: string;
    readonly provider?: string;
    readonly dependencies?: readonly string[];
    readonly outputs?: Readonly<Record<string, unknown>>;
    readonly protect?: boolean;
}

/** Every resource in the selected stack's state. */
export async function readResources(): Promise<StateResource[]> {
    const { stdout, code } = await readPulumi(["stack", "export"]);
    if (code !== 0) return [];
    const state = JSON.parse(stdout) as { deployment?: { resources?: StateResource[] } };
    return state.deployment?.resources ?? [];
}

/** The stack's random id, which labels everything it made; also what a killed run left behind. */
export function clusterId(resources: readonly StateResource[]): string | undefined {
    return resources.find((r) => r.type === "random:index/randomId:RandomId")?.outputs?.hex as string | undefined;
}
