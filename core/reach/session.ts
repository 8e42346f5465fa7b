/** A connection to one node, with TLS verified and errors that quote the database and nothing secret. */

import { createHash, X509Certificate } from "node:crypto";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import pg from "pg";
import { type Access, addressOf } from "../node/reach.ts";
import type { ServerError } from "../sql/way.ts";
import { pause } from "../util/pause.ts";
import { NO_LIMITS, OWN_APPLICATION } from "./ownSession.ts";
import { openTunnel } from "./tunnel.ts";

async function optionsOf(access: Access): Promise<pg.ClientConfig> {
    if ("tunnel" in access) {
        const { tunnel, user, database } = access;
        const stream = await openTunnel(tunnel);
        return { user, database, ssl: false, host: tunnel.node, stream: () => stream };
    }
    const { host, port, user, password, database, ca, serverName } = access;
    return {
        // the certificate is checked against serverName, so the address is given as one
        host: host === "localhost" ? "127.0.0.1" : host,
        port,
        user,
        password,
        database,
        ssl: { ca, servername: serverName },
    };
}

/** A database or role may have its own settings; what moves data must not stop half-way because of them. */
const OWN_SETTINGS = [
    ...Object.entries(NO_LIMITS).map(([name, value]) => `${name}=${value}`),
    "search_path=public",
    "row_security=off",
    "client_min_messages=notice",
    // values are texts here, and the same text means the same value whatever the database's own settings are
    "datestyle=ISO",
    "timezone=UTC",
    "bytea_output=hex",
    "extra_float_digits=1",
]
    .map((setting) => `-c ${setting}`)
    .join(" ");

/** Over a tunnel each answer takes some seconds more. */
const TUNNEL_SECONDS = 60;

export interface QueryOptions {
    /** Whether the same text is asked again and again: a connection of `ConnectOptions.reads` plans it once. @default false */
    readonly again?: boolean;
}

export interface Session {
    /** The node's name, for errors. */
    readonly node: string;
    query<T extends object = Record<string, unknown>>(
        sql: string,
        parameters?: readonly unknown[],
        options?: QueryOptions,
    ): Promise<T[]>;
    /** When the node's certificate ends. */
    certificateEnds(): Date | undefined | Promise<Date | undefined>;
    close(): Promise<void>;
}

/** A session that also carries the streams of COPY. */
export interface StreamSession extends Session {
    /** Hands a stream of `pg-copy-streams` to the connection. The next query begins when it has ended. */
    submit<T extends pg.Submittable>(stream: T): T;
}

/** What the database said, with the node it said it on. */
export class DatabaseError extends Error {
    readonly node: string;
    /** SQLSTATE, or the socket's error code. */
    readonly code: string | undefined;
    /** Whether there was no connection at all. */
    readonly connecting: boolean;
    /** The server's own words; undefined when it was not the server that failed. */
    readonly server: ServerError | undefined;
    /** @param warnings what the server warned of while the statement ran: often the cause, where the error only names a node */
    constructor(node: string, doing: string, cause: unknown, connecting = false, warnings: readonly string[] = []) {
        const e = cause as Partial<Record<"message" | "detail" | "hint" | "code" | "routine", string>>;
        const said = [e.message, e.detail && `DETAIL: ${e.detail}`, e.hint && `HINT: ${e.hint}`, ...warnings]
            .filter((part) => part)
            .join("\n  ");
        super(`${node}: ${doing} failed\n  ${said || "no reason was given"}`);
        this.node = node;
        this.code = e.code;
        this.connecting = connecting;
        const { code, message = "", hint = "", routine } = e;
        this.server = code && routine ? { code, message, hint, raisedBy: routine } : undefined;
    }
}

/** Whether an error says that the connection itself ended, or could not begin because the server restarts. */
export function isLost(error: unknown): error is DatabaseError {
    return (
        error instanceof DatabaseError &&
        (PASSING.has(error.code ?? "") || /^ {2}Connection terminated|not queryable/m.test(error.message))
    );
}

/** Warnings of a statement that are kept for its error, and how much of each. */
const WARNINGS = 5;
const WARNING_LENGTH = 500;

interface Notice {
    readonly severity?: string | undefined;
    readonly message?: string | undefined;
    readonly detail?: string | undefined;
    readonly hint?: string | undefined;
    readonly where?: string | undefined;
}

/** The last warnings of the statement that runs, in the server's words. */
export class Warnings {
    private lines: string[] = [];
    private left = 0;

    add(notice: Notice): void {
        if (notice.severity !== "WARNING") return;
        const { message, detail, hint, where } = notice;
        const line = [`WARNING: ${message}`, detail && `DETAIL: ${detail}`, hint && `HINT: ${hint}`, where]
            .filter((part) => part)
            .join("; ")
            .slice(0, WARNING_LENGTH);
        if (this.lines.includes(line)) return;
        this.lines.push(line);
        if (this.lines.length > WARNINGS) {
            this.lines.shift();
            this.left++;
        }
    }

    /** Hands them out and begins anew, for the next statement. */
    take(): string[] {
        const { lines, left } = this;
        this.lines = [];
        this.left = 0;
        return left > 0 ? [`(${left} warnings before these)`, ...lines] : lines;
    }
}

/**
 * @param pid the session's process on its node
 * @param another opens another connection to the same node
 */
export type Wrap = (session: StreamSession, pid: number, another: () => Promise<Session>) => StreamSession;

export interface ConnectOptions {
    /** How long one attempt may take, in milliseconds. @default 5000 */
    readonly timeout?: number;
    /** Keep trying this long while the node does not answer, in milliseconds. @default 0 */
    readonly patience?: number;
    /** Called before each further attempt; what it throws ends the waiting. */
    readonly waiting?: (reason: string) => void | Promise<void>;
    /** How long this node waits for another one that a question leads to, in milliseconds. @default Citus' own, 30 s */
    readonly nodeTimeout?: number;
    /** Whether only the catalogs are read on it, by the same queries again and again. @default false */
    readonly reads?: boolean;
    /** Puts something around the session as soon as it is there, such as `tellHolders`. */
    readonly wrap?: Wrap;
}

/** Errors that go away by themselves when a node is starting: not listening yet, starting up, shutting down. */
const PASSING = new Set(["ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EPIPE", "57P03", "57P01", "57P02"]);

function passing(error: unknown): boolean {
    const e = error as { code?: string; message?: string };
    return (
        PASSING.has(e.code ?? "") ||
        /timeout|terminated unexpectedly|disconnected before secure TLS/i.test(e.message ?? "")
    );
}

/**
 * Opens a connection as the superuser.
 * @throws DatabaseError when the node can't be reached, is not the one it should be, or refuses the password
 */
export async function connect(access: Access, node: string, options: ConnectOptions = {}): Promise<StreamSession> {
    const end = Date.now() + (options.patience ?? 0);
    for (;;) {
        const client = new pg.Client({
            ...(await optionsOf(access)),
            connectionTimeoutMillis: (options.timeout ?? 5000) + ("tunnel" in access ? TUNNEL_SECONDS * 1000 : 0),
            application_name: OWN_APPLICATION,
            options: [
                OWN_SETTINGS,
                ...(options.nodeTimeout === undefined
                    ? []
                    : [`-c citus.node_connection_timeout=${options.nodeTimeout}`]),
                ...(options.reads ? ["-c plan_cache_mode=force_generic_plan"] : []),
            ].join(" "),
            keepAlive: true,
        });
        // a lost connection is reported by the query that meets it
        client.on("error", () => undefined);
        const warnings = new Warnings();
        client.on("notice", (notice) => warnings.add(notice));
        try {
            await client.connect();
            const planned = plannedOnce(options.reads === true);
            const ask = async <T extends object>(
                sql: string,
                parameters?: readonly unknown[],
                { again = false }: QueryOptions = {},
            ) => {
                try {
                    const values = parameters ? [...parameters] : undefined;
                    const name = again ? planned(sql) : undefined;
                    const { rows } = await (name === undefined || values === undefined
                        ? client.query<T>(sql, values)
                        : client.query<T>({ name, text: sql, values }));
                    return rows;
                } catch (error) {
                    throw new DatabaseError(node, summary(sql), error, false, warnings.take());
                } finally {
                    warnings.take();
                }
            };
            const inTurn = oneAtATime();
            const query = <T extends object>(sql: string, parameters?: readonly unknown[], how?: QueryOptions) =>
                inTurn(() => ask<T>(sql, parameters, how));
            const certificateEnds = async () => {
                if ("tunnel" in access) return readCertificateEnd(query);
                const ends = (streamOf(client) as TLSSocket).getPeerCertificate().valid_to;
                return ends ? new Date(ends) : undefined;
            };
            const submit = <T extends pg.Submittable>(stream: T) => client.query(stream);
            const session: StreamSession = { node, query, certificateEnds, submit, close: () => closing(client) };
            const { processID } = client as unknown as { processID: number };
            return options.wrap?.(session, processID, () => connect(access, node)) ?? session;
        } catch (error) {
            discard(client);
            if (!passing(error) || Date.now() >= end) {
                throw error instanceof DatabaseError
                    ? error
                    : new DatabaseError(node, `connecting to ${addressOf(access)}`, error, true);
            }
            await options.waiting?.((error as Error).message);
            await pause(250);
        }
    }
}

/** Texts of this process that were asked before: a plan that nobody uses again would only take memory. */
const askedBefore = new Set<string>();

/** @param keeps whether the connection keeps plans. @returns the name under which a text's plan is kept, where one is */
function plannedOnce(keeps: boolean) {
    return (sql: string): string | undefined => {
        if (!keeps) return undefined;
        const name = createHash("sha256").update(sql).digest("hex").slice(0, 32);
        if (askedBefore.has(name)) return name;
        askedBefore.add(name);
        return undefined;
    };
}

/** Runs what it is given one after the other, whatever became of what came before: a connection takes one statement at a time. */
export function oneAtATime() {
    let last: Promise<unknown> = Promise.resolve();
    return <T>(work: () => Promise<T>): Promise<T> => {
        const done = last.then(work);
        last = done.catch(() => undefined);
        return done;
    };
}

const streamOf = (client: pg.Client) => (client as unknown as { connection: { stream: Duplex } }).connection.stream;

/** No handshake shows the certificate to who comes by the socket, so its file is read. */
async function readCertificateEnd(query: Session["query"]): Promise<Date | undefined> {
    const [row] = await query<{ pem: string }>("SELECT pg_read_file(current_setting('ssl_cert_file')) AS pem");
    return row && new Date(new X509Certificate(row.pem).validTo);
}

/** Ends a connection; one whose peer does not answer is dropped after two seconds. */
async function closing(client: pg.Client): Promise<void> {
    const late = new Promise<void>((resolve) => setTimeout(resolve, 2000).unref());
    await Promise.race([client.end().catch(() => undefined), late]);
    streamOf(client).destroy();
}

/** Ends a connection that failed. end() may wait for ever for a peer that has gone, so nobody waits for it. */
function discard(client: pg.Client): void {
    client.end().catch(() => undefined);
    setTimeout(() => streamOf(client).destroy(), 500).unref();
}

/** Opens a connection, hands it on, and closes it whatever happens. */
export async function withSession<T>(
    access: Access,
    node: string,
    use: (session: Session) => Promise<T>,
    options?: ConnectOptions,
): Promise<T> {
    const session = await connect(access, node, options);
    try {
        return await use(session);
    } finally {
        await session.close().catch(() => undefined);
    }
}

/**
 * Connections that are kept until all are closed; one that its user closed, or that failed, is opened again.
 * @param connectTo opens one
 */
export function keepOpen(connectTo: (node: string, database?: string) => Promise<Session>) {
    const kept = new Map<string, Promise<Session>>();
    const open = (node: string, database?: string): Promise<Session> => {
        const key = `${node} ${database ?? ""}`;
        const found = kept.get(key);
        if (found) return found;
        const forget = () => kept.delete(key);
        const opening = connectTo(node, database).then(
            (session) => ({
                ...session,
                close: () => {
                    forget();
                    return session.close();
                },
            }),
            (error: unknown) => {
                forget();
                throw error;
            },
        );
        kept.set(key, opening);
        return opening;
    };
    const closeAll = async () => {
        for (const opening of [...kept.values()])
            await (await opening.catch(() => undefined))?.close().catch(() => undefined);
    };
    return { open, closeAll };
}

/** The first words of a statement: enough to find it, without values. */
function summary(sql: string): string {
    const flat = sql.replace(/\s+/g, " ").trim();
    return flat.length > 70 ? `${flat.slice(0, 67)}...` : flat;
}
