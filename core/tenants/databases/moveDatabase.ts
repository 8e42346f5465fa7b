/**
 * Moving a tenant's database to another node: fence, copy, verify, switch, drop the old one. Where a killed run stopped is
 * in the ledger's `detail.move`, so running it again goes on.
 */
import type { Session } from "../../reach/session.ts";
import { identifier } from "../../sql/quote.ts";
import { INVALID, identity, isEmpty, type Move } from "./databaseFound.ts";
import { copy, forget, heldBy, letIn, takeUp } from "./moveCopy.ts";
import {
    type Found,
    find,
    isWhole,
    Ledger,
    type MoveNode,
    type MoveOptions,
    refuseForeign,
    type TenantName,
    type Work,
} from "./moveState.ts";
import { dropOld, explainAway, leaveOld, switchOver } from "./moveSwitch.ts";
import { explainDoomed, explainHeld } from "./moveWords.ts";

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

/** Whether the tenant's deletion was dropping its database: it drops what is left, as soon as no move is written down. */
async function isDoomed(work: Work, { from }: Move): Promise<boolean> {
    if (work.state !== "deleting") return false;
    const there = await find(await work.options.node(from).server(), work.name.tenant);
    if (there) refuseForeign(work, from, there);
    return there?.limit === INVALID;
}

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
