/** A machine reached by SSM RunCommand: no port is open, and no command's text holds a secret. */
import { randomBytes } from "node:crypto";
import { gunzipSync } from "node:zlib";
import {
    DescribeInstanceInformationCommand,
    GetCommandInvocationCommand,
    type GetCommandInvocationCommandOutput,
    type InstanceInformation,
    SendCommandCommand,
    type SendCommandCommandInput,
    SSMClient,
} from "@aws-sdk/client-ssm";
import type { CommandResult, Preparation, ScriptInput, SsmShell } from "../../node/reach.ts";
import { NODE_HOME, NODE_SCRIPTS } from "../../node/settings.ts";
import { pause } from "../../util/pause.ts";
import { packFiles } from "../../util/tar.ts";
import { RelayStream } from "./relay.ts";
import {
    closeCommand,
    endCommand,
    exchangeCommand,
    getCommand,
    parseAnswer,
    parseExchange,
    parsePart,
    putCommands,
    runCommand,
} from "./remote.ts";

/** A backup of a big node takes hours; SSM's own limit is two days, in seconds. */
const LONGEST = 172_800;
/** How long a machine may take to be there and booted, in milliseconds: packages are installed meanwhile. */
const BOOTED_WITHIN = 900_000;

const clients = new Map<string, SSMClient>();

/** @param maxAttempts of one request. @default 6 */
function clientFor({ region, profile }: SsmShell, maxAttempts = 6): SSMClient {
    const key = `${region} ${profile} ${maxAttempts}`;
    let client = clients.get(key);
    if (!client) {
        client = new SSMClient({ region, maxAttempts, ...(profile === "" ? {} : { profile }) });
        clients.set(key, client);
    }
    return client;
}

/** A command that may have been taken is not sent again: it would run twice. Only what was refused is. */
async function sendOnce(shell: SsmShell, input: SendCommandCommandInput): Promise<string> {
    for (let attempt = 1; ; attempt++) {
        try {
            return (await clientFor(shell, 1).send(new SendCommandCommand(input))).Command?.CommandId ?? "";
        } catch (error) {
            if (!/Throttl|TooManyRequests|RateExceeded/.test((error as Error).name) || attempt >= 8) throw error;
            await pause(200 * 2 ** attempt);
        }
    }
}

/** Which machine a node is, until told otherwise. */
const machines = new Map<string, string>();
const keyOf = (shell: SsmShell) => `${shell.region} ${shell.clusterId} ${shell.node}`;

async function listOnline(shell: SsmShell, nodes: readonly string[] = [shell.node]): Promise<InstanceInformation[]> {
    const found: InstanceInformation[] = [];
    let NextToken: string | undefined;
    do {
        const page = await clientFor(shell).send(
            new DescribeInstanceInformationCommand({
                Filters: [
                    { Key: "tag:citus-cluster-id", Values: [shell.clusterId] },
                    { Key: "tag:citus-node", Values: [...nodes] },
                ],
                ...(NextToken === undefined ? {} : { NextToken }),
            }),
        );
        found.push(...(page.InstanceInformationList ?? []));
        NextToken = page.NextToken;
    } while (NextToken !== undefined && NextToken !== "");
    const seen = (one: InstanceInformation) => one.LastPingDateTime?.getTime() ?? 0;
    // one that was ended a moment ago is still listed: whoever was heard of last comes first
    return found.filter((one) => one.PingStatus === "Online").sort((a, b) => seen(b) - seen(a));
}

/** What a person is told when a machine can't be reached. */
export class Unreachable extends Error {}

const explain = (shell: SsmShell, why: string) =>
    new Unreachable(
        `${shell.node}: its machine can't be reached through SSM in ${shell.region}\n  ${why}\n` +
            `Look at it with: aws ssm describe-instance-information --region ${shell.region}\n` +
            "Usual causes: its role, its route to SSM's endpoints, its SSM agent.",
    );

/** The machines that may be the node, the likeliest first. */
async function candidates(shell: SsmShell): Promise<string[]> {
    const known = machines.get(keyOf(shell));
    if (known !== undefined) return [known];
    const found = (await listOnline(shell)).flatMap(({ InstanceId }) => (InstanceId === undefined ? [] : [InstanceId]));
    if (found.length === 0) throw explain(shell, "no machine of that name is online");
    return found;
}

/** Whether the node's machine can be given commands now. */
export async function isOnline(shell: SsmShell): Promise<boolean> {
    return listOnline(shell).then(
        (found) => found.length > 0,
        () => false,
    );
}

/** As many values as a filter may have. */
const MOST_VALUES = 40;

/** Ids of the machines of these nodes of the shell's cluster that can be given commands now. */
export async function onlineMachines(shell: SsmShell, nodes: readonly string[]): Promise<string[]> {
    const found: string[] = [];
    for (let at = 0; at < nodes.length; at += MOST_VALUES)
        for (const { InstanceId } of await listOnline(shell, nodes.slice(at, at + MOST_VALUES)))
            if (InstanceId !== undefined) found.push(InstanceId);
    return found;
}

/** How often it is asked whether the machine that runs a command is still there, in milliseconds. */
const STILL_THERE = 15_000;

/** AWS said no, so nothing ran; anything else may have been an answer that was lost. */
const REFUSED =
    /^(Invalid|Unsupported|MaxDocument|AccessDenied|Unrecognized|ExpiredToken|Credentials|Throttl|TooManyRequests|Validation|DuplicateInstanceId)/;

const ENDED = ["Success", "Failed", "Cancelled", "TimedOut"];

interface Sent {
    readonly status: string;
    readonly stdout: string;
    readonly stderr: string;
}

async function send(shell: SsmShell, machine: string, commands: readonly string[], comment: string): Promise<Sent> {
    const client = clientFor(shell);
    const CommandId = await sendOnce(shell, {
        DocumentName: "AWS-RunShellScript",
        InstanceIds: [machine],
        Comment: comment.slice(0, 100),
        Parameters: { commands: [...commands], executionTimeout: [String(LONGEST)] },
    }).catch((error: Error) => {
        if (REFUSED.test(error.name)) throw error;
        throw explain(
            shell,
            `${error.message || error.name}. It is not known whether "${comment}" was run. Look before you repeat what must not happen twice.`,
        );
    });
    let asked = Date.now();
    for (let wait = 100; ; wait = Math.min(wait * 1.4, 3000)) {
        await pause(wait);
        const found: GetCommandInvocationCommandOutput | undefined = await client
            .send(new GetCommandInvocationCommand({ CommandId, InstanceId: machine }))
            .catch((error: Error) => {
                // known a moment after it was sent
                if (error.name === "InvocationDoesNotExist") return undefined;
                throw error;
            });
        if (found?.Status !== undefined && ENDED.includes(found.Status)) {
            return {
                status: found.Status,
                stdout: found.StandardOutputContent ?? "",
                stderr: found.StandardErrorContent ?? "",
            };
        }
        if (Date.now() - asked < STILL_THERE) continue;
        asked = Date.now();
        // a command on a machine that went away would be waited for until its own end of time
        if (!(await listOnline(shell)).some(({ InstanceId }) => InstanceId === machine))
            throw explain(
                shell,
                `${machine} went away while it ran "${comment}". It is not known whether that finished.`,
            );
    }
}

/** Sends commands to whichever machine the node is now. */
async function command(shell: SsmShell, commands: readonly string[], comment: string): Promise<Sent> {
    const remembered = machines.has(keyOf(shell));
    let last: unknown;
    for (const machine of await candidates(shell)) {
        try {
            const sent = await send(shell, machine, commands, comment);
            machines.set(keyOf(shell), machine);
            return sent;
        } catch (error) {
            machines.delete(keyOf(shell));
            // not delivered: that machine is gone
            if ((error as Error).name !== "InvalidInstanceId") throw describe(shell, error);
            last = error;
        }
    }
    if (remembered) return command(shell, commands, comment);
    throw describe(shell, last);
}

const describe = (shell: SsmShell, error: unknown) =>
    error instanceof Unreachable ? error : explain(shell, `${(error as Error).name}: ${(error as Error).message}`);

const newId = () => randomBytes(8).toString("hex");

/** The rest of an output that did not fit into the answer. */
async function rest(shell: SsmShell, id: string, stream: "out" | "err", got: Buffer, size: number): Promise<Buffer> {
    const parts = [got];
    for (let have = got.length; have < size; ) {
        const part = parsePart(
            (await command(shell, [getCommand(id, stream, have)], `output of ${shell.node}`)).stdout,
        );
        if (part.length === 0) throw explain(shell, `its output ended after ${have} of ${size} bytes`);
        parts.push(part);
        have += part.length;
    }
    return Buffer.concat(parts);
}

async function run(shell: SsmShell, words: readonly string[], group: string, input?: Buffer): Promise<CommandResult> {
    const id = newId();
    const puts = input === undefined ? [] : putCommands(id, input);
    const last = puts.pop();
    for (const put of puts) await command(shell, [put], `input for ${words[0]}`);
    const sent = await command(
        shell,
        [...(last === undefined ? [] : [last]), runCommand(id, group, words)],
        `${words[0]} on ${shell.node}`,
    );
    const answer = parseAnswer(sent.stdout);
    if (!answer)
        throw explain(
            shell,
            `${words[0]} did not answer (${sent.status}): ${(sent.stderr || sent.stdout).trim().slice(-600)}`,
        );
    const stdout = await rest(shell, id, "out", answer.stdout, answer.out);
    const stderr = await rest(shell, id, "err", answer.stderr, answer.err);
    if (stdout.length > answer.stdout.length || stderr.length > answer.stderr.length)
        await command(shell, [endCommand(id)], `end of ${words[0]}`);
    const text = (bytes: Buffer, packed: boolean) => (packed ? gunzipSync(bytes) : bytes).toString("utf8");
    return { code: answer.code, stdout: text(stdout, answer.outPacked), stderr: text(stderr, answer.errPacked) };
}

/** @see runScript of core/reach/run.ts */
export async function runScript(
    shell: SsmShell,
    script: string,
    args: readonly string[],
    input: ScriptInput,
): Promise<CommandResult> {
    const { secrets, files } = input;
    const group = secrets === undefined ? "-" : `${secrets.group}:${secrets.version}`;
    return run(shell, [script, ...args], group, files === undefined ? undefined : await packFiles(files));
}

async function asRoot(shell: SsmShell, words: readonly string[]): Promise<CommandResult> {
    const result = await run(shell, words, "-");
    if (result.code !== 0) throw new Error(`${shell.node}: ${result.stderr.trim() || `${words[0]} failed`}`);
    return result;
}

export async function service(shell: SsmShell, action: "start" | "stop" | "restart"): Promise<void> {
    await asRoot(shell, ["!service.sh", action]);
}

export async function isStopped(shell: SsmShell): Promise<boolean> {
    if (!(await isOnline(shell))) return false;
    return run(shell, ["!service.sh", "status"], "-").then(
        ({ code, stdout }) => code !== 0 && /^(inactive|failed)/.test(stdout),
        () => false,
    );
}

export async function lastWords(shell: SsmShell): Promise<string> {
    return (await asRoot(shell, ["!service.sh", "log"])).stdout;
}

/** @param lines 1 to 9999 */
export async function lastLines(shell: SsmShell, lines: number): Promise<string> {
    return (await asRoot(shell, ["!service.sh", "log", String(lines)])).stdout;
}

/** Whether it has booted to where it waits for its configuration; its last words when not. */
const BOOTED = [
    `test -x ${NODE_SCRIPTS}/aws/remote.sh && systemctl is-enabled --quiet citus-node.service && mountpoint -q ${NODE_HOME} || ` +
        "{ tail -n 20 /var/log/cloud-init-output.log >&2; exit 1; }",
];

/** Ends when exactly this machine is online, has booted, and has what it must have. */
export async function prepare(
    shell: SsmShell,
    { machine, bundle, volumeSize, metrics }: Preparation,
    report: (text: string) => void,
): Promise<void> {
    const end = Date.now() + BOOTED_WITHIN;
    const minutes = BOOTED_WITHIN / 60_000;
    while (!(await listOnline(shell)).some((one) => one.InstanceId === machine)) {
        if (Date.now() > end) throw explain(shell, `${machine} did not come online within ${minutes} minutes`);
        report(`waiting for ${shell.node}'s machine to be online (${machine})`);
        await pause(1000);
    }
    machines.set(keyOf(shell), machine);
    for (;;) {
        const booted = await command(shell, BOOTED, `boot of ${shell.node}`);
        if (booted.status === "Success") break;
        const said = booted.stderr.trim();
        if (Date.now() > end)
            throw new Error(
                `${shell.node}: its machine (${machine}) did not boot within ${minutes} minutes. Its last words:\n${said}\n` +
                    "It tries again by itself, and its whole log is /var/log/cloud-init-output.log. Remove the cause, then run pulumi up again: it goes on from here.",
            );
        report(`waiting for ${shell.node} to boot: ${said.split("\n").at(-1) ?? ""}`);
        await pause(1000);
    }
    if (bundle !== "") await asRoot(shell, ["!bundle.sh", bundle]);
    if (volumeSize !== undefined && volumeSize > 0) await asRoot(shell, ["!disk.sh", "grow", String(volumeSize)]);
    if (metrics !== undefined) await asRoot(shell, ["!metrics.sh", metrics ? "on" : "off"]);
}

export async function openRelay(shell: SsmShell): Promise<RelayStream> {
    const id = newId();
    let opened = false;
    return new RelayStream({
        exchange: async (input, offset) => {
            opened = true;
            const sent = await command(shell, [exchangeCommand(id, input, offset)], `SQL on ${shell.node}`);
            const answer = parseExchange(sent.stdout);
            if (answer) return answer;
            throw explain(shell, `its PostgreSQL can't be reached: ${(sent.stderr || sent.stdout).trim().slice(-600)}`);
        },
        close: async () => {
            if (opened) await command(shell, [closeCommand(id)], `end of SQL on ${shell.node}`);
        },
    });
}
