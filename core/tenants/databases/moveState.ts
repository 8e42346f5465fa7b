/** What every step of a move of a database needs, and where a killed run stopped. */

import { createHash } from "node:crypto";
import type { CommandResult } from "../../node/reach.ts";
import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import type { TenantState } from "../ledger/states.ts";
import { placeDatabase } from "../ledger/tenants.ts";
import { INVALID, type Move } from "./databaseFound.ts";

export interface MoveNode {
    readonly name: string;
    /** Host and port on the network between nodes. */
    readonly host: string;
    readonly port: number;
    /** A connection to its database `postgres`; kept and closed by who gives it. */
    server(): Promise<Session>;
    /** A connection to one of its databases, closed by who asks for it. */
    open(database: string): Promise<Session>;
    /** Runs one of the node scripts on it. */
    run(script: readonly string[]): Promise<CommandResult>;
}

export interface MoveOptions {
    /** @throws Error when there is no node of this name */
    node(name: string): MoveNode;
    progress(text: string): void;
}

export interface TenantName {
    readonly group: string;
    readonly tenant: string;
}

/** What databases that are not a tenant's yet are called. */
const COPY_PREFIX = "citus_as_code_copy_";

export const copyName = ({ group, tenant }: TenantName) =>
    `${COPY_PREFIX}${createHash("sha256").update(`${group}/${tenant}`).digest("hex").slice(0, 16)}`;

/** What every step of a move needs. */
export interface Work {
    readonly ledger: Ledger;
    readonly name: TenantName;
    readonly state: TenantState;
    /** The comment on the tenant's database. */
    readonly own: string;
    /** The comment on a copy of it that has not got its name yet. */
    readonly mark: string;
    readonly options: MoveOptions;
}

/** The one row that says where a tenant is and what is being done with it. */
export class Ledger {
    readonly coordinator: Session;
    private readonly name: TenantName;

    constructor(coordinator: Session, name: TenantName) {
        this.coordinator = coordinator;
        this.name = name;
    }

    async read(): Promise<{ node: string; state: TenantState; epoch: number; move: Move | undefined }> {
        const [row] = await this.coordinator.query<{
            node: string;
            state: TenantState;
            epoch: number;
            move: Move | null;
        }>(
            `SELECT node, state, coalesce((detail->>'epoch')::float8, 0) AS epoch, detail->'move' AS move
               FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2`,
            [this.name.group, this.name.tenant],
        );
        if (!row) throw new Error(`${this.name.group} has no tenant ${this.name.tenant}`);
        return { ...row, move: row.move ?? undefined };
    }

    /** Names of the nodes that are in the cluster. */
    async nodes(): Promise<string[]> {
        const rows = await this.coordinator.query<{ host: string }>("SELECT nodename AS host FROM pg_dist_node");
        return rows.map(({ host }) => nodeOf(host));
    }

    async write(node: string, move: Move | undefined): Promise<void> {
        await placeDatabase(this.coordinator, this.name, node, move);
    }
}

export interface Found {
    readonly limit: number;
    readonly comment: string | null;
}

export const isWhole = (there: Found | undefined): boolean => there !== undefined && there.limit !== INVALID;

export async function find(server: Session, database: string): Promise<Found | undefined> {
    const [row] = await server.query<Found>(
        `SELECT datconnlimit AS "limit", shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1`,
        [database],
    );
    return row;
}

/** Only what says that it is the tenant's is moved, opened or dropped. */
export function refuseForeign({ name, own }: Work, node: string, there: Found): void {
    if (there.comment === own) return;
    const database = identifier(name.tenant);
    const said = there.comment === null ? "it has no comment" : `its comment is "${there.comment}"`;
    throw new Error(
        `${name.group}/${name.tenant}: the database ${name.tenant} on ${node} is not the one that was made for it: ${said}.\n` +
            `No database was touched. Rename that one: ALTER DATABASE ${database} RENAME TO …;\nOr, if it is the tenant's all the same: COMMENT ON DATABASE ${database} IS ${literal(own)};\nThen run pulumi up again.`,
    );
}
