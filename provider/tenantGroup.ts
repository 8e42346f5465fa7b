/** A group of tenants, in Pulumi's words. */

import { readFileSync } from "node:fs";
import { ShardMap } from "../client/shardMap.ts";
import { specOf, textOf } from "../components/config/tenants/project.ts";
import type { TenantGroupInputs, TenantGroupNode } from "../components/resources/tenantGroup.ts";
import { ANSWERS_WITHIN } from "../core/citus/silent.ts";
import { tellHolders } from "../core/citus/watch.ts";
import { COORDINATOR, nodeOf as nameOf } from "../core/node/topology.ts";
import { handedOn } from "../core/reach/handedOn.ts";
import { readFindings } from "../core/reach/nodeFindings.ts";
import { connect, DatabaseError, keepOpen, type Session, withSession } from "../core/reach/session.ts";
import { FACETS } from "../core/tenants/facets.ts";
import { type AskNodes, sharedRounds } from "../core/tenants/group/ask.ts";
import type { Place } from "../core/tenants/group/connection.ts";
import { converge, describeSteps, explainRefusals, look, planAll } from "../core/tenants/group/converge.ts";
import type { Context } from "../core/tenants/group/facet.ts";
import { withOnboarded } from "../core/tenants/group/onboarded.ts";
import { markOf, verifierOf } from "../core/tenants/group/passwords.ts";
import { describeKeys, keysBack } from "../core/tenants/tables/keysBack.ts";
import { comparable, silentNodes, unknown } from "./coordinator.ts";
import { alive, note, progress, warn } from "./engine.ts";

interface TenantGroupState extends TenantGroupInputs {
    summary?: string;
    places?: Readonly<Record<string, Place>>;
}

/** What does not need a change of the group by itself: how nodes are reached, and what was found. */
const IGNORED = ["summary", "places", "nodes", "exports"];

function nodeOf(inputs: TenantGroupInputs, name: string): TenantGroupNode {
    const found = inputs.nodes.find((node) => node.name === name);
    if (!found)
        throw new Error(`there is no node ${name}: the cluster has ${inputs.nodes.map((n) => n.name).join(", ")}`);
    return found;
}

const coordinatorOf = (inputs: TenantGroupInputs) => nodeOf(inputs, "coordinator");

/** Everything that work on a group needs, from its resource alone. */
export async function withContext<T>(inputs: TenantGroupInputs, use: (context: Context) => Promise<T>): Promise<T> {
    const { group, seed, self } = inputs;
    const watch = () => connect(coordinatorOf(inputs).access, "coordinator");
    const another = (name: string, database?: string) => {
        const { access, host } = nodeOf(inputs, name);
        return connect(database ? { ...access, database } : access, name, {
            wrap: tellHolders(progress(self), { open: watch, host }),
        });
    };
    const kept = keepOpen(another);
    try {
        return await withSession(
            coordinatorOf(inputs).access,
            "coordinator",
            (session) =>
                use({
                    group,
                    session,
                    nodes: inputs.nodes,
                    open: kept.open,
                    another,
                    shell: (name) => nodeOf(inputs, name).shell,
                    read: (path) => {
                        const content = readFileSync(path, "utf8");
                        const { sha256 } = specOf(path, content);
                        const files = [...group.template, ...(group.baseline?.files ?? [])];
                        if (files.find((file) => file.path === path)?.sha256 !== sha256)
                            throw new Error(`${path} changed while pulumi up was running; run it again`);
                        return textOf(content);
                    },
                    verifier: (role) => ({ verifier: verifierOf(seed, role), mark: markOf(seed) }),
                    exports: inputs.exports,
                    progress: progress(self),
                    note: (text) => note(self, text),
                    warn: (text) => warn(self, text),
                    alive,
                }),
            { patience: 60_000, wrap: tellHolders(progress(self)) },
        );
    } finally {
        await kept.closeAll();
    }
}

const counted = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`;

function summaryOf({ group }: TenantGroupInputs): string {
    return `${group.model}: ${counted(Object.keys(group.tenants).length, "tenant")}`;
}

/** Where each tenant's database is, by the shard map. */
async function placesOf({ session, group }: Context): Promise<Record<string, Place>> {
    const [row] = await session.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map");
    const map = ShardMap.from(row?.map);
    return Object.fromEntries(
        Object.keys(group.tenants).map((tenant) => {
            const { host, port, database } = map.lookup(tenant, group.name);
            return [tenant, { host, port, database }];
        }),
    );
}

/** Groups of which this process has said what will happen: the engine asks for that right before it has it done. */
const foreseen = new Set<string>();

async function settle(inputs: TenantGroupInputs): Promise<TenantGroupState> {
    const places = await withContext(inputs, async (context) => {
        const done = await converge(context, FACETS[inputs.group.model], markOf(inputs.seed));
        if (done.length > 0 && !foreseen.has(inputs.group.name)) note(inputs.self, describeSteps(done).join("\n"));
        return inputs.group.model === "database" ? placesOf(context) : undefined;
    });
    return { ...inputs, summary: summaryOf(inputs), ...(places ? { places } : {}) };
}

export async function create(inputs: TenantGroupInputs) {
    return { id: inputs.group.name, outs: await settle(inputs) };
}

export async function update(_id: string, _olds: TenantGroupState, news: TenantGroupInputs) {
    return { outs: await settle(news) };
}

/**
 * Whether the coordinator can be asked. While a container is replaced the engine asks what depends on it, with all that
 * comes from it unknown: then `nodes` is no list either.
 */
const reachable = ({ nodes }: TenantGroupInputs) => Array.isArray(nodes) && !unknown(nodes[0]);

/** The coordinator can't be reached: nothing is known of any group. */
class NotReached extends Error {}

/** What the groups of a run are looked at with, by their coordinator's address. */
const lookers = new Map<string, { readonly on: ReturnType<typeof handedOn>; readonly ask: AskNodes }>();

function lookerOf(inputs: TenantGroupInputs) {
    const { access } = coordinatorOf(inputs);
    // a password that was changed meanwhile is another way in
    const key = JSON.stringify(access);
    const known = lookers.get(key);
    if (known) return known;
    const options = { timeout: ANSWERS_WITHIN, nodeTimeout: ANSWERS_WITHIN };
    const open = () =>
        connect(access, COORDINATOR, options).catch((error: Error) => {
            throw new NotReached(error.message, { cause: error });
        });
    const made = { on: handedOn(open), ask: sharedRounds() };
    lookers.set(key, made);
    return made;
}

/** What there is of a group now, with the tenants that nobody wrote down yet. */
async function lookAt(inputs: TenantGroupInputs) {
    const read = (path: string) => textOf(readFileSync(path, "utf8"));
    const free = async (name: string) => (await readFindings(nodeOf(inputs, name).shell))?.free;
    // passwords that are not made yet are not there
    const mark = unknown(inputs.seed) ? "" : markOf(inputs.seed);
    const { on, ask } = lookerOf(inputs);
    return on(async (session) => {
        const group = await withOnboarded(session, inputs.group);
        const facets = FACETS[inputs.group.model];
        return { group, found: await look(session, group, facets, mark, inputs.nodes, read, free, ask) };
    });
}

/**
 * Says what will happen to which tenant.
 * @returns whether something will; undefined when the coordinator can't be asked
 * @throws Error with what stands in the way
 */
async function foresee(news: TenantGroupInputs, changed: boolean): Promise<boolean | undefined> {
    const answer = await lookAt(news).catch((error: unknown) => {
        if (error instanceof DatabaseError || error instanceof NotReached) return error;
        throw error;
    });
    if (answer instanceof NotReached) {
        if (changed)
            warn(
                news.self,
                `the coordinator can't be reached, so what will happen to which tenant is not known\n${answer.message}`,
            );
        return undefined;
    }
    if (answer instanceof DatabaseError) {
        const away = silentNodes(coordinatorOf(news).access).map(nameOf).join(", ");
        // what Citus makes of a silent node's answer says less than its name
        const why = away === "" ? `\n${answer.message}` : `, because ${away} did not answer`;
        warn(news.self, `what will happen to which tenant is not known${why}`);
        return undefined;
    }
    const planned = planAll(answer.group, FACETS[news.group.model], answer.found);
    if (planned.refusals.length > 0) throw new Error(explainRefusals(news.group, planned.refusals));
    foreseen.add(news.group.name);
    const lines = [...describeSteps(planned.steps), ...planned.notes];
    if (lines.length > 0) note(news.self, lines.join("\n"));
    return planned.steps.length > 0;
}

/** A new group has nothing to differ from, and is told of here. */
export async function check(olds: TenantGroupState | undefined, news: TenantGroupInputs) {
    if (olds?.group === undefined && reachable(news) && !unknown(news.group)) await foresee(news, true);
    return { inputs: news };
}

/** Runs in preview too. */
export async function diff(_id: string, olds: TenantGroupState, news: TenantGroupInputs) {
    if (!reachable(news) || unknown(news.seed) || unknown(news.group)) return { changes: true };
    // a node that is still to come has an address to be written down
    const changed = comparable(olds, IGNORED) !== comparable(news, IGNORED) || unknown(news.nodes);
    return { changes: (await foresee(news, changed)) || changed };
}

export async function read(id: string, props: TenantGroupState) {
    return { id, props };
}

/** What becomes of a group that left the program, for a person. */
function describeLeft({ group }: Pick<TenantGroupInputs, "group">): string {
    const tenants = counted(Object.keys(group.tenants).length, "tenant");
    return `group ${group.name} left the program, and nothing of it is deleted: ${tenants}, their tables, roles and passwords stay as long as the cluster does. npm run tenants lists them; to delete tenants, put the group back with the state deleted for each of them.`;
}

/** Foreign keys that an `up` took off and did not come to put back. A cluster that is going can't be asked, and needs none. */
async function bringKeysBack(props: TenantGroupState): Promise<void> {
    let session: Session;
    try {
        session = await connect(coordinatorOf(props).access, "coordinator", {
            timeout: ANSWERS_WITHIN,
            nodeTimeout: ANSWERS_WITHIN,
        });
    } catch {
        return;
    }
    try {
        const keys = await keysBack(session, props.group.name);
        const said = describeKeys(keys).trim();
        if (keys.off.length > 0) warn(props.self, said);
        else if (said !== "") note(props.self, said);
    } catch (error) {
        warn(
            props.self,
            `whether foreign keys of ${props.group.name} are off is not known\n${(error as Error).message}`,
        );
    } finally {
        await session.close().catch(() => undefined);
    }
}

/** Tenants stay in the database: nothing is dropped because a group was removed from the program. */
export async function remove(_id: string, props: TenantGroupState) {
    if (reachable(props)) await bringKeysBack(props);
    note(props.self, describeLeft(props));
}
