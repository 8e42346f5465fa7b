/** Before containers are replaced: who and in which order, and whether those that stay are well. */

import type { Access, Shell } from "../core/node/reach.ts";
import { type FoundContainer, readContainers, turnsOf } from "../core/reach/docker/rolling.ts";
import { explainSilence, readNodeState } from "../core/reach/nodeState.ts";
import { saidBy } from "../core/reach/said.ts";
import { connect } from "../core/reach/session.ts";
import type { Ask, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

/** A node as it is wanted. */
export interface ReplacementNode {
    readonly name: string;
    /** What its container is made of, as a hash: another one means another container. */
    readonly made: string;
    readonly access: Access;
    readonly shell: Shell;
}

export interface ReplacementsInputs {
    /** The Docker engine's address in full. */
    engine: string;
    clusterId: string;
    nodes: ReplacementNode[];
}

/** How long a node that stays may take to answer, in milliseconds. */
const PATIENCE = 60_000;

/** What is wanted, with what a preview does not know yet as undefined. */
const wantedOf = ({ nodes }: ReplacementsInputs) =>
    nodes.map(({ name, made }) => ({ name, made: unknown(made) ? undefined : made }));

/** What a preview says; undefined when nothing is replaced. Pure. */
export function describeTurns(order: readonly string[]): string | undefined {
    const [first, ...others] = order;
    if (first === undefined) return undefined;
    const [what, whose] =
        others.length === 0
            ? [`The container of ${first} will be replaced.`, "Its data is kept."]
            : [
                  `Containers will be replaced one after the other, each when the one before it serves again: ${order.join(", ")}.`,
                  "Their data is kept. If one does not come back, those after it are left as they are.",
              ];
    return `${what} ${whose} While a node is replaced, statements that need it fail: usually for 5 to 15 s, and for up to a minute more where the shutdown has much to write.`;
}

/** @returns undefined where the engine can't be asked, as in CI */
const look = ({ engine, clusterId }: ReplacementsInputs) => readContainers(engine, clusterId).catch(() => undefined);

/** As the state has it, where no engine answers. */
const remembered = (olds: Partial<ReplacementsInputs>): FoundContainer[] =>
    (olds.nodes ?? []).map(({ name, made }) => ({ node: name, made, serves: true }));

async function say(ask: Ask, olds: Partial<ReplacementsInputs>, news: ReplacementsInputs): Promise<string[]> {
    const order = turnsOf((await look(news)) ?? remembered(olds), wantedOf(news));
    const said = describeTurns(order);
    if (said !== undefined) ask.note(said);
    return order;
}

/** @throws Error when it does not answer */
async function requireAnswer(node: ReplacementNode, order: readonly string[], report: (text: string) => void) {
    const patience = {
        timeout: 5000,
        patience: PATIENCE,
        waiting: async (why: string) => {
            report(`waiting for ${node.name}: ${why}`);
            if ((await readNodeState(node.shell))?.passing === false) throw new Error(why);
        },
    };
    const session = await connect(node.access, node.name, patience).catch(async (error: unknown) => {
        throw new Error(
            `${node.name} does not answer: ${explainSilence(saidBy(error), await readNodeState(node.shell))}\n` +
                `No container was replaced: with ${node.name} down, no other node is taken down. Still to be replaced: ${order.join(", ")}. Run pulumi up again when ${node.name} answers.`,
        );
    });
    await session.close();
}

async function begin(ask: Ask, inputs: ReplacementsInputs): Promise<void> {
    const found = await readContainers(inputs.engine, inputs.clusterId);
    const order = turnsOf(found, wantedOf(inputs));
    if (order.length === 0) return;
    const stays = inputs.nodes.filter(({ name }) => !order.includes(name) && found.some(({ node }) => node === name));
    const report = ask.progress;
    await Promise.all(stays.map((node) => requireAnswer(node, order, report)));
}

export class ReplacementsKind implements ResourceKind<ReplacementsInputs, ReplacementsInputs> {
    readonly type = "citus-clusters:index:Replacements";
    readonly description = "What comes before the first container of a cluster is replaced.";
    readonly inputs = {
        engine: { type: "string", description: "The Docker engine's address in full." },
        clusterId: { type: "string", description: "Labels everything that the cluster has there." },
        nodes: { type: "array", secret: true, description: "Each node, and what its container is made of." },
    } as const;
    readonly outputs = {};

    /** In preview too: a stack of before this was written down is replaced in turn as well. */
    async check(ask: Ask, olds: Partial<ReplacementsInputs>, news: ReplacementsInputs) {
        if (olds.engine === undefined && !unknown(news.clusterId) && !unknown(news.engine)) await say(ask, {}, news);
        return { inputs: news };
    }

    async create(ask: Ask, inputs: ReplacementsInputs) {
        await begin(ask, inputs);
        return { id: "replacements", outs: inputs };
    }

    async update(ask: Ask, _id: string, _olds: ReplacementsInputs, news: ReplacementsInputs) {
        await begin(ask, news);
        return { outs: news };
    }

    /** Runs in preview too. What the engine has decides, so the next run finishes one that was killed. */
    async diff(ask: Ask, _id: string, olds: ReplacementsInputs, news: ReplacementsInputs) {
        // while something that it depends on is replaced the engine asks with all that comes from it unknown
        if (!Array.isArray(news.nodes)) return { changes: true };
        const order = await say(ask, olds, news);
        const names = (inputs: ReplacementsInputs) => inputs.nodes.map(({ name, made }) => `${name} ${made}`).join();
        return { changes: order.length > 0 || names(olds) !== names(news) };
    }

    /** The containers have resources of their own. */
    async delete() {}
}
