/** What all scripts have in common on the command line. */
import { Command, CommanderError } from "commander";
import { EXIT, fail } from "./exit.ts";

/** Exit codes as --help shows them. */
export const EXIT_CODES = `
Exit codes:
  0    done; a cluster that was looked at is healthy
  1    failed or refused, or the cluster needs attention
  2    wrong usage, no cluster, or it can't be told: nothing was changed
  130  stopped by Ctrl-C`;

/**
 * A script's command line. What it does not know is refused before anything is done.
 * @param script its name in package.json
 * @param says what it does, in one sentence
 * @param usage how it is typed. @default `npm run <script> --`
 */
export function script(name: string, says: string, usage = `npm run ${name} --`): Command {
    return (
        new Command(usage)
            .description(says)
            .helpOption("-h, --help", "what it does, its options and exit codes")
            .exitOverride()
            .showHelpAfterError(`Nothing was done. ${usage} --help says what there is.`)
            .addHelpText("afterAll", EXIT_CODES)
            .configureHelp({ showGlobalOptions: true })
            // read by fail()
            .option("--debug", "on an error, where it comes from")
    );
}

/**
 * Reads the command line, runs the script, and ends with its exit code.
 * @param before what looks at the command line first
 */
export async function main(program: Command, before: () => void = () => undefined): Promise<void> {
    // whoever reads may have enough before the work is done
    process.stdout.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code !== "EPIPE") throw error;
    });
    try {
        before();
        await program.parseAsync();
    } catch (error) {
        // commander has said it
        if (!(error instanceof CommanderError)) fail(error);
        process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.cannotTell;
    }
}

/** Whether a script that hands its arguments on is only asked what there is. */
export const asksForHelp = (args: readonly string[], ...more: readonly string[]): boolean =>
    args.some((arg) => arg === "--help" || more.includes(arg));
