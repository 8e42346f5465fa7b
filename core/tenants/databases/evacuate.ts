/** Tenants' databases that are on workers which leave go to the nodes that stay, before anybody asks what only a worker has. */

import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { databaseOf } from "../data/shape.ts";
import { takeLock, unlock } from "../group/converge.ts";
import { moveDatabase } from "./moveDatabase.ts";
import { copyName, type MoveNode } from "./moveState.ts";

interface Registered {
    readonly name: string;
    readonly host: string;
    readonly port: number;
}

interface Row {
    readonly group: string;
    readonly tenant: string;
    readonly node: string;
    /** Source of a move that a killed run began; null when there is none. `to` is its target. */
    readonly from: string | null;
    readonly to: string | null;
}

export interface Leaving {
    readonly node: string;
    readonly tenants: readonly Row[];
}

/** Nodes that stay, by how many tenants' databases each has; workers first. */
interface Found {
    readonly leaving: readonly Leaving[];
    readonly staying: ReadonlyMap<string, number>;
}

/**
 * Tenants with a database on a node that is registered and not wanted.
 * @param wanted hosts of the workers that stay
 */
export async function findLeaving(session: Session, wanted: readonly { readonly host: string }[]): Promise<Found> {
    const [probe] = await session.query<{ ok: boolean }>(
        "SELECT to_regclass('citus_as_code.tenant') IS NOT NULL AS ok",
    );
    if (!probe?.ok) return { leaving: [], staying: new Map() };
    const nodes = await session.query<{ host: string; groupId: number }>(
        'SELECT nodename AS host, groupid AS "groupId" FROM pg_dist_node ORDER BY groupid',
    );
    const rows = await session.query<Row>(
        `SELECT grp AS "group", tenant, node, detail->'move'->>'from' AS "from", detail->'move'->>'to' AS "to"
           FROM citus_as_code.tenant WHERE model = 'database' AND node IS NOT NULL ORDER BY grp, tenant`,
    );
    const on = (node: string) => rows.filter((row) => row.node === node || row.from === node || row.to === node);
    const stays = ({ host, groupId }: { host: string; groupId: number }) =>
        groupId === 0 || wanted.some((worker) => worker.host === host);
    const workers = nodes.filter((node) => stays(node) && node.groupId !== 0);
    // the coordinator only where nobody else is left
    const staying = workers.length > 0 ? workers : nodes.filter(stays);
    return {
        leaving: nodes
            .filter((node) => !stays(node))
            .map(({ host }) => ({ node: nodeOf(host), tenants: on(nodeOf(host)) }))
            .filter(({ tenants }) => tenants.length > 0),
        staying: new Map(staying.map(({ host }) => [nodeOf(host), on(nodeOf(host)).length])),
    };
}

/** Names of the databases that a worker can leave with: each is moved off it, or dropped there, or refused, before. */
export const databasesOf = (leaving: readonly Leaving[]): string[] =>
    leaving.flatMap(({ tenants }) => tenants.flatMap((row) => [databaseOf(row.tenant), copyName(row)]));

/** For preview: `moves 3 tenants' databases off worker-3`. */
export const describeLeaving = (leaving: readonly Leaving[]): string[] =>
    leaving.map(
        ({ node, tenants }) =>
            `moves ${tenants.length === 1 ? "1 tenant's database" : `${tenants.length} tenants' databases`} off ${node}; each can't be used while it is copied`,
    );

export interface EvacuateOptions {
    /** Host names in pg_dist_node of the workers that stay. */
    readonly wanted: readonly { readonly host: string }[];
    /** @throws Error when nothing is known of the node */
    node(registered: Registered): MoveNode;
    progress(text: string): void;
    alive(): void;
}

/** Where it is or was going already, when that stays; else the node with the fewest. */
export function targetOf({ node, to }: Pick<Row, "node" | "to">, staying: ReadonlyMap<string, number>): string {
    if (staying.has(node)) return node;
    if (to !== null && staying.has(to)) return to;
    return [...staying].sort((a, b) => a[1] - b[1])[0]?.[0] ?? "coordinator";
}

/**
 * Moves every tenant's database off nodes that leave, one after the other, each to the node that has the fewest. Safe to
 * repeat, and goes on where a killed run stopped.
 * @returns what was done, for a person
 */
export async function evacuate(session: Session, options: EvacuateOptions): Promise<string[]> {
    if ((await findLeaving(session, options.wanted)).leaving.length === 0) return [];
    await takeLock({ session, ...options });
    try {
        return await moveAll(session, options);
    } finally {
        await unlock(session).catch(() => undefined);
    }
}

const explainStays = (node: string, moved: number, of: number) =>
    `${node} stays until its tenants' databases are elsewhere: ${moved} of ${of} are.`;

async function moveAll(session: Session, options: EvacuateOptions): Promise<string[]> {
    const { leaving, staying } = await findLeaving(session, options.wanted);
    const nodes = await session.query<{ host: string; port: number }>(
        "SELECT nodename AS host, nodeport AS port FROM pg_dist_node",
    );
    const node = (name: string): MoveNode => {
        const found = nodes.find(({ host }) => nodeOf(host) === name);
        if (!found) throw new Error(`there is no node ${name}`);
        return options.node({ name, ...found });
    };
    const counts = new Map(staying);
    const said: string[] = [];
    // one that was moving between two that leave is on both
    const moving = new Map(
        leaving.flatMap(({ node: off, tenants }) => tenants.map((row) => [copyName(row), { ...row, off }])),
    );
    for (const { off, ...row } of moving.values()) {
        options.alive();
        const target = targetOf(row, counts);
        counts.set(target, (counts.get(target) ?? 0) + 1);
        try {
            said.push(await moveDatabase(session, row, target, { node, progress: options.progress }));
        } catch (error) {
            throw new Error(`${(error as Error).message}\n${explainStays(off, said.length, moving.size)}`);
        }
    }
    // what the deletion of its tenant was dropping can't be moved, and stays for that
    const [stays] = (await findLeaving(session, options.wanted)).leaving;
    if (stays) {
        const left = stays.tenants.map(({ tenant }) => tenant).join(", ");
        throw new Error(
            `${said.join("\n")}\n${explainStays(stays.node, moving.size - stays.tenants.length, moving.size)} Keep ${stays.node} until a pulumi up has ended the deletion of ${left}. Take it away after that.`,
        );
    }
    return said;
}
