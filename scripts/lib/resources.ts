/** What the selected stack's state holds. */
import { readPulumi } from "./project.ts";

interface State {
    deployment?: { resources?: { type: string; outputs?: Record<string, unknown>; protect?: boolean }[] };
}

export type Resources = NonNullable<NonNullable<State["deployment"]>["resources"]>;

export async function readResources(): Promise<Resources> {
    const { stdout, code } = await readPulumi(["stack", "export"]);
    return code === 0 ? ((JSON.parse(stdout) as State).deployment?.resources ?? []) : [];
}

/** The stack's random id, which labels everything it made; also what a killed run left behind. */
export function clusterId(resources: Resources): string | undefined {
    return resources.find((r) => r.type === "random:index/randomId:RandomId")?.outputs?.hex as string | undefined;
}
