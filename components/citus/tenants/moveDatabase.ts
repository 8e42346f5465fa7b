/**
 * Moving a tenant's database to another node: fence, copy, verify, switch, drop the old one. Where a killed run stopped is
 * in the ledger's `detail.move`, so running it again goes on.
 */
import { createHash } from "node:crypto";
import { pause } from "../../pause.ts";
import { runScript, type Shell } from "../../shell.ts";
import { describeBytes } from "../job.ts";
import { identifier, literal } from "../quote.ts";
import type { Session } from "../session.ts";
import { recordRate } from "./ledger.ts";

/** A move that has begun and not ended. */
export interface Move {
    readonly from: string;
    readonly to: string;
    /** `copy` until the copy is verified, `switch` until it has the name, `drop` until the old one is gone. */
    readonly phase: "copy" | "switch" | "drop";
    /** The connection limit that the database had. */
    readonly limit: number;
    /** When its clients were shut out, in milliseconds since 1970. */
    readonly fenced: number;
}

export interface MoveNode {
    readonly name: string;
    /** Host and port on the network between nodes. */
    readonly host: string;
    readonly port: number;
    /** A connection to its database `postgres`; kept and closed by who gives it. */
    server(): Promise<Session>;
    /** How scripts run on it. */
    shell(): Shell;
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
export const COPY_PREFIX = "citus_as_code_copy_";

const copyName = ({ group, tenant }: TenantName) =>
    `${COPY_PREFIX}${createHash("sha256").update(`${group}/${tenant}`).digest("hex").slice(0, 16)}`;

/** For preview. */
export function describeMove(
    tenant: string,
    from: string,
    to: string,
    known: { move?: Move | undefined; bytes?: number | undefined; rate: number | null },
): string {
    if (known.move) return `${tenant}: go on moving its database from ${known.move.from} to ${known.move.to}`;
    const size = known.bytes === undefined ? "" : `, ${describeBytes(known.bytes)}`;
    const time = known.rate && known.bytes !== undefined ? ` (about ${Math.ceil(known.bytes / known.rate)} s)` : "";
    return `${tenant}: move its database from ${from} to ${to}${size}; nobody can use it while it is copied${time}`;
}

/**
 * Moves a tenant's database to a node, whatever a killed run left. Does nothing when it is there.
 * @param coordinator the cluster's database, where the ledger is
 * @returns what was done, for a person
 * @throws Error when it can't be copied whole: it is where it was, and served, then
 */
export async function moveDatabase(
    coordinator: Session,
    name: TenantName,
    to: string,
    options: MoveOptions,
): Promise<string> {
    const ledger = new Ledger(coordinator, name);
    let { node, move } = await ledger.read();
    const said: string[] = [];
    if (move?.phase === "copy" && move.to !== to) {
        await giveUp(ledger, move, name, options);
        move = undefined;
    }
    if (move === undefined) {
        if (node === to) return `${name.tenant}: its database is on ${to}`;
        move = await begin(ledger, { from: node, to }, name, options);
        if (move === undefined) return `${name.tenant}: its database will be made on ${to}`;
    }
    if (move.phase === "copy") move = await copy(ledger, move, name, options);
    if (move.phase === "switch") {
        const took = await switchOver(ledger, move, name, options);
        said.push(
            `${name.tenant}: its database moved from ${move.from} to ${move.to}; nobody could use it for ${(took / 1000).toFixed(1)} s`,
        );
        move = { ...move, phase: "drop" };
    }
    node = move.to;
    await dropOld(ledger, move, name, options);
    if (node !== to) said.push(await moveDatabase(coordinator, name, to, options));
    return said.length > 0 ? said.join("\n") : `${name.tenant}: its old database on ${move.from} is gone`;
}

/** The one row that says where a tenant is and what is being done with it. */
class Ledger {
    readonly coordinator: Session;
    private readonly name: TenantName;

    constructor(coordinator: Session, name: TenantName) {
        this.coordinator = coordinator;
        this.name = name;
    }

    async read(): Promise<{ node: string; move: Move | undefined }> {
        const [row] = await this.coordinator.query<{ node: string; move: Move | null }>(
            "SELECT node, detail->'move' AS move FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
            [this.name.group, this.name.tenant],
        );
        if (!row) throw new Error(`${this.name.group} has no tenant ${this.name.tenant}`);
        return { node: row.node, move: row.move ?? undefined };
    }

    async write(node: string, move: Move | undefined): Promise<void> {
        await this.coordinator.query(
            `UPDATE citus_as_code.tenant SET node = $3, since = now(),
                    detail = CASE WHEN $4::jsonb IS NULL THEN detail - 'move' ELSE jsonb_set(detail, '{move}', $4::jsonb) END
              WHERE grp = $1 AND tenant = $2`,
            [this.name.group, this.name.tenant, node, move ? JSON.stringify(move) : null],
        );
    }
}

async function find(server: Session, database: string): Promise<{ limit: number; comment: string | null } | undefined> {
    const [row] = await server.query<{ limit: number; comment: string | null }>(
        `SELECT datconnlimit AS "limit", shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1`,
        [database],
    );
    return row;
}

/** Writes down what will be done, before it is. @returns undefined when there is no database yet to move */
async function begin(
    ledger: Ledger,
    { from, to }: { from: string; to: string },
    { group, tenant }: TenantName,
    options: MoveOptions,
): Promise<Move | undefined> {
    const source = await options.node(from).server();
    const target = await options.node(to).server();
    const there = await find(source, tenant);
    // one that a killed run left in the making is empty and was never open
    const unmade = there?.limit === 0 && there.comment === null;
    if (!there || unmade) {
        if (unmade) await source.query(`DROP DATABASE ${identifier(tenant)} WITH (FORCE)`);
        await ledger.write(to, undefined);
        return undefined;
    }
    if (await find(target, tenant))
        throw new Error(
            `${group}/${tenant}: ${to} has a database ${tenant} that is not its own.\nNothing was changed: its database is served on ${from}. Rename the one on ${to}, then run pulumi up again.`,
        );
    const [prepared] = await source.query<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_prepared_xacts WHERE database = $1",
        [tenant],
    );
    if (prepared && prepared.n > 0)
        throw new Error(
            `${group}/${tenant}: ${prepared.n} prepared transactions are open in its database on ${from}, and a copy would not have them.\n` +
                `Nothing was changed. Commit or roll them back (pg_prepared_xacts), then run pulumi up again.`,
        );
    const move: Move = { from, to, phase: "copy", limit: there.limit, fenced: Date.now() };
    await ledger.write(from, move);
    return move;
}

/**
 * Shuts everybody but superusers out, and ends who is in. It is the limit that does it: the roles keep their rights, and
 * what reads the copy may come in.
 */
async function fence(server: Session, database: string): Promise<void> {
    await server.query(`ALTER DATABASE ${identifier(database)} CONNECTION LIMIT 0`);
    // twice nobody: one that was on its way in when the limit came is seen a moment later
    for (let calm = 0, tries = 0; calm < 2; tries++) {
        const [row] = await server.query<{ n: number }>(
            `SELECT count(pg_terminate_backend(pid))::int AS n FROM pg_stat_activity
              WHERE datname = $1 AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
            [database],
        );
        calm = row?.n === 0 ? calm + 1 : 0;
        if (tries > 300) throw new Error(`${server.node}: sessions in database ${database} do not end`);
        await pause(50);
    }
}

async function copy(ledger: Ledger, move: Move, name: TenantName, options: MoveOptions): Promise<Move> {
    const source = options.node(move.from);
    const target = options.node(move.to);
    const { tenant } = name;
    try {
        options.progress(`${tenant}: copying its database from ${move.from} to ${move.to}`);
        await fence(await source.server(), tenant);
        const began = Date.now();
        const result = await runScript(target.shell(), [
            "copy-database.sh",
            source.host,
            String(source.port),
            tenant,
            copyName(name),
        ]);
        if (result.code !== 0) throw new CopyError(result.code, result.stderr.trim());
        const bytes = Number(/^bytes=(\d+)$/m.exec(result.stdout)?.[1] ?? 0);
        await recordRate(ledger.coordinator, "database copy", bytes, (Date.now() - began) / 1000);
        const verified: Move = { ...move, phase: "switch" };
        await ledger.write(move.from, verified);
        return verified;
    } catch (error) {
        const undone = await giveUp(ledger, move, name, options).then(
            () => true,
            () => false,
        );
        const what =
            error instanceof CopyError && error.code === 6
                ? "the copy is not the same as the original (<) and was dropped"
                : "it could not be copied";
        throw new Error(
            `${name.group}/${tenant}: moving its database from ${move.from} to ${move.to}: ${what}\n  ${(error as Error).message}\n` +
                (undone
                    ? `It is served on ${move.from} as before. Remove the cause, then run pulumi up again.`
                    : `It is whole on ${move.from}, and closed. Run pulumi up again: it goes on.`),
        );
    }
}

class CopyError extends Error {
    readonly code: number;
    constructor(code: number, said: string) {
        super(said.replaceAll("\n", "\n  "));
        this.code = code;
    }
}

/** Back to how it was before the move. */
async function giveUp(ledger: Ledger, move: Move, name: TenantName, options: MoveOptions): Promise<void> {
    const target = await options.node(move.to).server();
    await target.query(`DROP DATABASE IF EXISTS ${identifier(copyName(name))} WITH (FORCE)`);
    const source = await options.node(move.from).server();
    await source.query(`ALTER DATABASE ${identifier(name.tenant)} CONNECTION LIMIT ${move.limit}`);
    await ledger.write(move.from, undefined);
}

/** Settings whose values are lists of names, and are stored as they are written. */
const LISTS =
    "'search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries', 'shared_preload_libraries', 'unix_socket_directories'";

/** Statements that give another database what pg_dump leaves out: its settings, its comment, and who may connect. */
const DRESS = `
SELECT 'REVOKE ALL ON DATABASE ' || $2 || ' FROM PUBLIC' AS statement
UNION ALL
SELECT format('GRANT %s ON DATABASE %s TO %s%s', a.privilege_type, $2, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE d.datname = $1 AND a.grantee <> d.datdba
UNION ALL
SELECT format('COMMENT ON DATABASE %s IS %L', $2, shobj_description(d.oid, 'pg_database')) FROM pg_database d WHERE d.datname = $1
UNION ALL
SELECT format('ALTER %s SET %I TO %s',
              CASE s.setrole WHEN 0 THEN 'DATABASE ' || $2 ELSE format('ROLE %I IN DATABASE %s', pg_get_userbyid(s.setrole), $2) END,
              split_part(c, '=', 1),
              CASE WHEN split_part(c, '=', 1) IN (${LISTS}) THEN coalesce(nullif(substr(c, strpos(c, '=') + 1), ''), '''''')
                   ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END)
  FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c WHERE d.datname = $1`;

/** Gives the verified copy the name. @returns for how long nobody could use the database, in milliseconds */
async function switchOver(ledger: Ledger, move: Move, name: TenantName, options: MoveOptions): Promise<number> {
    const { tenant } = name;
    const target = await options.node(move.to).server();
    const temporary = copyName(name);
    // a killed run may have switched and not written it down
    if (await find(target, temporary)) {
        const source = await options.node(move.from).server();
        const rows = await source.query<{ statement: string }>(DRESS, [tenant, identifier(temporary)]);
        await target.query(
            [
                ...rows.map((row) => row.statement),
                `ALTER DATABASE ${identifier(temporary)} CONNECTION LIMIT ${move.limit}`,
                // what it says and who may come in arrive with its name
                `ALTER DATABASE ${identifier(temporary)} RENAME TO ${identifier(tenant)}`,
            ].join(";\n"),
        );
    }
    const took = Date.now() - move.fenced;
    await ledger.write(move.to, { ...move, phase: "drop" });
    return took;
}

/** The copy has the name and was verified before it got it. */
async function dropOld(ledger: Ledger, move: Move, { group, tenant }: TenantName, options: MoveOptions): Promise<void> {
    const target = await options.node(move.to).server();
    const there = await find(target, tenant);
    if (!there?.comment?.startsWith(`citus_as_code: ${group}/${tenant},`))
        throw new Error(
            `${group}/${tenant}: its database moved to ${move.to} and is not there any more.\n` +
                `The old one on ${move.from} is kept, closed. Bring the new one back, or let the old one in again (ALTER DATABASE ${identifier(tenant)} CONNECTION LIMIT ${move.limit}) and write down where it is:\n` +
                `  UPDATE citus_as_code.tenant SET node = ${literal(move.from)}, detail = detail - 'move' WHERE grp = ${literal(group)} AND tenant = ${literal(tenant)};`,
        );
    const source = await options.node(move.from).server();
    await source.query(`DROP DATABASE IF EXISTS ${identifier(tenant)} WITH (FORCE)`);
    await ledger.write(move.to, undefined);
}
