/** What this project's own connections are known by, and what must not hinder them. */

/** What this project's own connections are called in pg_stat_activity. */
export const OWN_APPLICATION = "pulumi citus";

/** Timeouts and read-only defaults, each with the value that hinders nobody. */
export const NO_LIMITS: Readonly<Record<string, string>> = {
    statement_timeout: "0",
    transaction_timeout: "0",
    lock_timeout: "0",
    idle_in_transaction_session_timeout: "0",
    idle_session_timeout: "0",
    default_transaction_read_only: "off",
};
