/**
 * Running the node scripts on a node, wherever it is: in a container by Docker's API, on a machine by SSM RunCommand.
 * Who asks does not know which it is.
 */

import type { CommandResult, DockerShell, Preparation, ScriptInput, Shell, SsmShell } from "../node/reach.ts";
import { NODE_SCRIPTS } from "../node/settings.ts";
import { packFiles } from "../util/tar.ts";
import { loaded } from "./aws/packages.ts";
import { dockerEngine, execute, lastLog } from "./docker/engine.ts";
import { withHelper } from "./docker/helper.ts";

const ssm = () => loaded(import("./aws/ssm.ts"));

/** Runs one of the node scripts, such as `["backup.sh", "full"]`, as the user postgres. */
export async function runScript(
    shell: Shell,
    [script = "", ...args]: readonly string[],
    input: ScriptInput = {},
): Promise<CommandResult> {
    if (shell.kind === "ssm") return (await ssm()).runScript(shell, script, args, input);
    const files = { ...input.files, ...input.secrets?.files };
    const sends = input.files !== undefined || input.secrets !== undefined;
    return execute(
        dockerEngine(shell.engine),
        shell.container,
        [`${NODE_SCRIPTS}/${script}`, ...args],
        sends ? await packFiles(files) : undefined,
    );
}

/**
 * How long a server may take to end, in seconds: what its memory holds goes to disk first, at 25 MB a second where the disk
 * is slow. One that is killed instead replays its WAL at its next start.
 * @param memory of the node in MiB; a quarter of it is the buffers that are written
 */
export const graceSeconds = (memory: number): number => Math.max(60, Math.ceil(memory / 4 / 25));

/** How long the server in a container may take to end, in seconds. */
const graceOf = ({ engine, container }: DockerShell): Promise<number> =>
    dockerEngine(engine)
        .getContainer(container)
        .inspect()
        .then(
            ({ HostConfig }) => graceSeconds((HostConfig.Memory ?? 0) / 1024 ** 2),
            () => graceSeconds(0),
        );

/**
 * Restarts the node's PostgreSQL. In a container the server alone is restarted, so that the connection pool beside it and
 * its clients stay. Where that can't be, the container is.
 */
export async function restartServer(shell: Shell): Promise<void> {
    if (shell.kind === "docker") {
        const { code } = await runScript(shell, ["restart.sh", String(await graceOf(shell))]);
        if (code === 0) return;
    }
    await service(shell, "restart");
}

/** Starts, stops or restarts the node's PostgreSQL: the container, or the machine's service. */
export async function service(shell: Shell, action: "start" | "stop" | "restart"): Promise<void> {
    if (shell.kind === "ssm") return (await ssm()).service(shell, action);
    const container = dockerEngine(shell.engine).getContainer(shell.container);
    const t = action === "start" ? 0 : await graceOf(shell);
    if (action === "restart") return container.restart({ t });
    const done = (error: { statusCode?: number }) => {
        // gone, or as wanted already
        if (error.statusCode !== 404 && error.statusCode !== 304) throw error;
    };
    return action === "stop" ? container.stop({ t }).catch(done) : container.start().catch(done);
}

/** How often the engine started a container again by itself; undefined where nobody counts. */
export async function restartsOf(shell: Shell): Promise<number | undefined> {
    if (shell.kind === "ssm") return undefined;
    return dockerEngine(shell.engine)
        .getContainer(shell.container)
        .inspect()
        .then(
            ({ RestartCount }) => RestartCount,
            () => undefined,
        );
}

/** Whether a command met a container whose server ends as soon as it is started. */
export async function isLooping(shell: Shell, error: unknown): Promise<boolean> {
    if (shell.kind === "ssm" || (error as { statusCode?: number }).statusCode !== 409) return false;
    return dockerEngine(shell.engine)
        .getContainer(shell.container)
        .inspect()
        .then(
            ({ State, RestartCount }) => State.Restarting || (State.Running && !State.Paused && RestartCount > 0),
            () => false,
        );
}

/**
 * Works on a node's files while its server is stopped, and starts it again whatever happens. A container that ends as soon as
 * it is started takes no command, so a helper on the same volumes does.
 */
export async function whileStopped<T>(shell: Shell, use: (shell: Shell) => Promise<T>): Promise<T> {
    await service(shell, "stop");
    try {
        if (shell.kind === "ssm") return await use(shell);
        const docker = dockerEngine(shell.engine);
        const { Image, Mounts, HostConfig } = await docker.getContainer(shell.container).inspect();
        const mounts = Mounts.flatMap(({ Name, Destination, RW }) =>
            Name === undefined ? [] : [{ volume: Name, path: Destination, readOnly: !RW }],
        );
        const memory = HostConfig.Memory ? { memory: Math.floor(HostConfig.Memory / 1024 ** 2) } : {};
        return await withHelper(docker, { image: Image, mounts, ...memory, host: shell.engine }, (container) =>
            use({ ...shell, container }),
        );
    } finally {
        await service(shell, "start");
    }
}

/** Whether a machine answers and its service is stopped. */
export async function isStopped(shell: SsmShell): Promise<boolean> {
    return (await ssm()).isStopped(shell);
}

/** The last lines the node wrote, for an error. */
export async function lastWords(shell: Shell): Promise<string> {
    if (shell.kind === "ssm") return (await ssm()).lastWords(shell);
    return lastLog(dockerEngine(shell.engine), shell.container);
}

/** Ends when the machine can be given commands and has what it must have; a container has from its first moment. */
export async function prepare(shell: Shell, wanted: Preparation, report: (text: string) => void): Promise<void> {
    if (shell.kind === "ssm") await (await ssm()).prepare(shell, wanted, report);
}
