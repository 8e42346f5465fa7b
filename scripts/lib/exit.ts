/** The exit codes of every script: docs/commands.md has the table. */
export const EXIT = {
    /** Done; of a cluster that was looked at: healthy. */
    done: 0,
    /** Failed or refused, or the cluster needs attention. */
    failed: 1,
    /** Nothing was asked of a cluster and nothing was changed: wrong usage, no cluster, a state or a node that can't be read. */
    cannotTell: 2,
    /** Stopped by Ctrl-C. */
    stopped: 130,
} as const;

/** What keeps a script from beginning. */
export class CannotTell extends Error {}

export class NoCluster extends CannotTell {
    constructor(stack: string) {
        super(`There is no cluster in stack ${stack}: run npm start first.`);
    }
}

/** @returns the exit code of a script that threw `error` */
export const exitCodeOf = (error: unknown): number => (error instanceof CannotTell ? EXIT.cannotTell : EXIT.failed);

/** Prints what went wrong, without a stack trace unless --debug, and ends with its exit code. */
export function fail(error: unknown): never {
    const { message, stack } = error as Error;
    console.error(process.argv.includes("--debug") ? stack : message);
    process.exit(exitCodeOf(error));
}
