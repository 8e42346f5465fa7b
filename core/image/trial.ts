/** What the self-test of an image printed, and which of two images is taken. Pure. */

/** What an image is, and what its self-test found. */
export interface Trial {
    /** PostgreSQL in full, such as `17.10`; empty when there is none. */
    readonly postgres: string;
    /** The base image's own PostgreSQL; empty when it was not installed as a package. */
    readonly basePostgres: string;
    /** Citus in full, such as `14.1.0`; empty when it could not be asked. */
    readonly citus: string;
    /** The user that PostgreSQL runs as. */
    readonly uid: number;
    /** What no cluster can do without. */
    readonly broken: readonly string[];
    /** What can be lived with. */
    readonly flaws: readonly string[];
}

/** @throws Error when the test did not reach its end */
export function parseTrial(printed: string): Trial {
    const all = (key: string) =>
        printed.split("\n").flatMap((line) => (line.startsWith(`${key}=`) ? [line.slice(key.length + 1).trim()] : []));
    const one = (key: string) => all(key)[0] ?? "";
    if (one("done") !== "yes") throw new Error(`the image's self-test did not end; it printed: ${printed.trim()}`);
    return {
        postgres: one("postgres"),
        basePostgres: one("base_postgres"),
        citus: one("citus"),
        uid: Number(one("uid") || Number.NaN),
        broken: all("broken"),
        flaws: all("flaw"),
    };
}

/** Whether an image with another PostgreSQL than its base's is worth comparing with one that keeps the base's. */
export const wantsSecond = (first: Trial, postgres: string): boolean =>
    (postgres === "newest" || postgres === "") &&
    first.basePostgres !== "" &&
    first.postgres !== first.basePostgres &&
    (first.broken.length > 0 || first.flaws.length > 0);

/** Of an image with a newer minor release that has faults and the one with the base's own. A tie is for the newer one. */
export function better<T extends { readonly trial: Trial }>(newer: T, own: T): T {
    const faults = ({ trial }: T) => [trial.broken.length, trial.flaws.length] as const;
    const [[newBroken, newFlaws], [ownBroken, ownFlaws]] = [faults(newer), faults(own)];
    return ownBroken < newBroken || (ownBroken === newBroken && ownFlaws < newFlaws) ? own : newer;
}

/** What an image is refused with; undefined when it can be used. */
export function refusal(base: string, trial: Trial): string | undefined {
    if (trial.broken.length === 0) return undefined;
    return [
        `The image ${base} can't run a node. Its self-test found:`,
        ...trial.broken.map((line) => `  ${line}`),
        "No container was made or replaced. Choose another image (citus:image, or citus:citusVersion for Citus' own).",
    ].join("\n");
}

/** What a reader should know of an image that is used; empty when there is nothing. */
export function remarks(trial: Trial, fellBackFrom: Trial | undefined): string[] {
    const lines = (found: readonly string[]) => found.map((line) => `  ${line}`);
    return [
        ...(fellBackFrom === undefined
            ? []
            : [
                  `PostgreSQL ${fellBackFrom.postgres} does not work with Citus ${fellBackFrom.citus || trial.citus} of this image, so its own ${trial.postgres} is kept:`,
                  ...lines([...fellBackFrom.broken, ...fellBackFrom.flaws]),
              ]),
        ...(trial.flaws.length === 0
            ? []
            : [
                  `PostgreSQL ${trial.postgres} with Citus ${trial.citus} is used although its self-test found:`,
                  ...lines(trial.flaws),
              ]),
    ];
}
