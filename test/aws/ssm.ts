/** Commands of the test's own on a machine, and all that SSM remembers of a machine's commands. */
import {
    GetCommandInvocationCommand,
    paginateListCommandInvocations,
    paginateListCommands,
    SendCommandCommand,
    SSMClient,
    waitUntilCommandExecuted,
} from "@aws-sdk/client-ssm";
import { quote } from "../../core/reach/aws/remote.ts";
import type { Place } from "./admission.ts";

/** Seconds. */
const LONGEST = 300;
const PAGE = 50;

export class Ssm {
    private readonly client: SSMClient;

    constructor({ region, profile }: Place) {
        this.client = new SSMClient({ region, maxAttempts: 10, ...(profile === undefined ? {} : { profile }) });
    }

    /**
     * Runs a bash script as root.
     * @returns what it printed
     * @throws Error with what it said when it failed
     */
    async bash(machine: string, script: string, ...args: readonly string[]): Promise<string> {
        const { client } = this;
        const words = ["bash", "-s", "--", ...args].map(quote).join(" ");
        const { Command } = await client.send(
            new SendCommandCommand({
                DocumentName: "AWS-RunShellScript",
                InstanceIds: [machine],
                Comment: `npm run test:aws: ${args.join(" ")}`.slice(0, 100),
                Parameters: { commands: [`${words} <<'END'\n${script}\nEND`], executionTimeout: [String(LONGEST)] },
            }),
        );
        const which = { CommandId: Command?.CommandId ?? "", InstanceId: machine };
        // a command that failed is an error to the waiter; how it ended is read below
        const waited = await waitUntilCommandExecuted(
            { client, maxWaitTime: LONGEST + 60, minDelay: 1, maxDelay: 5 },
            which,
        ).catch((error: Error) => error);
        const ended = await client.send(new GetCommandInvocationCommand(which));
        if (ended.Status === "Success") return ended.StandardOutputContent ?? "";
        const said = [ended.StandardErrorContent, ended.StandardOutputContent].filter((text) => text).join("\n");
        throw new Error(`${machine}: ${args.join(" ")}: ${ended.Status}\n${said || String(waited)}`);
    }

    /** Texts of a machine's commands and the beginnings of their outputs. */
    async history(machine: string, since: Date): Promise<string[]> {
        const { client } = this;
        const Filters = [{ key: "InvokedAfter" as const, value: since.toISOString().replace(/\.\d+Z$/, "Z") }];
        const asked = { InstanceId: machine, Filters };
        const texts: string[] = [];
        for await (const { Commands = [] } of paginateListCommands({ client, pageSize: PAGE }, asked))
            for (const { Comment, Parameters } of Commands)
                texts.push(Comment ?? "", ...Object.values(Parameters ?? {}).flat());
        const detailed = { ...asked, Details: true };
        for await (const { CommandInvocations = [] } of paginateListCommandInvocations(
            { client, pageSize: PAGE },
            detailed,
        ))
            for (const { CommandPlugins = [] } of CommandInvocations)
                for (const { Output } of CommandPlugins) texts.push(Output ?? "");
        return texts;
    }
}
