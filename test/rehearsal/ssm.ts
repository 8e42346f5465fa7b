/**
 * The part of SSM's API that RunCommand needs, as an HTTP server on loopback (AWS_ENDPOINT_URL_SSM): a command runs in
 * the instance's container. As on AWS: an instance is online some time after it has booted, and for a moment after it is
 * gone; a command's invocation is not there at once; output is cut.
 */
import { randomUUID } from "node:crypto";
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { dockerEngine, execute } from "../../core/reach/docker/engine.ts";
import { containerName, factsDir, INSTANCE, type InstanceFacts, REHEARSAL, type Site } from "./site.ts";

/** Characters of an answer's outputs. */
const STDOUT_LIMIT = 24_000;
const STDERR_LIMIT = 8_000;
/** Bytes of a command's parameters: what SSM is known to take, not the most it might. */
const PARAMETERS_LIMIT = 48 * 1024;
const COMMENT_LIMIT = 100;
/** How long an invocation is not there yet, and how long its delivery takes, in milliseconds. */
const INVISIBLE_FOR = 150;
const DELIVERY = 250;
/** How long a machine that stopped is still listed as online, in milliseconds; minutes on AWS. */
const LISTED_FOR = 5_000;
const RUNNER = "/usr/local/lib/instance/ssm-run.sh";

/** Answered as SSM answers what it refuses. */
class Fault extends Error {
    readonly type: string;

    constructor(type: string, message: string) {
        super(message);
        this.type = type;
    }
}

interface Invocation {
    readonly commandId: string;
    readonly instanceId: string;
    readonly document: string;
    readonly comment: string;
    readonly commands: readonly string[];
    readonly requested: number;
    /** Seconds. */
    readonly timeout: number;
    readonly directory: string;
    /** Seconds within which it has to be delivered. */
    readonly deliverWithin: number;
    status: "Pending" | "InProgress" | "Success" | "Failed" | "TimedOut" | "Cancelled";
    details: string;
    code: number;
    stdout: string;
    stderr: string;
    started?: number;
    ended?: number;
}

type Input = Record<string, unknown>;
type Ping = "Online" | "ConnectionLost";

interface Managed {
    readonly facts: InstanceFacts;
    readonly ping: Ping;
    /** Epoch seconds. */
    readonly lastPing: number;
}

export interface SsmServer {
    /** For AWS_ENDPOINT_URL_SSM. */
    readonly url: string;
    /** Every command that was sent, in order. */
    commands(): SentCommand[];
    close(): Promise<void>;
}

export interface SentCommand {
    readonly instance: string;
    readonly commandId: string;
    readonly comment: string;
    readonly text: string;
}

class Ssm {
    private readonly site: Site;
    private readonly log: string;
    private readonly docker = dockerEngine();
    private readonly invocations = new Map<string, Invocation>();
    private closed = false;

    constructor(site: Site) {
        this.site = site;
        this.log = join(site.dir, "ssm.log");
    }

    readonly operations: Record<string, (input: Input) => Promise<object>> = {
        SendCommand: (input) => this.send(input),
        GetCommandInvocation: async (input) => this.describe(this.find(input)),
        CancelCommand: (input) => this.cancel(input),
        DescribeInstanceInformation: (input) => this.list(input),
    };

    close(): void {
        this.closed = true;
    }

    private async send(input: Input): Promise<object> {
        const document = String(input.DocumentName ?? "");
        if (document !== "AWS-RunShellScript") throw new Fault("InvalidDocument", `no document ${document}`);
        const comment = String(input.Comment ?? "");
        if (comment.length > COMMENT_LIMIT)
            throw new Fault("ValidationException", `comment must have length less than or equal to ${COMMENT_LIMIT}`);
        const parameters = (input.Parameters ?? {}) as Record<string, string[]>;
        for (const [name, values] of Object.entries(parameters)) {
            if (!["commands", "executionTimeout", "workingDirectory"].includes(name))
                throw new Fault("InvalidParameters", `${document} has no parameter ${name}`);
            if (!Array.isArray(values) || values.some((value) => typeof value !== "string"))
                throw new Fault("ValidationException", `parameter ${name} is not a list of strings`);
        }
        const commands = parameters.commands ?? [];
        if (commands.length === 0) throw new Fault("InvalidParameters", "commands is required");
        const size = Buffer.byteLength(JSON.stringify(parameters));
        if (size > PARAMETERS_LIMIT)
            throw new Fault("ValidationException", `parameters have ${size} bytes, more than ${PARAMETERS_LIMIT}`);
        const timeout = parameters.executionTimeout?.[0] ?? "3600";
        if (!/^[1-9][0-9]{0,5}$/.test(timeout) || Number(timeout) > 172_800)
            throw new Fault("InvalidParameters", `executionTimeout is ${timeout}`);
        const deliverWithin = Number(input.TimeoutSeconds ?? 3600);
        if (deliverWithin < 30) throw new Fault("ValidationException", "timeoutSeconds must be at least 30");

        const instances = await this.targets(input);
        const commandId = randomUUID();
        const requested = Date.now();
        for (const instanceId of instances) {
            const invocation: Invocation = {
                commandId,
                instanceId,
                document,
                comment,
                commands,
                requested,
                timeout: Number(timeout),
                directory: parameters.workingDirectory?.[0] ?? "",
                deliverWithin,
                status: "Pending",
                details: "Pending",
                code: -1,
                stdout: "",
                stderr: "",
            };
            this.invocations.set(`${commandId} ${instanceId}`, invocation);
            const sent: SentCommand = { instance: instanceId, commandId, comment, text: commands.join("\n") };
            appendFileSync(this.log, `${JSON.stringify(sent)}\n`, { mode: 0o600 });
            void this.deliver(invocation).catch((error: Error) => {
                // the engine's own failure: nothing of the command is known
                Object.assign(invocation, ended("Failed", "Failed", -1, "", `${error}`));
            });
        }
        return {
            Command: {
                CommandId: commandId,
                Comment: comment,
                DocumentName: document,
                InstanceIds: instances,
                Parameters: parameters,
                RequestedDateTime: requested / 1000,
                Status: "Pending",
                StatusDetails: "Pending",
                TargetCount: instances.length,
                TimeoutSeconds: deliverWithin,
            },
        };
    }

    private async targets(input: Input): Promise<string[]> {
        const ids = (input.InstanceIds ?? []) as string[];
        const filters = ((input.Targets ?? []) as { Key: string; Values: string[] }[]).map(({ Key, Values }) => ({
            Key: Key === "InstanceIds" ? "InstanceIds" : Key,
            Values,
        }));
        if (ids.length > 50) throw new Fault("ValidationException", "at most 50 instance ids");
        if (ids.length === 0 && filters.length === 0) throw new Fault("InvalidInstanceId", "no instance is named");
        const all = this.facts().filter((facts) => facts.terminated === undefined);
        if (ids.length === 0)
            return all.filter((facts) => filters.every((one) => matches(facts, one))).map(({ id }) => id);
        for (const id of ids) {
            // one that is not registered yet is as unknown as one that is gone
            const facts = all.find((one) => one.id === id);
            if (!facts || !(await this.managed(facts)))
                throw new Fault("InvalidInstanceId", `[${id}] Instances not in a valid state for account`);
        }
        return ids;
    }

    /** Runs it when the machine's agent takes it. */
    private async deliver(invocation: Invocation): Promise<void> {
        await pause(DELIVERY);
        const until = invocation.requested + invocation.deliverWithin * 1000;
        while (!(await this.agent(invocation.instanceId))) {
            if (this.closed || invocation.status === "Cancelled") return;
            if (Date.now() > until) {
                Object.assign(invocation, ended("TimedOut", "DeliveryTimedOut", -1, "", ""));
                return;
            }
            await pause(500);
        }
        if (invocation.status === "Cancelled") return;
        Object.assign(invocation, { status: "InProgress", details: "InProgress", started: Date.now() });
        const container = containerName(this.site, invocation.instanceId);
        const { commandId, instanceId, timeout, directory } = invocation;
        const command = [RUNNER, "run", commandId, instanceId, this.site.region, String(timeout), directory];
        const text = `${invocation.commands.join("\n")}\n`;
        const result = await execute(this.docker, container, command, text).catch(() => undefined);
        const took = Date.now() - (invocation.started ?? 0);
        if ((invocation.status as Invocation["status"]) === "Cancelled") return;
        if (result === undefined || (result.code === 137 && !(await this.agent(instanceId)))) {
            // the machine went away under it: nobody says how it ended
            const end = invocation.started ?? 0;
            while (!this.closed && Date.now() < end + timeout * 1000) await pause(500);
            Object.assign(invocation, ended("TimedOut", "ExecutionTimedOut", -1, "", ""));
            return;
        }
        const { code, stdout, stderr } = result;
        if (code === 137 && took >= timeout * 1000)
            Object.assign(invocation, ended("TimedOut", "ExecutionTimedOut", 137, stdout, stderr));
        else if (code === 0) Object.assign(invocation, ended("Success", "Success", 0, stdout, stderr));
        else {
            const said = `${stderr}failed to run commands: exit status ${code}`;
            Object.assign(invocation, ended("Failed", "Failed", code, stdout, said));
        }
    }

    private find(input: Input): Invocation {
        const invocation = this.invocations.get(`${input.CommandId} ${input.InstanceId}`);
        if (!invocation || Date.now() - invocation.requested < INVISIBLE_FOR)
            throw new Fault("InvocationDoesNotExist", "");
        return invocation;
    }

    private describe(invocation: Invocation): object {
        const { started, ended: end } = invocation;
        const iso = (time?: number) => (time === undefined ? "" : new Date(time).toISOString());
        const elapsed = started === undefined || end === undefined ? "" : `PT${(end - started) / 1000}S`;
        return {
            CommandId: invocation.commandId,
            InstanceId: invocation.instanceId,
            Comment: invocation.comment,
            DocumentName: invocation.document,
            DocumentVersion: "$DEFAULT",
            PluginName: "aws:runShellScript",
            ResponseCode: invocation.code,
            ExecutionStartDateTime: iso(started),
            ExecutionElapsedTime: elapsed,
            ExecutionEndDateTime: iso(end),
            Status: invocation.status,
            StatusDetails: invocation.details,
            StandardOutputContent: invocation.stdout.slice(0, STDOUT_LIMIT),
            StandardOutputUrl: "",
            StandardErrorContent: invocation.stderr.slice(0, STDERR_LIMIT),
            StandardErrorUrl: "",
        };
    }

    private async cancel(input: Input): Promise<object> {
        const only = (input.InstanceIds ?? []) as string[];
        const found = [...this.invocations.values()].filter(
            (one) => one.commandId === input.CommandId && (only.length === 0 || only.includes(one.instanceId)),
        );
        if (found.length === 0) throw new Fault("InvalidCommandId", "");
        for (const invocation of found) {
            if (invocation.ended !== undefined) continue;
            const runs = invocation.status === "InProgress";
            Object.assign(invocation, ended("Cancelled", "Cancelled", -1, "", ""));
            if (!runs) continue;
            const command = [RUNNER, "cancel", invocation.commandId];
            const killed = await execute(this.docker, containerName(this.site, invocation.instanceId), command);
            if (killed.code !== 0) throw new Error(`cancel: ${killed.stderr}`);
        }
        return {};
    }

    private async list(input: Input): Promise<object> {
        const most = Number(input.MaxResults ?? 10);
        if (most < 5 || most > 50) throw new Fault("ValidationException", "maxResults must be from 5 to 50");
        const filters = (input.Filters ?? []) as { Key: string; Values: string[] }[];
        for (const { Key } of filters)
            if (!/^(tag:.+|tag-key|InstanceIds|PingStatus|PlatformTypes|ResourceType)$/.test(Key))
                throw new Fault("InvalidFilterKey", `${Key} is not a filter`);
        const ofFacts = filters.filter(({ Key }) => Key !== "PingStatus");
        const wanted = this.facts().filter((facts) => ofFacts.every((one) => matches(facts, one)));
        const all = await Promise.all(wanted.map((facts) => this.managed(facts)));
        const pings = filters.filter(({ Key }) => Key === "PingStatus");
        const found = all.filter(
            (one): one is Managed => one !== undefined && pings.every(({ Values }) => Values.includes(one.ping)),
        );
        // the order means nothing, so what is gone may well come first
        found.sort((a, b) => (b.facts.terminated ?? 0) - (a.facts.terminated ?? 0));
        const start = Number(input.NextToken ?? 0);
        const next = start + most;
        return {
            InstanceInformationList: found.slice(start, next).map(({ facts, ping, lastPing }) => ({
                AgentVersion: "3.3.987.0",
                ComputerName: `${facts.hostname}.${facts.region}.compute.internal`,
                InstanceId: facts.id,
                IPAddress: facts.privateIp,
                IsLatestVersion: true,
                LastPingDateTime: lastPing,
                PingStatus: ping,
                PlatformName: "Debian GNU/Linux",
                PlatformType: "Linux",
                PlatformVersion: "13",
                // no RegistrationDate: that is said of servers outside EC2
                ResourceType: "EC2Instance",
            })),
            ...(next < found.length ? { NextToken: String(next) } : {}),
        };
    }

    /** How SSM sees an instance; undefined when it has never heard of it or has forgotten it. */
    private async managed(facts: InstanceFacts): Promise<Managed | undefined> {
        if (facts.terminated !== undefined) {
            const fresh = Date.now() - facts.terminated < LISTED_FOR;
            return fresh ? { facts, ping: "Online", lastPing: facts.terminated / 1000 } : undefined;
        }
        const since = await this.agent(facts.id);
        if (since !== undefined) {
            this.registered.add(facts.id);
            return { facts, ping: "Online", lastPing: Math.floor(Date.now() / 1000) };
        }
        if (!this.registered.has(facts.id)) return undefined;
        const stopped = await this.stopped(facts.id);
        const fresh = stopped !== undefined && Date.now() - stopped < LISTED_FOR;
        return { facts, ping: fresh ? "Online" : "ConnectionLost", lastPing: (stopped ?? Date.now()) / 1000 };
    }

    /** Instances that have been online. */
    private readonly registered = new Set<string>();

    /** Since when the machine's agent takes commands, in epoch seconds; undefined when it does not. */
    private async agent(id: string): Promise<number | undefined> {
        const read = await execute(this.docker, containerName(this.site, id), ["cat", "/run/amazon-ssm-agent"]).catch(
            (error: { statusCode?: number }) => {
                // 404: there is no such container; 409: it does not run
                if (error.statusCode === 404 || error.statusCode === 409) return undefined;
                throw error;
            },
        );
        return read?.code === 0 ? Number(read.stdout) : undefined;
    }

    /** When the machine stopped, in epoch milliseconds. */
    private async stopped(id: string): Promise<number | undefined> {
        const [container] = await this.docker.listContainers({
            all: true,
            filters: { label: [`${REHEARSAL}=${this.site.name}`, `${INSTANCE}=${id}`] },
        });
        if (!container) return undefined;
        const { State } = await this.docker.getContainer(container.Id).inspect();
        return State.Running ? undefined : Date.parse(State.FinishedAt);
    }

    private facts(): InstanceFacts[] {
        return readdirSync(factsDir(this.site))
            .filter((file) => file.endsWith(".json"))
            .map((file) => JSON.parse(readFileSync(join(factsDir(this.site), file), "utf8")) as InstanceFacts);
    }
}

function ended(status: Invocation["status"], details: string, code: number, stdout: string, stderr: string) {
    return { status, details, code, stdout, stderr, ended: Date.now() };
}

function matches(facts: InstanceFacts, { Key, Values }: { Key: string; Values: string[] }): boolean {
    if (Key === "InstanceIds") return Values.includes(facts.id);
    if (Key === "tag-key") return Values.some((key) => facts.tags[key] !== undefined);
    if (Key.startsWith("tag:")) return Values.includes(facts.tags[Key.slice(4)] ?? "");
    return true;
}

async function answer(ssm: Ssm, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const reply = (status: number, body: object) => {
        response.writeHead(status, {
            "content-type": "application/x-amz-json-1.1",
            "x-amzn-requestid": randomUUID(),
        });
        response.end(JSON.stringify(body));
    };
    try {
        const operation = String(request.headers["x-amz-target"] ?? "").replace("AmazonSSM.", "");
        if (!String(request.headers.authorization ?? "").startsWith("AWS4-HMAC-SHA256 Credential="))
            throw new Fault("MissingAuthenticationTokenException", "Missing Authentication Token");
        const run = ssm.operations[operation];
        if (!run) throw new Fault("UnknownOperationException", operation);
        reply(200, await run(JSON.parse(Buffer.concat(chunks).toString("utf8")) as Input));
    } catch (error) {
        if (error instanceof Fault) reply(400, { __type: error.type, message: error.message });
        else reply(500, { __type: "InternalServerError", message: String(error) });
    }
}

export async function startSsm(site: Site): Promise<SsmServer> {
    const ssm = new Ssm(site);
    const log = join(site.dir, "ssm.log");
    appendFileSync(log, "", { mode: 0o600 });
    const server = createServer((request, response) => void answer(ssm, request, response));
    await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(0, "127.0.0.1", resolve);
    });
    return {
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
        commands: () =>
            readFileSync(log, "utf8")
                .split("\n")
                .filter((line) => line !== "")
                .map((line) => JSON.parse(line) as SentCommand),
        close: () => {
            ssm.close();
            server.closeAllConnections();
            return new Promise((resolve) => server.close(() => resolve()));
        },
    };
}
