/** What an error says of the place that it came from. Pure. */

interface Said {
    readonly code?: unknown;
    readonly message?: unknown;
    /** PostgreSQL's word for how bad it is; FATAL ends the connection. */
    readonly severity?: unknown;
    /** Of an attempt to connect to several addresses. */
    readonly errors?: unknown;
}

const saidBy = (error: unknown): Said => (typeof error === "object" && error !== null ? (error as Said) : {});

/** No packet reached a server. */
const NOT_REACHED = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN"];

/** The connection ended, or there was none: what was sent may have been done. */
const BROKEN = ["ETIMEDOUT", "EPIPE", "ECONNRESET", "ECONNABORTED", "ENOTCONN"];

/** A server that stops, crashed or starts. */
const STOPPING = ["57P01", "57P02", "57P03"];

/**
 * What a place answers that a tenant has left: its database is not there (3D000), takes no connections (55000) or no more
 * (53300), the role may not (42501), only reads are let through (25006), its table (42P01) or schema (3F000) is not there. A
 * worker that leaves the cluster loses its tables before it stops.
 */
const LEFT = ["3D000", "55000", "53300", "42501", "25006", "42P01", "3F000"];

/** How `pg` says it, without a code. A pool that has no connection free says nothing of the place. */
const WITHOUT_CODE = /^Connection terminated|^timeout expired|connection error and is not queryable/;

/** No session came to be. */
const BEFORE_SESSION = /due to connection timeout|^timeout expired|before secure TLS connection was established/;

const CODES: ReadonlySet<string> = new Set([...NOT_REACHED, ...BROKEN, ...STOPPING, ...LEFT]);

const codeOf = (error: Said) => (typeof error.code === "string" ? error.code : "");

/** SQLSTATE class 08 is the connection's. */
const ofConnection = (code: string) => /^08[0-9A-Z]{3}$/.test(code);

/** Whether an error is a reason to look where the tenant is now. */
export function isStale(error: unknown): boolean {
    const said = saidBy(error);
    if (Array.isArray(said.errors) && said.errors.some(isStale)) return true;
    const code = codeOf(said);
    return CODES.has(code) || ofConnection(code) || WITHOUT_CODE.test(String(said.message ?? ""));
}

/** Whether the place itself does not answer, so that another node of the cluster should be asked. */
export function isAway(error: unknown): boolean {
    const said = saidBy(error);
    if (Array.isArray(said.errors) && said.errors.some(isAway)) return true;
    const code = codeOf(said);
    return (
        [...NOT_REACHED, ...BROKEN, ...STOPPING].includes(code) ||
        ofConnection(code) ||
        WITHOUT_CODE.test(String(said.message ?? ""))
    );
}

/**
 * Whether an error can only come before the first statement: no server was reached, or it let nobody in. Then nothing was
 * done, and the work may be begun elsewhere.
 */
export function neverBegan(error: unknown): boolean {
    const said = saidBy(error);
    if (Array.isArray(said.errors) && said.errors.length > 0) return said.errors.every(neverBegan);
    const code = codeOf(said);
    if (NOT_REACHED.includes(code) || BEFORE_SESSION.test(String(said.message ?? ""))) return true;
    // a server that stops may do so in the middle, and says FATAL then too
    return said.severity === "FATAL" && [...LEFT, "57P03"].includes(code);
}
