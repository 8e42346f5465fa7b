/** A database is shut, copied and compared. */

import type { Session } from "../../reach/session.ts";
import { identifier } from "../../sql/quote.ts";
import { pause } from "../../util/pause.ts";
import { recordRate } from "../ledger/measured.ts";
import type { Move } from "./databaseFound.ts";
import { copyName, find, isWhole, type MoveNode, refuseForeign, type Work } from "./moveState.ts";
import { explainBoth, explainHeld, explainLost, goneFrom, NoSource } from "./moveWords.ts";

/** What a copy of a database would not have, and what writes to it although nobody may connect. */
export async function heldBy(server: Session, database: string): Promise<string[]> {
    const rows = await server.query<{ what: string }>(
        `SELECT 'prepared transaction ' || gid AS what FROM pg_prepared_xacts WHERE database = $1
         UNION ALL SELECT 'subscription ' || subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE datname = $1
         UNION ALL SELECT 'replication slot ' || slot_name FROM pg_replication_slots WHERE database = $1 ORDER BY 1`,
        [database],
    );
    return rows.map(({ what }) => what);
}

/**
 * Shuts everybody but superusers out, and ends who is in. It is the limit that does it: the roles keep their rights, and
 * what reads the copy may come in.
 * @returns how many sessions were ended
 */
export async function fence(server: Session, database: string): Promise<number> {
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
export async function printOf(reader: MoveNode, database: string, where: MoveNode): Promise<string> {
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
export async function takeUp(work: Work, move: Move): Promise<Move> {
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

export async function copy(work: Work, move: Move): Promise<Move> {
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
export async function letIn(work: Work, move: Move): Promise<void> {
    const { ledger, name, options } = work;
    await ledger.read();
    const source = await options.node(move.from).server();
    const there = await find(source, name.tenant);
    if (there) refuseForeign(work, move.from, there);
    if (!isWhole(there)) throw new NoSource(work, move, there);
    await source.query(`ALTER DATABASE ${identifier(name.tenant)} CONNECTION LIMIT ${move.limit}`);
}

/** There was no move. @param nodes those in the cluster: one that left took its copy along */
export async function forget(
    { ledger, name, options, mark }: Work,
    move: Move,
    nodes: readonly string[],
): Promise<void> {
    if (nodes.includes(move.to)) {
        const result = await options.node(move.to).run(["copy-database.sh", "drop", copyName(name), mark]);
        if (result.code !== 0) throw new Error(`${name.group}/${name.tenant}: ${move.to}: ${result.stderr.trim()}`);
    }
    await ledger.write(move.from, undefined);
}
