/**
 * Settles a group of tenants in a process of its own, so that it can be killed: `node test/settleTenants.ts`, with what
 * {@link settleApart} writes to its standard input.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { FACETS } from "../core/tenants/facets.ts";
import type { GroupSpec } from "../core/tenants/group/spec.ts";
import type { Outputs } from "../scripts/lib/project.ts";
import { publishedAccess, type TestStack } from "./lib.ts";
import { settle } from "./tenants.ts";

interface Given {
    readonly name: string;
    /** The stack's folder. */
    readonly dir: string;
    readonly outputs: Outputs;
    /** Full names of the nodes' containers. */
    readonly containers: Readonly<Record<string, string>>;
    readonly group: GroupSpec;
    readonly files: Readonly<Record<string, string>>;
    /** Names of facets. */
    readonly only?: readonly string[];
}

/**
 * Begins what `settle` does, in another process.
 * @param only names of facets. @default all of the group's model
 */
export async function settleApart(
    stack: TestStack,
    group: GroupSpec,
    files: Readonly<Record<string, string>> = {},
    only?: readonly string[],
): Promise<ChildProcess> {
    const outputs = await stack.outputs();
    const nodes = ["coordinator", ...outputs.workers.map(({ name }) => name)];
    const containers = Object.fromEntries(nodes.map((node) => [node, stack.container(node)]));
    const given: Given = {
        name: stack.name,
        dir: stack.dir,
        outputs,
        containers,
        group,
        files,
        ...(only ? { only } : {}),
    };
    const child = spawn(process.execPath, [import.meta.filename], {
        stdio: ["pipe", "inherit", "inherit"],
    });
    child.stdin?.end(JSON.stringify(given));
    return child;
}

if (process.argv[1] === import.meta.filename) {
    const { name, dir, outputs, containers, group, files, only } = JSON.parse(await text(process.stdin)) as Given;
    const stack = {
        name,
        dir,
        outputs: async () => outputs,
        access: async (node = "coordinator") => publishedAccess(outputs, node),
        container: (node: string) => containers[node],
    };
    const facets = FACETS[group.model].filter((facet) => !only || only.includes(facet.name));
    await settle(stack as unknown as TestStack, group, files, facets);
}
