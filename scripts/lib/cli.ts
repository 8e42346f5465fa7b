/** The Pulumi CLI that every script runs. */
import { delimiter, dirname, join } from "node:path";
import { PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import { version } from "@pulumi/pulumi/version.js";
import semver from "semver";
import { CannotTell } from "./exit.ts";
import { wordsOf } from "./refusal.ts";
import { enter, STATE } from "./surroundings.ts";

/** The SDK's version, which package.json pins: what all tests run with. */
export const MINIMUM = version.replace(/^v/, "");

/** Whether a CLI may be used: one of before the SDK may lack what the program asks of it. Pure. */
export function isUsable(found: string | undefined, minimum = MINIMUM): boolean {
    const parsed = semver.parse(found);
    return parsed !== null && parsed.major === semver.major(minimum) && semver.gte(parsed, minimum);
}

/** There is no CLI that can be used. */
export class NoCli extends CannotTell {
    /** What was found, on one line. */
    readonly found: string;
    readonly todo: string;

    /** @param onPath the version on PATH; empty for a CLI that does not say one, undefined for none */
    constructor(onPath: string | undefined, why: string) {
        const found = `${onPath === undefined ? "not on PATH" : `${onPath || "of no known version"} on PATH, ${MINIMUM} or newer is needed`}; ${MINIMUM} could not be downloaded into .state/cli: ${why}`;
        const todo = `install ${MINIMUM} or newer (https://www.pulumi.com/docs/iac/download-install) and put it first on PATH, then try again`;
        super(`Pulumi CLI ${found}\nNothing was changed. To go on, ${todo}.`);
        this.found = found;
        this.todo = todo;
    }
}

interface Found {
    /** Undefined for one that can't say its version. */
    readonly cli?: PulumiCommand;
    /** Empty for one that does not say it. */
    readonly version: string;
}

/** The CLI on PATH, or in `root`; undefined when there is none. */
async function find(root?: string): Promise<Found | undefined> {
    try {
        const cli = await PulumiCommand.get({ ...(root === undefined ? {} : { root }), skipVersionCheck: true });
        return { cli, version: cli.version?.version ?? "" };
    } catch (error) {
        const { commandResult } = error as { commandResult?: { err?: { code?: string } } };
        return commandResult?.err?.code === "ENOENT" ? undefined : { version: "" };
    }
}

/** @throws NoCli */
async function download(root: string, onPath: string | undefined): Promise<PulumiCommand> {
    return PulumiCommand.install({ root, version: semver.parse(MINIMUM) ?? undefined }).catch((error: Error) => {
        throw new NoCli(onPath, wordsOf(error).split("\n")[0] ?? "");
    });
}

let known: Promise<PulumiCommand> | undefined;

async function look(install: (() => void) | undefined): Promise<PulumiCommand> {
    enter();
    const onPath = await find();
    if (onPath?.cli && isUsable(onPath.version)) return onPath.cli;
    const root = join(STATE, "cli");
    const there = await find(root);
    let own = isUsable(there?.version) ? there?.cli : undefined;
    if (!own) {
        install?.();
        own = await download(root, onPath?.version);
    }
    // its language plugins are beside it, and may not be those of another CLI
    process.env.PATH = [dirname(own.command), process.env.PATH].join(delimiter);
    return own;
}

/**
 * The CLI: the one on PATH when it is new enough, or one that is downloaded into the state's folder once.
 * @param options.install called before a download
 * @throws NoCli
 */
export function pulumiCommand(options: { install?: () => void } = {}): Promise<PulumiCommand> {
    known ??= look(options.install);
    return known;
}
