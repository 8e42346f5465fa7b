/**
 * Settles a group of tenants in a process of its own, so that it can be killed: `node test/settleTenants.ts`, with what
 * {@link settleApart} writes to its standard input.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import type { GroupSpec } from "../components/tenants/spec.ts";
import type { Outputs } from "../scripts/lib/project.ts";
import { publishedAccess, type TestStack } from "./lib.ts";
import { settle } from "./tenants.ts";

interface Given {
    readonly name: string;
    readonly outputs: Outputs;
    readonly group: GroupSpec;
}

/** Begins what `settle` does, in another process. */
export async function settleApart(stack: TestStack, group: GroupSpec): Promise<ChildProcess> {
    const given: Given = { name: stack.name, outputs: await stack.outputs(), group };
    const child = spawn(process.execPath, ["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", import.meta.filename], {
        stdio: ["pipe", "inherit", "inherit"],
    });
    child.stdin?.end(JSON.stringify(given));
    return child;
}

if (process.argv[1] === import.meta.filename) {
    const { name, outputs, group } = JSON.parse(await text(process.stdin)) as Given;
    const stack = {
        name,
        outputs: async () => outputs,
        access: async (node = "coordinator") => publishedAccess(outputs, node),
        container: (node: string) => node,
    };
    await settle(stack as unknown as TestStack, group);
}
