/** What the selected stack's state holds. */
import { SIGNATURE } from "../../provider/secrets.ts";
import { askPulumi } from "./project.ts";

export interface StateResource {
    readonly urn: string;
    readonly type: string;
    readonly parent?: string;
    readonly provider?: string;
    readonly dependencies?: readonly string[];
    readonly outputs?: Readonly<Record<string, unknown>>;
    readonly protect?: boolean;
    /** Whether what it stands for stays when it is deleted from the state. */
    readonly retainOnDelete?: boolean;
}

/** What a marked secret holds, where it was exported in the clear. */
function inTheClear(_key: string, value: unknown): unknown {
    if (value === null || typeof value !== "object" || !(SIGNATURE in value)) return value;
    const { plaintext } = value as { plaintext?: string };
    return plaintext === undefined ? value : JSON.parse(plaintext);
}

/** Every resource in what `pulumi stack export` printed. Pure. */
export function parseState(exported: string): StateResource[] {
    const state = JSON.parse(exported, inTheClear) as { deployment?: { resources?: StateResource[] } };
    return state.deployment?.resources ?? [];
}

/**
 * Every resource in the selected stack's state; none when no stack is selected.
 * @param secrets with secrets in the clear. @default false
 * @throws NoAnswer
 */
export async function readResources(secrets = false): Promise<StateResource[]> {
    const exported = await askPulumi("stack", "export", ...(secrets ? ["--show-secrets"] : []));
    return exported === undefined ? [] : parseState(exported);
}

/**
 * A state of before there was a provider of our own is not gone on with: its resources would be made a second time.
 * @throws Error saying what to do
 */
export function refuseOldState(resources: readonly StateResource[]): void {
    const old = resources.filter(({ type }) => type.startsWith("pulumi-nodejs:dynamic/citus:"));
    if (old.length === 0) return;
    throw new Error(
        `This stack was made by a version before this one: ${old.length} of its resources, such as ${old[0]?.type}, are of a kind that there is no more.\n` +
            "Nothing was changed, and the cluster runs on as it is. To go on with it, use the version that made it.\n" +
            "To have it made by this version: with the version that made it write its data out (npm run dump) and take it down (npm run down), then npm start with this one.",
    );
}

/** The cluster's name as its data is kept under; undefined when there is none. */
export function clusterName(resources: readonly StateResource[]): string | undefined {
    return resources.find((r) => r.type === "citus-clusters:index:Identity")?.outputs?.name as string | undefined;
}

/** What the state has of the cluster's only resource of one kind, such as `NodeImage`; undefined when there is none. */
export const outputsOf = (resources: readonly StateResource[], kind: string) =>
    resources.find(({ type }) => type === `citus-clusters:index:${kind}`)?.outputs;

/** The stack's random id, which labels everything it made; also what a killed run left behind. */
export function clusterId(resources: readonly StateResource[]): string | undefined {
    return resources.find((r) => r.type === "random:index/randomId:RandomId")?.outputs?.hex as string | undefined;
}
