/** Statements for one tenant: in one transaction, at its place, with nobody else's rows in sight. */
import type { Found, Place } from "./shardMap.ts";

export interface TenantResult<Row> {
    readonly rows: Row[];
    readonly rowCount: number | null;
}

/** What runs statements for a tenant, while its transaction is open. */
export interface TenantDb {
    /** Where it runs. */
    readonly place: Place;
    /**
     * Runs one statement.
     * @throws Error when the text has several statements, or ends the transaction
     * @example await db.query("UPDATE users SET name = $2 WHERE company_id = $1", [42, "Ada"])
     */
    query<Row = Record<string, unknown>>(text: string, values?: readonly unknown[]): Promise<TenantResult<Row>>;
}

/** A connection of a pool, such as `pg`'s PoolClient. */
export interface TenantConnection {
    query(statement: {
        text: string;
        values?: unknown[];
        queryMode: "extended";
    }): Promise<{ rows: unknown[]; rowCount: number | null; command?: string }>;
    /** @param destroy whether it is closed, instead of given to the next who asks */
    release(destroy?: boolean): void;
    on?(event: "error", listener: (error: Error) => void): unknown;
    removeListener?(event: "error", listener: (error: Error) => void): unknown;
}

/** What gives connections, such as `pg`'s Pool from 8.12 on. */
export interface TenantPool {
    connect(): Promise<TenantConnection>;
}

/** One pool for every place, or the pool of a place. Tenants with databases of their own need the second. */
export type Pools = TenantPool | ((place: Place) => TenantPool | Promise<TenantPool>);

/** COMMIT was sent, and the connection ended before the answer: the work was done or not, and only the rows tell. */
export class CommitUnknown extends Error {
    constructor(cause: unknown) {
        super(
            "the connection ended while COMMIT ran, so it is not known whether the transaction was done: look at its rows before it is repeated",
            { cause },
        );
        this.name = "CommitUnknown";
    }
}

/** A string constant that means the same with standard_conforming_strings on and off. */
function literal(text: string): string {
    const quoted = `'${text.replaceAll("'", "''")}'`;
    return text.includes("\\") ? `E${quoted.replaceAll("\\", "\\\\")}` : quoted;
}

const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** What a statement begins with; ROLLBACK TO a savepoint is a part of the transaction. */
const ENDS =
    /^(begin|start\s+transaction|commit|end|abort|rollback(?!\s+(work\s+|transaction\s+)?to\b)|prepare\s+transaction)\b/i;

/** Without the comments before it. */
const bare = (text: string) => text.replace(/^(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)+/, "");

function refuseEnd(text: string): void {
    const [word] = ENDS.exec(bare(text)) ?? [];
    if (word !== undefined)
        throw new Error(
            `${word.toUpperCase()} can't be run here: the transaction is the tenant's, begun before and committed after. A statement outside of it would have no tenant`,
        );
}

/** What says whose rows are seen. Each is sent by itself: Citus hands the whole text of a SET on to every worker. */
function settings({ model, key, place }: Found): string[] {
    if (model === "schema") return [`SET LOCAL search_path = ${identifier(place.schema ?? key)}, public`];
    if (model === "row")
        return ["SET LOCAL citus.propagate_set_commands = 'local'", `SET LOCAL app.tenant = ${literal(key)}`];
    if (model === "rls") return [`SET LOCAL app.tenant = ${literal(key)}`];
    return [];
}

/** @throws Error when no statement for this tenant can be right */
function refuse({ place, model, group, key }: Found, one: boolean, database: string): void {
    const who = `tenant ${JSON.stringify(key)} of group ${group}`;
    if (place.deleted) throw new Error(`${who} was deleted`);
    if (model === undefined) throw new Error(`there is no group ${group} in the shard map`);
    if (key === "") throw new Error(`a tenant's key can't be empty`);
    if ((model === "database" || model === "routed") && !place.exact)
        throw new Error(`${who} is not in the shard map, and model ${model} has no other place for it`);
    if (one && (model === "routed" || place.database !== database))
        throw new Error(
            `${who} is in database ${place.database} on ${place.node}: give a function that returns the pool of a place, not one pool`,
        );
}

/**
 * Runs a tenant's transaction: BEGIN, its settings, `use`, COMMIT. After an error ROLLBACK; a connection that does not
 * answer to that is closed.
 * @param database the cluster's
 * @param begun told right before `use` is called
 */
export async function inTenant<T>(
    pools: Pools,
    found: Found,
    database: string,
    use: (db: TenantDb) => Promise<T>,
    begun: () => void,
): Promise<T> {
    refuse(found, typeof pools !== "function", database);
    const { place } = found;
    const pool = typeof pools === "function" ? await pools(place) : pools;
    const connection = await pool.connect();
    // the query that meets it says so; without a listener it would end the process
    const ignore = () => undefined;
    connection.on?.("error", ignore);
    // PostgreSQL refuses a text of several statements in this mode
    const send = (text: string, values?: readonly unknown[]) =>
        connection.query({ text, queryMode: "extended", ...(values === undefined ? {} : { values: [...values] }) });
    let open = true;
    let destroy = false;
    const db: TenantDb = {
        place,
        query: async <Row>(text: string, values?: readonly unknown[]) => {
            if (!open)
                throw new Error("the tenant's transaction has ended: await every query before the function returns");
            refuseEnd(text);
            const { rows, rowCount } = await send(text, values);
            return { rows: rows as Row[], rowCount };
        },
    };
    try {
        let result: T;
        try {
            await send("BEGIN");
            for (const setting of settings(found)) await send(setting);
            begun();
            result = await use(db);
        } catch (error) {
            open = false;
            await send("ROLLBACK").catch(() => {
                destroy = true;
            });
            throw error;
        }
        open = false;
        const { command } = await send("COMMIT").catch((error: unknown) => {
            destroy = true;
            // an answer from the server is a transaction that was not done
            throw isAnswer(error) ? error : new CommitUnknown(error);
        });
        if (command === "ROLLBACK")
            throw new Error(
                "nothing was done: a statement failed, its error was caught, and the transaction could only be rolled back",
            );
        return result;
    } finally {
        connection.removeListener?.("error", ignore);
        connection.release(destroy);
    }
}

/** An ERROR, and not the end of the connection, which may come before or after the commit. */
const isAnswer = (error: unknown) => (error as { severity?: unknown } | null)?.severity === "ERROR";
