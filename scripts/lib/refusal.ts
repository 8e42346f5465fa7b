/** Why the Pulumi CLI did not do what it was asked, in words. Pure. */
import { CannotTell } from "./exit.ts";
import { quote } from "./surroundings.ts";

export interface Failure {
    /** The CLI's arguments. */
    readonly args: readonly string[];
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
}

export interface Around {
    /** Whether the state is the project's own. */
    readonly own: boolean;
    /** URL of the backend. */
    readonly backend: string;
    /** The own state's. */
    readonly passphraseFile: string;
    /** Whether the environment had a passphrase of another project's, which was not used. */
    readonly foreign: boolean;
}

/** The CLI said that there is no such stack: an answer, not a failure. */
export const saysNoStack = ({ stderr }: Pick<Failure, "stderr">): boolean => /no stack selected/.test(stderr);

/** A URL without what could let somebody in. */
const withoutLogin = (text: string) => text.replace(/(\w:\/\/)[^/@\s"]*@/g, "$1...@");

/** What the CLI wrote, without its marks and warnings. */
export function said({ stdout, stderr }: Pick<Failure, "stdout" | "stderr">): string {
    const text = stderr.trim() === "" ? stdout : stderr;
    const lines = text
        .split("\n")
        .map((line) => line.trimEnd())
        .filter((line) => line !== "" && !/^(SDK \S+ \S+ WARN|warning:|Command failed with exit code)/.test(line))
        .map((line) => line.replace(/^error: /, ""));
    return withoutLogin([...new Set(lines)].slice(-12).join("\n"));
}

/** What an error of the Automation API says; it prints exit code and both outputs in one text. */
export function wordsOf(error: Error): string {
    const result = (error as { commandResult?: Pick<Failure, "stdout" | "stderr"> }).commandResult;
    return (result && said(result)) || withoutLogin(error.message);
}

/** One sentence or two for a person, and the next step; what the CLI said comes between. */
function diagnose(failure: Failure, words: string, around: Around): readonly [what: string, next: string] {
    const backend = withoutLogin(around.backend);
    if (/incorrect passphrase|passphrase must be set|unable to read PULUMI_CONFIG_PASSPHRASE_FILE/.test(words)) {
        const missing = !/incorrect passphrase/.test(words);
        if (around.own)
            return [
                `The passphrase in ${around.passphraseFile} is not the one that this project's state is encrypted with.`,
                around.foreign
                    ? `PULUMI_CONFIG_PASSPHRASE of your environment is not used for this project's own state. If the state was made with it: printenv PULUMI_CONFIG_PASSPHRASE > ${quote(around.passphraseFile)}`
                    : "Put the right passphrase into that file.",
            ];
        return [
            `The state in ${backend} is encrypted with a passphrase, and ${missing ? "none is set" : "the one that is set is wrong"}.`,
            "Set PULUMI_CONFIG_PASSPHRASE_FILE or PULUMI_CONFIG_PASSPHRASE to that of this backend (PULUMI_BACKEND_URL names it), then repeat.",
        ];
    }
    if (/invalid YAML file/.test(words))
        return [
            "A configuration file of this project (Pulumi.yaml, or Pulumi.<stack>.yaml) is not valid YAML.",
            "Mend the line that is named below, then repeat.",
        ];
    if (/currently locked by|Another update is currently in progress/.test(words))
        return [
            "Another run holds the lock of this stack.",
            "Wait until it has ended. If it was killed: npm run pulumi -- cancel, then repeat.",
        ];
    if (/PULUMI_ACCESS_TOKEN must be set|invalid access token|not logged in|\b401\b|Unauthorized/i.test(words))
        return [
            `Nobody is logged in at the backend ${backend}.`,
            "npm run pulumi -- login logs in. Without PULUMI_BACKEND_URL the project's own state is used.",
        ];
    if (/no stack named/.test(words))
        return [
            "The stack that is asked for is not in this state.",
            "npm run pulumi -- stack ls lists those that are. PULUMI_STACK, where it is set, names the stack.",
        ];
    if (
        /unable to open|illegal prefix|performing HTTP request|dial tcp|no such host|connection refused|blob \(|unsupported: 'meta\.yaml'/.test(
            words,
        )
    )
        return [
            `The backend ${backend} can't be read.`,
            around.own
                ? "Look at that folder."
                : "PULUMI_BACKEND_URL names it. Mend that, or unset it to use the project's own state.",
        ];
    const command = failure.args.filter((arg) => !arg.startsWith("-")).slice(0, 2);
    return [`pulumi ${command.join(" ")} failed (exit code ${failure.code}).`, ""];
}

/** How Pulumi says that its provider, the process that carries out changes, ended while it worked. */
const PROVIDER_ENDED =
    /error reading from server: (EOF|read)|transport is closing|connect: connection refused.*plugin|plugin .*exited/i;

/** The next step after a run that failed, where what Pulumi says has none. Pure. */
export function withNextStep(words: string): string {
    if (!PROVIDER_ENDED.test(words)) return words;
    return (
        `${words}\n\nThe process that carries out the changes (pulumi-resource-citus-clusters) ended while it worked: somebody or something killed it, for want of memory perhaps.\n` +
        "What was done until then is in the state or is found again. Run the same command once more: it ends where this one would have."
    );
}

/** @returns what happened, what the CLI said, and the next step */
export function explainFailure(failure: Failure, around: Around): string {
    const words = said(failure);
    const [what, next] = diagnose(failure, words, around);
    return withNextStep(
        [
            what,
            words === "" ? "Pulumi says nothing about it." : `Pulumi says: ${words.replaceAll("\n", "\n  ")}`,
            ...(next === "" ? [] : [next]),
        ].join("\n"),
    );
}

/** The CLI could not answer. */
export class NoAnswer extends CannotTell {}
