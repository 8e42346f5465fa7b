/** The selected stack's nodes: how its resources reach them, as its state has it. */

import type { Access, CommandResult, ScriptInput, Shell } from "../../core/node/reach.ts";
import { resolveEngine } from "../../core/reach/docker/context.ts";
import { runScript } from "../../core/reach/run.ts";
import type { StateResource } from "./resources.ts";

export interface StackNode {
    readonly name: string;
    /** How scripts are run on it. */
    readonly shell: Shell;
    /** How SQL reaches it; undefined while it is not registered. */
    readonly access?: Access;
    /** Id of the container or machine that it is now. */
    readonly machine: string;
    /** Version of the machine's own secret; empty in a container. */
    readonly secretVersion: string;
}

/** A state of before there were shells names the container. */
function shellOf(outputs: Readonly<Record<string, unknown>>): Shell | undefined {
    if (outputs.shell !== undefined) return outputs.shell as Shell;
    if (typeof outputs.container !== "string") return undefined;
    return { kind: "docker", engine: String(outputs.dockerHost ?? ""), container: outputs.container };
}

/** @param resources of the state, with secrets in the clear where an access is asked for */
export function nodesOf(resources: readonly StateResource[]): Map<string, StackNode> {
    const of = (kind: string) => resources.filter(({ type }) => type === `citus-clusters:index:${kind}`);
    const accesses = new Map(of("Member").map(({ outputs }) => [outputs?.name, outputs?.access as Access | undefined]));
    const nodes = of("Configuration").flatMap(({ outputs }): StackNode[] => {
        const shell = outputs && shellOf(outputs);
        if (typeof outputs?.name !== "string" || shell === undefined) return [];
        const access = accesses.get(outputs.name);
        const machine = String(outputs.machine ?? "");
        const secretVersion = String(outputs.secretVersion ?? "");
        return [
            {
                name: outputs.name,
                shell,
                machine,
                secretVersion,
                ...(access ? { access } : {}),
            },
        ];
    });
    return new Map(
        nodes.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true })).map((node) => [node.name, node]),
    );
}

const NO_ENGINE = ["ENOENT", "ECONNREFUSED", "EACCES", "ENOTFOUND", "ETIMEDOUT"];

/** Why a node can't be asked, in words. */
function reason(shell: Shell, error: NodeJS.ErrnoException): string {
    if (shell.kind === "docker" && NO_ENGINE.includes(error.code ?? ""))
        return `no Docker engine answers at ${shell.engine || resolveEngine().address}`;
    return shell.kind === "docker" && /is not running|is paused|no such container/i.test(error.message)
        ? "its container is not running"
        : error.message;
}

/** Runs a node script on a node; what can't be run says why, like one that failed. */
export async function onNode(
    node: StackNode,
    words: readonly string[],
    input: ScriptInput = {},
): Promise<CommandResult> {
    return runScript(node.shell, words, input).catch((error: Error) => ({
        code: -1,
        stdout: "",
        stderr: reason(node.shell, error),
    }));
}
