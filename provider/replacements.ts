/** Before containers are replaced: who and in which order, and whether those that stay are well. */

import type { ReplacementNode, ReplacementsInputs } from "../components/resources/replacements.ts";
import { type FoundContainer, readContainers, turnsOf } from "../core/reach/docker/rolling.ts";
import { explainSilence, readNodeState } from "../core/reach/nodeState.ts";
import { saidBy } from "../core/reach/said.ts";
import { connect } from "../core/reach/session.ts";
import { unknown } from "./coordinator.ts";
import { alive, note, progress } from "./engine.ts";

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
const ask = ({ engine, clusterId }: ReplacementsInputs) => readContainers(engine, clusterId).catch(() => undefined);

/** As the state has it, where no engine answers. */
const remembered = (olds: Partial<ReplacementsInputs> | undefined): FoundContainer[] =>
    (olds?.nodes ?? []).map(({ name, made }) => ({ node: name, made, serves: true }));

async function say(olds: Partial<ReplacementsInputs> | undefined, news: ReplacementsInputs): Promise<string[]> {
    const order = turnsOf((await ask(news)) ?? remembered(olds), wantedOf(news));
    const said = describeTurns(order);
    if (said !== undefined) note(news.self, said);
    return order;
}

/** In preview too: a stack of before this was written down is replaced in turn as well. */
export async function check(olds: Partial<ReplacementsInputs> | undefined, news: ReplacementsInputs) {
    if (olds?.engine === undefined && !unknown(news.clusterId) && !unknown(news.engine)) await say(undefined, news);
    return { inputs: news };
}

/** @throws Error when it does not answer */
async function requireAnswer(node: ReplacementNode, order: readonly string[], report: (text: string) => void) {
    const patience = {
        timeout: 5000,
        patience: PATIENCE,
        waiting: async (why: string) => {
            report(`waiting for ${node.name}: ${why}`);
            alive();
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

async function begin(inputs: ReplacementsInputs): Promise<void> {
    const found = await readContainers(inputs.engine, inputs.clusterId);
    const order = turnsOf(found, wantedOf(inputs));
    if (order.length === 0) return;
    const stays = inputs.nodes.filter(({ name }) => !order.includes(name) && found.some(({ node }) => node === name));
    const report = progress(inputs.self);
    await Promise.all(stays.map((node) => requireAnswer(node, order, report)));
}

export async function create(inputs: ReplacementsInputs) {
    await begin(inputs);
    return { id: "replacements", outs: inputs };
}

export async function update(_id: string, _olds: ReplacementsInputs, news: ReplacementsInputs) {
    await begin(news);
    return { outs: news };
}

/** Runs in preview too. What the engine has decides, so the next run finishes one that was killed. */
export async function diff(_id: string, olds: ReplacementsInputs, news: ReplacementsInputs) {
    // while something that it depends on is replaced the engine asks with all that comes from it unknown
    if (!Array.isArray(news.nodes)) return { changes: true };
    const order = await say(olds, news);
    const names = (inputs: ReplacementsInputs) => inputs.nodes.map(({ name, made }) => `${name} ${made}`).join();
    return { changes: order.length > 0 || names(olds) !== names(news) };
}

export async function read(id: string, props: ReplacementsInputs) {
    return { id, props };
}

/** The containers have resources of their own. */
export async function remove() {}
