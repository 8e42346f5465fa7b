/** The text of commands for a machine, and what its answers say. Pure; the other side is scripts/node/aws/. */
import { NODE_SCRIPTS } from "../../node/settings.ts";
import type { Exchanged } from "./relay.ts";

const REMOTE = `${NODE_SCRIPTS}/aws/remote.sh`;
const RELAY = `${NODE_SCRIPTS}/aws/relay.sh`;

/** Characters of base64 that one command carries: SSM takes 48 kB of parameters at the least. */
export const MOST_TEXT = 30_000;

/** One word for the shell. */
export function quote(word: string): string {
    return /^[\w@%+=:,./!-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

const withText = (command: string, text: string) => `${command} <<'END'\n${text.replace(/(.{76})/g, "$1\n")}\nEND`;

/** Commands that put bytes into the spool of a run, each of a size that fits. */
export function putCommands(id: string, content: Buffer): string[] {
    const step = (MOST_TEXT / 4) * 3;
    const commands: string[] = [];
    for (let at = 0; at === 0 || at < content.length; at += step)
        commands.push(withText(`${REMOTE} put ${id}`, content.subarray(at, at + step).toString("base64")));
    return commands;
}

/** @param group `-`, or the group and version of the machine's own secret that is added to what is on standard input */
export function runCommand(id: string, group: string, words: readonly string[]): string {
    return [REMOTE, "run", id, group, ...words].map(quote).join(" ");
}

export const getCommand = (id: string, stream: "out" | "err", offset: number) =>
    `${REMOTE} get ${id} ${stream} ${offset}`;

export const endCommand = (id: string) => `${REMOTE} end ${id}`;

export const exchangeCommand = (id: string, input: Buffer, offset: number) =>
    withText(`${RELAY} exchange ${id} ${offset}`, input.toString("base64"));

export const closeCommand = (id: string) => `${RELAY} close ${id}`;

export interface Answer {
    readonly code: number;
    /** Bytes of each in all, of which an answer carries the first. */
    readonly out: number;
    readonly err: number;
    /** Whether they are packed by gzip. */
    readonly outPacked: boolean;
    readonly errPacked: boolean;
    readonly stdout: Buffer;
    readonly stderr: Buffer;
}

const decode = (text: string) => Buffer.from(text.replace(/\s+/g, ""), "base64");

/** What `remote.sh run` printed; undefined when it did not get that far. */
export function parseAnswer(text: string): Answer | undefined {
    const head = /^CODE (\d+) OUT (\d+)( GZIP)? ERR (\d+)( GZIP)?$/m.exec(text);
    if (!head) return undefined;
    const stdout = /^STDOUT\n([A-Za-z0-9+/=\n]*)$/m.exec(text.split("\nSTDERR")[0] ?? "")?.[1] ?? "";
    const stderr = text.split("\nSTDERR\n")[1] ?? "";
    return {
        code: Number(head[1]),
        out: Number(head[2]),
        err: Number(head[4]),
        outPacked: head[3] !== undefined,
        errPacked: head[5] !== undefined,
        stdout: decode(stdout),
        stderr: decode(stderr),
    };
}

/** What `remote.sh get` printed. */
export const parsePart = decode;

/** What `relay.sh exchange` printed; undefined when it did not get that far. */
export function parseExchange(text: string): Exchanged | undefined {
    const head = /^NEXT (\d+) (open|closed) (more|idle)$/m.exec(text);
    if (!head) return undefined;
    return {
        next: Number(head[1]),
        closed: head[2] === "closed" && head[3] === "idle",
        idle: head[3] === "idle",
        data: decode(text.slice(head.index + head[0].length)),
    };
}
