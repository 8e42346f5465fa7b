/** How a file of SQL is run, and how once more when PostgreSQL or Citus refuses that way: of citus:postDeploy and of templates. Pure. */

/**
 * - `transaction`: in one transaction with the note that it ran.
 * - `sequential`: the same, and Citus runs each statement over one connection a worker.
 * - `alone`: each statement by itself, as `psql -f` does, and the note at the end.
 */
export type Way = "transaction" | "sequential" | "alone";

/** An error as the server said it. */
export interface ServerError {
    readonly code: string;
    readonly message: string;
    readonly hint: string;
    /** The function of the server that raised it. */
    readonly raisedBy: string;
}

/** The first error of a psql with `VERBOSITY=verbose`. */
export function firstError(stderr: string): ServerError | undefined {
    const found = /^(?:psql:\S+:\d+: )?(?:ERROR|FATAL): +([0-9A-Z]{5}): (.*)$/m.exec(stderr);
    if (!found) return undefined;
    // up to what is said next
    const rest =
        stderr.slice(found.index + found[0].length).split(/^(?:psql:\S+:\d+: )?[A-Z]+: +[0-9A-Z]{5}: /m)[0] ?? "";
    return {
        code: found[1] ?? "",
        message: found[2] ?? "",
        hint: /^HINT: +(.*)$/m.exec(rest)?.[1] ?? "",
        raisedBy: /^LOCATION: +(\w+)/m.exec(rest)?.[1] ?? "",
    };
}

/** Statements that need what came before them to be committed, or a transaction of their own, by SQLSTATE. */
const NEEDS_COMMITS = new Set([
    // active_sql_transaction, invalid_transaction_termination, unsafe_new_enum_value_usage
    "25001",
    "2D000",
    "55P04",
]);
/** The same, where the code says less. */
const NEEDS_COMMITS_TOO =
    /^cannot ALTER TABLE .* because it has pending trigger events$|(inside|from|within|in) (a )?transaction blocks?\b|in the same transaction/;

/** What Citus says of two statements that it ran over connections which do not see each other's work; most have this hint. */
const NEEDS_ONE_CONNECTION =
    /there was a parallel|^canceling the transaction since it was involved in a distributed deadlock/;

/**
 * The way to run it once more after everything was rolled back; undefined when the error is the file's own: what a function
 * of the user raises is, whatever it says.
 */
export function nextWay(way: Way, error: ServerError | undefined): Way | undefined {
    if (way === "alone" || error === undefined || error.raisedBy === "exec_stmt_raise") return undefined;
    const { code, message, hint } = error;
    if (way === "transaction" && (hint.includes("multi_shard_modify_mode") || NEEDS_ONE_CONNECTION.test(message)))
        return "sequential";
    return NEEDS_COMMITS.has(code) || NEEDS_COMMITS_TOO.test(message) ? "alone" : undefined;
}
