/** A group of tenants, in Pulumi's words. */

import { readFileSync } from "node:fs";
import { ShardMap } from "../client/shardMap.ts";
import { specOf, textOf } from "../components/config/tenants/project.ts";
import { ANSWERS_WITHIN } from "../core/citus/silent.ts";
import { tellHolders } from "../core/citus/watch.ts";
import type { Access, Shell } from "../core/node/reach.ts";
import { COORDINATOR, nodeOf as nameOf } from "../core/node/topology.ts";
import { eachOn, handedOn } from "../core/reach/handedOn.ts";
import { readFindings } from "../core/reach/nodeFindings.ts";
import { connect, DatabaseError, keepOpen, type Session, withSession } from "../core/reach/session.ts";
import { FACETS } from "../core/tenants/facets.ts";
import { type AskNodes, sharedRounds } from "../core/tenants/group/ask.ts";
import type { ConnectionPlace } from "../core/tenants/group/connection.ts";
import { converge, describeSteps, explainRefusals, planAll, readGroup } from "../core/tenants/group/converge.ts";
import type { Context, NodeTarget } from "../core/tenants/group/facet.ts";
import { withOnboarded } from "../core/tenants/group/onboarded.ts";
import { markOf, verifierOf } from "../core/tenants/group/passwords.ts";
import type { GroupSpec } from "../core/tenants/group/spec.ts";
import { describeKeys, keysBack } from "../core/tenants/tables/keysBack.ts";
import { comparable, silentNodes } from "./coordinator.ts";
import type { Ask, Difference, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

export interface TenantGroupNode extends NodeTarget {
    readonly access: Access;
    readonly shell: Shell;
}

export interface TenantGroupInputs {
    /** Name of the cluster. */
    cluster: string;
    group: GroupSpec;
    /** The coordinator first. */
    nodes: TenantGroupNode[];
    /** What the passwords of the group's roles are made from; a secret. */
    seed: string;
    /** Folder for exports, relative to the project. */
    exports: string;
}

export interface TenantGroupState extends TenantGroupInputs {
    summary?: string;
    places?: Readonly<Record<string, ConnectionPlace>>;
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
export async function withContext<T>(
    inputs: TenantGroupInputs,
    ask: Pick<Ask, "progress" | "note" | "warn">,
    use: (context: Context) => Promise<T>,
): Promise<T> {
    const { group, seed } = inputs;
    const watch = () => connect(coordinatorOf(inputs).access, "coordinator");
    const another = (name: string, database?: string) => {
        const { access, host } = nodeOf(inputs, name);
        return connect(database ? { ...access, database } : access, name, {
            wrap: tellHolders(ask.progress, { open: watch, host }),
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
                    progress: ask.progress,
                    note: ask.note,
                    warn: ask.warn,
                    alive: () => undefined,
                }),
            { patience: 60_000, wrap: tellHolders(ask.progress) },
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
async function placesOf({ session, group }: Context): Promise<Record<string, ConnectionPlace>> {
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

async function settle(ask: Ask, inputs: TenantGroupInputs): Promise<TenantGroupState> {
    const places = await withContext(inputs, ask, async (context) => {
        const done = await converge(context, FACETS[inputs.group.model], markOf(inputs.seed));
        if (done.length > 0 && !foreseen.has(inputs.group.name)) ask.note(describeSteps(done).join("\n"));
        return inputs.group.model === "database" ? placesOf(context) : undefined;
    });
    return { ...inputs, summary: summaryOf(inputs), ...(places ? { places } : {}) };
}

/**
 * Whether the coordinator can be asked. While a container is replaced the engine asks what depends on it, with all that
 * comes from it unknown: then `nodes` is no list either.
 */
const reachable = ({ nodes }: TenantGroupInputs) => Array.isArray(nodes) && !unknown(nodes[0]);

/** The coordinator can't be reached: nothing is known of any group. */
class NotReached extends Error {}

/** What the groups of a run are looked at with, by their coordinator's address. */
const lookers = new Map<string, { readonly session: Session; readonly ask: AskNodes }>();

function lookerOf(inputs: TenantGroupInputs) {
    const { access } = coordinatorOf(inputs);
    // a password that was changed meanwhile is another way in
    const key = JSON.stringify(access);
    const known = lookers.get(key);
    if (known) return known;
    const options = { timeout: ANSWERS_WITHIN, nodeTimeout: ANSWERS_WITHIN, reads: true };
    const open = () =>
        connect(access, COORDINATOR, options).catch((error: Error) => {
            throw new NotReached(error.message, { cause: error });
        });
    const made = { session: eachOn(COORDINATOR, handedOn(open)), ask: sharedRounds() };
    lookers.set(key, made);
    return made;
}

/** What there is of a group now, with the tenants that nobody wrote down yet. */
async function lookAt(inputs: TenantGroupInputs) {
    const read = (path: string) => textOf(readFileSync(path, "utf8"));
    const free = async (name: string) => (await readFindings(nodeOf(inputs, name).shell))?.free;
    // passwords that are not made yet are not there
    const mark = unknown(inputs.seed) ? "" : markOf(inputs.seed);
    const { session, ask } = lookerOf(inputs);
    const group = await withOnboarded(session, inputs.group);
    const facets = FACETS[inputs.group.model];
    return { group, found: await readGroup(session, group, facets, mark, inputs.nodes, read, free, ask) };
}

/**
 * Says what will happen to which tenant.
 * @returns whether something will; undefined when the coordinator can't be asked
 * @throws Error with what stands in the way
 */
async function foresee(ask: Ask, news: TenantGroupInputs, changed: boolean): Promise<boolean | undefined> {
    const answer = await lookAt(news).catch((error: unknown) => {
        if (error instanceof DatabaseError || error instanceof NotReached) return error;
        throw error;
    });
    if (answer instanceof NotReached) {
        if (changed)
            ask.warn(
                `the coordinator can't be reached, so what will happen to which tenant is not known\n${answer.message}`,
            );
        return undefined;
    }
    if (answer instanceof DatabaseError) {
        const away = silentNodes(coordinatorOf(news).access).map(nameOf).join(", ");
        // what Citus makes of a silent node's answer says less than its name
        const why = away === "" ? `\n${answer.message}` : `, because ${away} did not answer`;
        ask.warn(`what will happen to which tenant is not known${why}`);
        return undefined;
    }
    const planned = planAll(answer.group, FACETS[news.group.model], answer.found);
    if (planned.refusals.length > 0) throw new Error(explainRefusals(news.group, planned.refusals));
    foreseen.add(news.group.name);
    const lines = [...describeSteps(planned.steps), ...planned.notes];
    if (lines.length > 0) ask.note(lines.join("\n"));
    return planned.steps.length > 0;
}

/** What becomes of a group that left the program, for a person. */
function describeLeft({ group }: Pick<TenantGroupInputs, "group">): string {
    const tenants = counted(Object.keys(group.tenants).length, "tenant");
    return `group ${group.name} left the program, and nothing of it is deleted: ${tenants}, their tables, roles and passwords stay as long as the cluster does. npm run tenants lists them; to delete tenants, put the group back with the state deleted for each of them.`;
}

/** Foreign keys that an `up` took off and did not come to put back. A cluster that is going can't be asked, and needs none. */
async function bringKeysBack(ask: Ask, props: TenantGroupState): Promise<void> {
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
        if (keys.off.length > 0) ask.warn(said);
        else if (said !== "") ask.note(said);
    } catch (error) {
        ask.warn(`whether foreign keys of ${props.group.name} are off is not known\n${(error as Error).message}`);
    } finally {
        await session.close().catch(() => undefined);
    }
}

export class TenantGroupKind implements ResourceKind<TenantGroupInputs, TenantGroupState> {
    readonly type = "citus-clusters:index:TenantGroup";
    readonly description = "One group of tenants, all of them.";
    readonly inputs = {
        cluster: { type: "string", description: "The cluster's name." },
        group: { type: "object", description: "The model, its settings and its tenants." },
        nodes: { type: "array", secret: true, description: "The coordinator first, and how each is reached." },
        seed: { type: "string", secret: true, description: "What the passwords of its roles are made from." },
        exports: { type: "string", description: "Folder for exports, relative to the project." },
    } as const;
    readonly outputs = {
        summary: { type: "string", optional: true, description: "One line about the group." },
        places: { type: "object", optional: true, description: "Model database: where each tenant is." },
    } as const;

    /** A new group has nothing to differ from, and is told of here. */
    async check(ask: Ask, olds: Partial<TenantGroupInputs>, news: TenantGroupInputs) {
        if (olds.group === undefined && reachable(news) && !unknown(news.group)) await foresee(ask, news, true);
        return { inputs: news };
    }

    async create(ask: Ask, inputs: TenantGroupInputs) {
        return { id: inputs.group.name, outs: await settle(ask, inputs) };
    }

    async update(ask: Ask, _id: string, _olds: TenantGroupState, news: TenantGroupInputs) {
        return { outs: await settle(ask, news) };
    }

    /** Runs in preview too. */
    async diff(ask: Ask, _id: string, olds: TenantGroupState, news: TenantGroupInputs): Promise<Difference> {
        if (!reachable(news) || unknown(news.seed) || unknown(news.group)) return { changes: true };
        // a node that is still to come has an address to be written down
        const changed = comparable(olds, IGNORED) !== comparable(news, IGNORED) || unknown(news.nodes);
        return { changes: (await foresee(ask, news, changed)) || changed };
    }

    /** Tenants stay in the database: nothing is dropped because a group was removed from the program. */
    async delete(ask: Ask, _id: string, props: TenantGroupState) {
        if (reachable(props)) await bringKeysBack(ask, props);
        ask.note(describeLeft(props));
    }
}
