/** What this project's scripts set and take away in the environment that the Pulumi CLI gets: docs/decisions/0019. */
import { randomBytes } from "node:crypto";
import {
    accessSync,
    chmodSync,
    constants,
    existsSync,
    globSync,
    mkdirSync,
    readFileSync,
    statSync,
    writeFileSync,
} from "node:fs";
import { userInfo } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { CannotTell } from "./exit.ts";

export const ROOT = join(import.meta.dirname, "..", "..");
export const STATE = join(ROOT, ".state");

export interface Given {
    readonly env: Readonly<Record<string, string | undefined>>;
    /** The project's folder. */
    readonly root: string;
    /** Its state's folder. */
    readonly state: string;
    /** The user's folder as the system has it; undefined for a user that it does not know. */
    readonly home: string | undefined;
    /** Whether files can be made in a folder, or in the first folder above it that exists. */
    readonly writable: (folder: string) => boolean;
    readonly exists: (folder: string) => boolean;
}

export interface Surroundings {
    /** Whether state and passphrase are the project's own, and not those of a backend that the environment names. */
    readonly own: boolean;
    readonly set: Readonly<Record<string, string>>;
    /** Variables of other projects that are set and must not be. */
    readonly unset: readonly string[];
}

/** Pulumi's variables that belong to a backend: the own one needs none of them. */
const FOREIGN = ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_ACCESS_TOKEN"];

/** As Pulumi reads it: everything that has a meaning in a URL is escaped. */
export const backendUrl = (state: string): string => pathToFileURL(join(state, "pulumi")).href;

export const passphraseFile = (state: string): string => join(state, "passphrase");

/** Pure but for what asks about folders. */
export function surroundings({ env, root, state, home, writable, exists }: Given): Surroundings {
    const named = env.PULUMI_BACKEND_URL || undefined;
    // a shell with what `npm run env` printed names the own backend with its own passphrase
    const own =
        named === undefined ||
        (named === backendUrl(state) && env.PULUMI_CONFIG_PASSPHRASE_FILE === passphraseFile(state));
    const pulumiHome = env.PULUMI_HOME || ((home ?? env.HOME) ? join(home ?? env.HOME ?? "", ".pulumi") : undefined);
    const docker = env.BUILDX_CONFIG || env.DOCKER_CONFIG || join(env.HOME || home || "/", ".docker");
    const temporary = env.TMPDIR || "/tmp";
    return {
        own,
        set: {
            PULUMI_SKIP_UPDATE_CHECK: "true",
            ...(own
                ? {
                      PULUMI_BACKEND_URL: backendUrl(state),
                      // the state knows how its secrets are encrypted, so the stack's configuration file need not repeat it
                      PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER: "true",
                      PULUMI_CONFIG_PASSPHRASE_FILE: passphraseFile(state),
                  }
                : {}),
            ...(pulumiHome !== undefined && writable(pulumiHome) ? {} : { PULUMI_HOME: join(state, "home") }),
            // an image is built with notes beside Docker's configuration
            ...(writable(docker) ? {} : { BUILDX_CONFIG: join(state, "buildx") }),
            ...(exists(temporary) && writable(temporary) ? {} : { TMPDIR: join(state, "tmp") }),
            // Node.js 24 of this project's own, which the provider's host needs to load TypeScript
            PATH: [join(root, "node_modules", ".bin"), env.PATH ?? ""].join(delimiter),
        },
        unset: own ? FOREIGN.filter((name) => env[name] !== undefined) : [],
    };
}

/** Whether files can be made in a folder, or in the first folder above it that exists. */
export function isWritable(folder: string): boolean {
    if (!existsSync(folder)) return dirname(folder) !== folder && isWritable(dirname(folder));
    try {
        accessSync(folder, constants.W_OK | constants.X_OK);
        return statSync(folder).isDirectory();
    } catch {
        return false;
    }
}

/** Stacks that a state on disk has, by name. */
const stacksIn = (state: string): string[] => [
    ...new Set(
        globSync("pulumi/.pulumi/stacks/**/*.{json,json.gz}", { cwd: state })
            .map((file) => basename(file).replace(/\.json(\.gz)?$/, ""))
            .sort(),
    ),
];

/**
 * Makes the state's folder and its passphrase, readable by this user only.
 * @throws CannotTell when it can't be made, or when what is there was encrypted with a passphrase that is gone
 */
export function ensureState(state: string): void {
    const file = passphraseFile(state);
    try {
        mkdirSync(join(state, "pulumi"), { recursive: true, mode: 0o700 });
        // another user's folder can be used where the group may
        if (statSync(state).uid === process.getuid?.()) chmodSync(state, 0o700);
        if (existsSync(file) && readFileSync(file, "utf8").trim() !== "") return;
        const stacks = stacksIn(state);
        if (stacks.length > 0)
            throw new CannotTell(
                `The passphrase of this project's state is gone: ${file} ${existsSync(file) ? "is empty" : "does not exist"}. The state of ${stacks.join(", ")} in ${join(state, "pulumi")} is encrypted with it.\n` +
                    "Nothing was changed. Put the file back from a copy.\n" +
                    `If there is no copy, what is secret in that state is lost. When no cluster of it runs any more, delete ${state} and run npm start.`,
            );
        writeFileSync(file, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 });
    } catch (error) {
        if (error instanceof CannotTell) throw error;
        const { code, message } = error as NodeJS.ErrnoException;
        throw new CannotTell(
            `This project's state in ${state} can't be used: ${message}. Nothing was changed.\n` +
                (code === "EACCES" || code === "EPERM"
                    ? `Run this as the user that owns the folder, or make it yours: sudo chown -R "$(id -un)" ${quote(state)}`
                    : "Put the project into a folder that can be written."),
        );
    }
}

let entered: Surroundings | undefined;

/**
 * Makes this process' environment the project's, once; what it starts inherits it.
 * @throws CannotTell when there is no state to work on
 */
export function enter(): Surroundings {
    if (entered) return entered;
    const home = () => {
        try {
            return userInfo().homedir;
        } catch {
            return undefined;
        }
    };
    const found = surroundings({
        env: process.env,
        root: ROOT,
        state: STATE,
        home: home(),
        writable: isWritable,
        exists: existsSync,
    });
    if (found.own) ensureState(STATE);
    for (const name of ["PULUMI_HOME", "BUILDX_CONFIG", "TMPDIR"])
        if (found.set[name] !== undefined) mkdirSync(found.set[name], { recursive: true, mode: 0o700 });
    for (const name of found.unset) delete process.env[name];
    Object.assign(process.env, found.set);
    entered = found;
    return found;
}

/** A word as a shell reads it. */
export const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
