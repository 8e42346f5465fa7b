/**
 * Moving a tenant's database to another node: fence, copy, verify, switch, drop the old one. Where a killed run stopped is
 * in the ledger's `detail.move`, so running it again goes on.
 */
import { createHash } from "node:crypto";
import type { CommandResult } from "../../node/reach.ts";
import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { pause } from "../../util/pause.ts";
import { recordRate } from "../ledger/measured.ts";
import { INVALID, identity, isEmpty, type Move } from "./databaseFound.ts";

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
interface Work {
    readonly ledger: Ledger;
    readonly name: TenantName;
    readonly state: string;
    /** The comment on the tenant's database. */
    readonly own: string;
    /** The comment on a copy of it that has not got its name yet. */
    readonly mark: string;
    readonly options: MoveOptions;
}

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
    const row = await ledger.read();
    const own = identity(name.group, name.tenant, row.epoch);
    const mark = own.replace(": ", ": copy of ");
    const work: Work = { ledger, name, state: row.state, own, mark, options };
    let { node, move } = row;
    const said: string[] = [];
    const nodes = move === undefined ? [] : await ledger.nodes();
    if (move !== undefined && !nodes.includes(move.from)) {
        said.push(await leaveOld(work, move));
        node = move.to;
        move = undefined;
    }
    const away = move !== undefined && !nodes.includes(move.to);
    if (move !== undefined && away && move.phase === "drop") throw new Error(await explainAway(work, move));
    if (move !== undefined && !away && move.phase !== "copy") move = await takeUp(work, move);
    const doomed = move?.phase === "copy" && (await isDoomed(work, move));
    if (move !== undefined && (away || doomed || (move.phase === "copy" && move.to !== to))) {
        if (!doomed) await letIn(work, move);
        await forget(work, move, nodes);
        if (doomed) return explainDoomed(work, move.from);
        if (away)
            said.push(
                `${name.tenant}: moving its database to ${move.to}, which is not in the cluster any more, was given up: it is served on ${move.from}`,
            );
        // the program names no other node
        if (away && to === move.to) return said.join("\n");
        node = move.from;
        move = undefined;
    }
    if (move === undefined) {
        if (node === to) return [...said, `${name.tenant}: its database is on ${to}`].join("\n");
        const begun = await begin(work, { from: node, to });
        if (typeof begun === "string") return [...said, begun].join("\n");
        move = begun;
    }
    if (move.phase === "copy") move = await copy(work, move);
    if (move.phase === "switch") {
        const took = await switchOver(work, move);
        said.push(
            `${name.tenant}: its database moved from ${move.from} to ${move.to}; nobody could use it for ${(took / 1000).toFixed(1)} s`,
        );
    }
    node = move.to;
    await dropOld(work, move);
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

    async read(): Promise<{ node: string; state: string; epoch: number; move: Move | undefined }> {
        const [row] = await this.coordinator.query<{ node: string; state: string; epoch: number; move: Move | null }>(
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
        await this.coordinator.query(
            `UPDATE citus_as_code.tenant SET node = $3, since = now(),
                    detail = CASE WHEN $4::jsonb IS NULL THEN detail - 'move' ELSE jsonb_set(detail, '{move}', $4::jsonb) END
              WHERE grp = $1 AND tenant = $2`,
            [this.name.group, this.name.tenant, node, move ? JSON.stringify(move) : null],
        );
    }
}

interface Found {
    readonly limit: number;
    readonly comment: string | null;
}

const isWhole = (there: Found | undefined): boolean => there !== undefined && there.limit !== INVALID;

async function find(server: Session, database: string): Promise<Found | undefined> {
    const [row] = await server.query<Found>(
        `SELECT datconnlimit AS "limit", shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1`,
        [database],
    );
    return row;
}

/** Only what says that it is the tenant's is moved, opened or dropped. */
function refuseForeign({ name, own }: Work, node: string, there: Found): void {
    if (there.comment === own) return;
    const database = identifier(name.tenant);
    const said = there.comment === null ? "it has no comment" : `its comment is "${there.comment}"`;
    throw new Error(
        `${name.group}/${name.tenant}: the database ${name.tenant} on ${node} is not the one that was made for it: ${said}.\n` +
            `No database was touched. Rename that one: ALTER DATABASE ${database} RENAME TO …;\nOr, if it is the tenant's all the same: COMMENT ON DATABASE ${database} IS ${literal(own)};\nThen run pulumi up again.`,
    );
}

/** The original is gone or half dropped: the move can neither go on nor be undone. */
class NoSource extends Error {
    /** @param more what can still be used */
    constructor({ name: { group, tenant } }: Work, { from, to }: Move, there: Found | undefined, more = "") {
        super(
            `${group}/${tenant}: its database was moving from ${from} to ${to}, and ${there ? `a DROP DATABASE of the one on ${from} was begun and not ended: it can only be dropped` : `the one on ${from} is gone`}.\n` +
                `No database was touched. Bring it back under its name from a backup. Or, to begin anew with an export, make the ledger forget the move:\n` +
                `  UPDATE citus_as_code.tenant SET detail = detail - 'move' WHERE grp = ${literal(group)} AND tenant = ${literal(tenant)};${more}`,
        );
    }
}

/** Whether the tenant's deletion was dropping its database: it drops what is left, as soon as no move is written down. */
async function isDoomed(work: Work, { from }: Move): Promise<boolean> {
    if (work.state !== "deleting") return false;
    const there = await find(await work.options.node(from).server(), work.name.tenant);
    if (there) refuseForeign(work, from, there);
    return there?.limit === INVALID;
}

const explainDoomed = ({ name: { tenant } }: Work, from: string) =>
    `${tenant}: a DROP DATABASE of its database on ${from} was begun and not ended. It is not moved: its deletion drops what is left`;

/** Writes down what will be done, before it is. @returns for a person, why there is no database to move */
async function begin(work: Work, { from, to }: { from: string; to: string }): Promise<Move | string> {
    const { ledger, name, options } = work;
    const { group, tenant } = name;
    const source = await options.node(from).server();
    const there = await find(source, tenant);
    const making = work.state === "creating";
    if (!there || (making && (await isUnmade(options.node(from), tenant, there)))) {
        if (there) await source.query(`DROP DATABASE ${identifier(tenant)} WITH (FORCE)`);
        await ledger.write(to, undefined);
        return making
            ? `${tenant}: its database will be made on ${to}`
            : `${tenant}: its database should be on ${from} and is gone; it is looked for on ${to} now`;
    }
    refuseForeign(work, from, there);
    if (!isWhole(there)) {
        if (work.state === "deleting") return explainDoomed(work, from);
        throw new Error(
            `${group}/${tenant}: a DROP DATABASE of its database on ${from} was begun and not ended: nobody can connect to it any more, and it can only be dropped.\n` +
                `Nothing was changed. To delete the tenant, give ${tenant} the state deleted. To keep it, run there: DROP DATABASE ${identifier(tenant)}; then bring it back from an export: npm run tenants -- restore ${group}/${tenant} FILE`,
        );
    }
    if (await find(await options.node(to).server(), tenant))
        throw new Error(
            `${group}/${tenant}: ${to} has a database ${tenant} that is not its own.\nNothing was changed: its database is served on ${from}. Rename the one on ${to}, then run pulumi up again.`,
        );
    const held = await heldBy(source, tenant);
    if (held.length > 0)
        throw new Error(`${explainHeld(work, from, held)}\nNothing was changed. End them, then run pulumi up again.`);
    const move: Move = { from, to, phase: "copy", limit: there.limit, fenced: Date.now() };
    await ledger.write(from, move);
    return move;
}

/** One that a killed run left in the making was never open. */
async function isUnmade(node: MoveNode, tenant: string, { limit, comment }: Found): Promise<boolean> {
    if (limit !== 0 || comment !== null) return false;
    const session = await node.open(tenant);
    try {
        return await isEmpty(session);
    } finally {
        await session.close();
    }
}

/** What a copy of a database would not have, and what writes to it although nobody may connect. */
async function heldBy(server: Session, database: string): Promise<string[]> {
    const rows = await server.query<{ what: string }>(
        `SELECT 'prepared transaction ' || gid AS what FROM pg_prepared_xacts WHERE database = $1
         UNION ALL SELECT 'subscription ' || subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE datname = $1
         UNION ALL SELECT 'replication slot ' || slot_name FROM pg_replication_slots WHERE database = $1 ORDER BY 1`,
        [database],
    );
    return rows.map(({ what }) => what);
}

const explainHeld = ({ name: { group, tenant } }: Work, from: string, held: readonly string[]) =>
    `${group}/${tenant}: its database on ${from} has what no copy takes along: ${held.join(", ")}.`;

/**
 * Shuts everybody but superusers out, and ends who is in. It is the limit that does it: the roles keep their rights, and
 * what reads the copy may come in.
 * @returns how many sessions were ended
 */
async function fence(server: Session, database: string): Promise<number> {
    let ended = 0;
    await server.query(`ALTER DATABASE ${identifier(database)} CONNECTION LIMIT 0`);
    // twice nobody: one that was on its way in when the limit came is seen a moment later
    for (let calm = 0, tries = 0; calm < 2; tries++) {
        const [row] = await server.query<{ n: number }>(
            `SELECT count(pg_terminate_backend(pid))::int AS n FROM pg_stat_activity
              WHERE datname = $1 AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
            [database],
        );
        ended += row?.n ?? 0;
        calm = row?.n === 0 ? calm + 1 : 0;
        if (tries > 300) throw new Error(`${server.node}: sessions in database ${database} do not end`);
        await pause(50);
    }
    return ended;
}

/** What is in a database, as one hash. @param reader the node that reads it */
async function printOf(reader: MoveNode, database: string, where: MoveNode): Promise<string> {
    const at = where.name === reader.name ? [] : [where.host, String(where.port)];
    const result = await reader.run(["copy-database.sh", "print", database, ...at]);
    if (result.code !== 0)
        throw new Error(
            `${where.name}: can't see whether database ${database} is still what was copied\n  ${result.stderr.trim()}\n` +
                "No database was dropped. Remove the cause, then run pulumi up again: the move goes on.",
        );
    return result.stdout.trim();
}

/** Whether a database is not what it was; when it is, nobody can change it any more. */
async function changed(
    reader: MoveNode,
    database: string,
    where: MoveNode,
    print: string | undefined,
): Promise<boolean> {
    if ((await printOf(reader, database, where)) !== print) return true;
    const server = await where.server();
    const limit = (await find(server, database))?.limit ?? 0;
    if ((await fence(server, database)) === 0 && limit === 0) return false;
    if ((await printOf(reader, database, where)) === print) return false;
    await server.query(`ALTER DATABASE ${identifier(database)} CONNECTION LIMIT ${limit}`);
    return true;
}

/**
 * Looks whether the databases are still what a killed run left: people may have let clients in since, or changed them.
 * @returns the move, at `copy` again when only the original was written to
 * @throws Error when both were written to, or one is not the tenant's
 */
async function takeUp(work: Work, move: Move): Promise<Move> {
    const { ledger, options, name, mark } = work;
    const { tenant } = name;
    const source = options.node(move.from);
    const target = options.node(move.to);
    const server = await target.server();
    const old = await find(await source.server(), tenant);
    const made = await find(server, tenant);
    const there = await find(server, copyName(name));
    const copied = there?.comment === mark && isWhole(there);
    if (old) refuseForeign(work, move.from, old);
    if (made) refuseForeign(work, move.to, made);
    if (!isWhole(made) && move.phase === "drop") throw new Error(explainLost(work, move, old, goneFrom(made)));
    if (!isWhole(old)) {
        if (isWhole(made)) return move;
        const kept = `\nThe copy ${copyName(name)} on ${move.to} has what was in it at ${new Date(move.fenced).toISOString()}.`;
        throw new NoSource(work, move, old, copied ? kept : "");
    }
    const both = `${tenant} on ${move.from} and ${tenant} on ${move.to}`;
    let { print } = move;
    if (print === undefined && isWhole(made)) {
        const same = await printOf(target, tenant, source);
        if ((await printOf(target, tenant, target)) !== same)
            throw new Error(
                explainBoth(
                    work,
                    move,
                    `that was begun by an older version, which did not write down what it copied: ${both} differ, and it can't be known which was written to since`,
                ),
            );
        print = { source: same, copy: same };
    }
    const written = await changed(target, tenant, source, print?.source);
    if (made && isWhole(made)) {
        if (!written) return { ...move, ...(print ? { print } : {}) };
        if (await changed(target, tenant, target, print?.copy))
            throw new Error(explainBoth(work, move, `since it was copied, both were written to: ${both}`));
        // from here on the original counts, also when the DROP does not end
        await ledger.write(move.from, { ...move, phase: "switch" });
    }
    if (made) {
        await server.query(`DROP DATABASE ${identifier(tenant)} WITH (FORCE)`);
    } else if (copied && !written && !(await changed(target, copyName(name), target, print?.copy))) {
        return move;
    }
    const { print: _, ...rest } = move;
    const again: Move = { ...rest, phase: "copy", fenced: Date.now() };
    await ledger.write(move.from, again);
    return again;
}

function explainBoth({ name: { group, tenant } }: Work, { from, to }: Move, why: string): string {
    return (
        `${group}/${tenant}: its database was moving from ${from} to ${to}, and ${why}.\n` +
        `Both are kept as they are. Copy what is missing from one into the other. Rename the one that you do not want: ALTER DATABASE ${identifier(tenant)} RENAME TO …;\nThen tell the ledger where the other is:\n` +
        `  UPDATE citus_as_code.tenant SET node = ${literal(to)}, detail = detail - 'move' WHERE grp = ${literal(group)} AND tenant = ${literal(tenant)};  -- or ${literal(from)}`
    );
}

async function copy(work: Work, move: Move): Promise<Move> {
    const { ledger, name, options, mark } = work;
    const { tenant } = name;
    const source = options.node(move.from);
    const target = options.node(move.to);
    const there = await find(await source.server(), tenant);
    if (there) refuseForeign(work, move.from, there);
    if (!isWhole(there)) throw new NoSource(work, move, there);
    try {
        options.progress(`${tenant}: copying its database from ${move.from} to ${move.to}`);
        if (await find(await target.server(), tenant))
            throw new Error(`${move.to} has a database ${tenant} that is not its own: rename that one`);
        await fence(await source.server(), tenant);
        // what was prepared before nobody could any more
        const held = await heldBy(await source.server(), tenant);
        if (held.length > 0) throw new Error(explainHeld(work, move.from, held));
        const began = Date.now();
        const result = await target.run([
            "copy-database.sh",
            "copy",
            source.host,
            String(source.port),
            tenant,
            copyName(name),
            mark,
        ]);
        if (result.code !== 0) throw new CopyError(result.code, result.stderr.trim());
        const told = (what: string) => {
            const found = new RegExp(`^${what}=(\\w+)$`, "m").exec(result.stdout)?.[1];
            if (found === undefined) throw new Error(`${move.to}: copy-database.sh did not say ${what}=`);
            return found;
        };
        await recordRate(ledger.coordinator, "database copy", Number(told("bytes")), (Date.now() - began) / 1000);
        const print = { source: told("source"), copy: told("copy") };
        const verified: Move = { ...move, phase: "switch", print };
        await ledger.write(move.from, verified);
        return verified;
    } catch (error) {
        const worked = (done: Promise<void>) =>
            done.then(
                () => true,
                () => false,
            );
        let lost = "";
        const served = await worked(
            letIn(work, move).catch((failure: Error) => {
                if (failure instanceof NoSource) lost = failure.message;
                throw failure;
            }),
        );
        const code = error instanceof CopyError ? error.code : undefined;
        // what is there under the copy's name was there before, and stays
        const undo = () => (code === 4 ? ledger.write(move.from, undefined) : forget(work, move, [move.to]));
        const undone = served && (await worked(undo()));
        const what =
            code === 6 ? "the copy differs from the original (lines with <) and was dropped" : "it could not be copied";
        throw new Error(
            `${name.group}/${name.tenant}: moving its database from ${move.from} to ${move.to}: ${what}\n  ${(error as Error).message}\n` +
                (undone
                    ? `It is served on ${move.from} as before. Remove the cause, then run pulumi up again.`
                    : served
                      ? `It is served on ${move.from} as before. What was copied to ${move.to} may still be there, as ${copyName(name)}: the next pulumi up drops it and copies anew.`
                      : lost ||
                        `It is whole on ${move.from}, and takes no connections. Run pulumi up again: it goes on with the move.`),
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

/** The original is served again. Only by who holds the lock: another run may be moving it by now. */
async function letIn(work: Work, move: Move): Promise<void> {
    const { ledger, name, options } = work;
    await ledger.read();
    const source = await options.node(move.from).server();
    const there = await find(source, name.tenant);
    if (there) refuseForeign(work, move.from, there);
    if (!isWhole(there)) throw new NoSource(work, move, there);
    await source.query(`ALTER DATABASE ${identifier(name.tenant)} CONNECTION LIMIT ${move.limit}`);
}

/** There was no move. @param nodes those in the cluster: one that left took its copy along */
async function forget({ ledger, name, options, mark }: Work, move: Move, nodes: readonly string[]): Promise<void> {
    if (nodes.includes(move.to)) {
        const result = await options.node(move.to).run(["copy-database.sh", "drop", copyName(name), mark]);
        if (result.code !== 0) throw new Error(`${name.group}/${name.tenant}: ${move.to}: ${result.stderr.trim()}`);
    }
    await ledger.write(move.from, undefined);
}

/** Settings whose values are lists of names, and are stored as they are written. */
const LISTS =
    "'search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries', 'shared_preload_libraries', 'unix_socket_directories'";

/** Statements that give another database what pg_dump leaves out: whose it is, its settings, its comment, and who may connect. */
const DRESS = `
SELECT format('ALTER DATABASE %s OWNER TO %I', $2::text, pg_get_userbyid(datdba)) AS statement FROM pg_database WHERE datname = $1
UNION ALL
SELECT format('REVOKE ALL ON DATABASE %s FROM PUBLIC, %I', $2::text, pg_get_userbyid(datdba)) FROM pg_database WHERE datname = $1
UNION ALL
SELECT format('GRANT %s ON DATABASE %s TO %s%s', a.privilege_type, $2, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE d.datname = $1
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
async function switchOver({ ledger, name, options }: Work, move: Move): Promise<number> {
    const { group, tenant } = name;
    const target = await options.node(move.to).server();
    const temporary = copyName(name);
    // a killed run may have switched and not written it down
    if (!(await find(target, tenant))) {
        const source = await options.node(move.from).server();
        const rows = await source.query<{ statement: string }>(DRESS, [tenant, identifier(temporary)]);
        try {
            await target.query(
                [
                    ...rows.map((row) => row.statement),
                    `ALTER DATABASE ${identifier(temporary)} CONNECTION LIMIT ${move.limit}`,
                    // what it says and who may come in arrive with its name
                    `ALTER DATABASE ${identifier(temporary)} RENAME TO ${identifier(tenant)}`,
                ].join(";\n"),
            );
        } catch (error) {
            throw new Error(
                `${group}/${tenant}: moving its database from ${move.from} to ${move.to}: the copy could not be given its name\n  ${(error as Error).message}\n` +
                    `It is whole on ${move.from}, and takes no connections. Remove the cause, then run pulumi up again: it goes on with the move.`,
            );
        }
    }
    const took = Date.now() - move.fenced;
    await ledger.write(move.to, { ...move, phase: "drop" });
    return took;
}

const goneFrom = (made: Found | undefined) =>
    made ? "a DROP DATABASE of it there was begun and not ended" : "is not there any more";

/** @param why what became of the new one */
function explainLost({ name: { group, tenant } }: Work, move: Move, old: Found | undefined, why: string): string {
    const gone = `${group}/${tenant}: its database moved to ${move.to} and ${why}`;
    if (!isWhole(old))
        return `${gone}, and the old one on ${move.from} is gone too.\nBring it back from an export or a backup.`;
    return (
        `${gone}.\nThe old one on ${move.from} is kept. It takes no connections, and has nothing that was written since the move. Bring the new one back.\nOr open the old one: ALTER DATABASE ${identifier(tenant)} CONNECTION LIMIT ${move.limit}; and tell the ledger where it is:\n` +
        `  UPDATE citus_as_code.tenant SET node = ${literal(move.from)}, detail = detail - 'move' WHERE grp = ${literal(group)} AND tenant = ${literal(tenant)};`
    );
}

/** The new one left the cluster with its node. */
async function explainAway(work: Work, move: Move): Promise<string> {
    const old = await find(await work.options.node(move.from).server(), work.name.tenant);
    if (old) refuseForeign(work, move.from, old);
    return explainLost(work, move, old, `${move.to} is not in the cluster any more`);
}

/** The old one left the cluster with its node. @returns what was done, for a person */
async function leaveOld(work: Work, move: Move): Promise<string> {
    const { ledger, options, name } = work;
    const { group, tenant } = name;
    if (move.phase !== "drop")
        throw new Error(
            `${group}/${tenant}: its database was moving from ${move.from} to ${move.to}, and ${move.from}, which has it, is not in the cluster any more.\n` +
                `No database was touched. Register ${move.from} again. Or, to begin anew with an export or a backup, make the ledger forget the move:\n` +
                `  UPDATE citus_as_code.tenant SET detail = detail - 'move' WHERE grp = ${literal(group)} AND tenant = ${literal(tenant)};`,
        );
    const made = await find(await options.node(move.to).server(), tenant);
    if (!made || !isWhole(made)) throw new Error(explainLost(work, move, undefined, goneFrom(made)));
    refuseForeign(work, move.to, made);
    await ledger.write(move.to, undefined);
    return `${tenant}: its old database was on ${move.from}, which is not in the cluster any more, and was not dropped`;
}

/** The copy has the name and was verified before it got it. */
async function dropOld(work: Work, move: Move): Promise<void> {
    const { ledger, name, options } = work;
    const { group, tenant } = name;
    const target = options.node(move.to);
    const source = options.node(move.from);
    const made = await find(await target.server(), tenant);
    const old = await find(await source.server(), tenant);
    if (!made || !isWhole(made)) throw new Error(explainLost(work, move, old, goneFrom(made)));
    refuseForeign(work, move.to, made);
    if (old) {
        refuseForeign(work, move.from, old);
    }
    if (old && isWhole(old)) {
        // a superuser can have written to it since, and whoever was let in by hand
        await fence(await source.server(), tenant);
        if ((await printOf(target, tenant, source)) !== move.print?.source)
            throw new Error(
                `${group}/${tenant}: its database moved to ${move.to}, and the old one on ${move.from} was written to after it was copied.\n` +
                    `Both are kept. Keep everybody, superusers too, from writing to the one on ${move.from}. Then run pulumi up again: it copies again, unless the one on ${move.to} was written to as well.`,
            );
    }
    if (old) await (await source.server()).query(`DROP DATABASE ${identifier(tenant)} WITH (FORCE)`);
    await ledger.write(move.to, undefined);
}
