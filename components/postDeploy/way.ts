/** How a file of citus:postDeploy is run, and how once more when PostgreSQL or Citus refuses that way. Pure. */

/**
 * - `transaction`: in one transaction with the note that it ran.
 * - `sequential`: the same, and Citus runs each statement over one connection a worker.
 * - `alone`: each statement by itself, as `psql -f` does, and the note at the end.
 */
export type Way = "transaction" | "sequential" | "alone";

/** What PostgreSQL and Citus say of statements that need what came before them to be committed, or a transaction of their own. */
const NEEDS_COMMITS =
    /(inside|from|within|in) (a )?(transaction blocks?|function)\b|cannot be executed from a function or procedure|invalid transaction termination|unsafe use of new value|cannot create logical replication slot in transaction|in the same transaction|pending trigger events/i;

/** What Citus says of two statements that it ran over connections which do not see each other's work; most have this hint. */
const NEEDS_ONE_CONNECTION = /multi_shard_modify_mode|there was a parallel|involved in a distributed deadlock/i;

/** The way to run it once more after everything was rolled back; undefined when the error is the file's own. */
export function nextWay(way: Way, stderr: string): Way | undefined {
    if (way === "alone") return undefined;
    if (way === "transaction" && NEEDS_ONE_CONNECTION.test(stderr)) return "sequential";
    return NEEDS_COMMITS.test(stderr) ? "alone" : undefined;
}

/** First error that psql quoted, without the place. */
export const firstError = (stderr: string): string => /ERROR: +(.*)/.exec(stderr)?.[1] ?? "";
