/** A connection to one node, with TLS verified and errors that quote the database and nothing secret. */

import type { TLSSocket } from "node:tls";
import pg from "pg";
import { pause } from "../pause.ts";

/** How to reach a node from where Pulumi runs. */
export interface Access {
    readonly host: string;
    readonly port: number;
    /** The name the node's certificate must carry. */
    readonly serverName: string;
    /** PEM of the cluster's own CA; nothing else is trusted. */
    readonly ca: string;
    readonly user: string;
    readonly password: string;
    readonly database: string;
}

export interface Session {
    /** The node's name, for errors. */
    readonly node: string;
    query<T extends object = Record<string, unknown>>(sql: string, parameters?: readonly unknown[]): Promise<T[]>;
    /** When the certificate that the node showed ends. */
    certificateEnds(): Date | undefined;
    close(): Promise<void>;
}

/** What the database said, with the node it said it on. */
export class DatabaseError extends Error {
    readonly node: string;
    /** SQLSTATE, or the socket's error code. */
    readonly code: string | undefined;
    /** Whether there was no connection at all. */
    readonly connecting: boolean;
    constructor(node: string, doing: string, cause: unknown, connecting = false) {
        const e = cause as { message?: string; detail?: string; hint?: string; where?: string; code?: string };
        const said = [e.message, e.detail && `DETAIL: ${e.detail}`, e.hint && `HINT: ${e.hint}`]
            .filter((part) => part)
            .join("\n  ");
        super(`${node}: ${doing} failed\n  ${said || "no reason was given"}`);
        this.node = node;
        this.code = e.code;
        this.connecting = connecting;
    }
}

export interface ConnectOptions {
    /** How long one attempt may take, in milliseconds. @default 5000 */
    readonly timeout?: number;
    /** Keep trying this long while the node does not answer, in milliseconds. @default 0 */
    readonly patience?: number;
    /** Called before each further attempt. */
    readonly waiting?: (reason: string) => void;
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
export async function connect(access: Access, node: string, options: ConnectOptions = {}): Promise<Session> {
    const end = Date.now() + (options.patience ?? 0);
    for (;;) {
        const client = new pg.Client({
            // the certificate is checked against serverName, so the address is given as one
            host: access.host === "localhost" ? "127.0.0.1" : access.host,
            port: access.port,
            user: access.user,
            password: access.password,
            database: access.database,
            ssl: { ca: access.ca, servername: access.serverName },
            connectionTimeoutMillis: options.timeout ?? 5000,
            application_name: "pulumi citus",
            keepAlive: true,
        });
        // a lost connection is reported by the query that meets it
        client.on("error", () => undefined);
        client.on("notice", () => undefined);
        try {
            await client.connect();
            const query = async <T extends object>(sql: string, parameters?: readonly unknown[]) => {
                try {
                    const result = await client.query<T>(sql, parameters ? [...parameters] : undefined);
                    return result.rows;
                } catch (error) {
                    throw new DatabaseError(node, summary(sql), error);
                }
            };
            // a database or role may have its own settings; what moves data must not stop half-way because of them
            await query(
                "SELECT set_config('statement_timeout', '0', false), set_config('idle_session_timeout', '0', false)," +
                    " set_config('idle_in_transaction_session_timeout', '0', false), set_config('lock_timeout', '0', false)," +
                    " set_config('search_path', 'public', false), set_config('row_security', 'off', false)",
            );
            const certificateEnds = () => {
                const { stream } = (client as unknown as { connection: { stream: TLSSocket } }).connection;
                const ends = stream.getPeerCertificate?.().valid_to;
                return ends ? new Date(ends) : undefined;
            };
            return { node, query, certificateEnds, close: () => closing(client) };
        } catch (error) {
            discard(client);
            if (!passing(error) || Date.now() >= end) {
                throw error instanceof DatabaseError
                    ? error
                    : new DatabaseError(node, `connecting to ${access.host}:${access.port}`, error, true);
            }
            options.waiting?.((error as Error).message);
            await pause(250);
        }
    }
}

/** Ends a connection; one whose peer does not answer is dropped after two seconds. */
async function closing(client: pg.Client): Promise<void> {
    const late = new Promise<void>((resolve) => setTimeout(resolve, 2000).unref());
    await Promise.race([client.end().catch(() => undefined), late]);
    const { stream } = (client as unknown as { connection: { stream: TLSSocket } }).connection;
    stream.destroy();
}

/** Ends a connection that failed. end() may wait for ever for a peer that has gone, so nobody waits for it. */
function discard(client: pg.Client): void {
    client.end().catch(() => undefined);
    const { stream } = (client as unknown as { connection: { stream: TLSSocket } }).connection;
    setTimeout(() => stream.destroy(), 500).unref();
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

/** The first words of a statement: enough to find it, without values. */
function summary(sql: string): string {
    const flat = sql.replace(/\s+/g, " ").trim();
    return flat.length > 70 ? `${flat.slice(0, 67)}...` : flat;
}
