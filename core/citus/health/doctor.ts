/** Asks every check of the list, and says which could not be asked. Changes nothing. */

import { nodeOf } from "../../node/topology.ts";
import { saidBy } from "../../reach/said.ts";
import type { Session } from "../../reach/session.ts";
import type { Answer, Check, CoordinatorCheck, LookCheck, NodeLook, NodesCheck } from "./checks/check.ts";
import { LIMITS, type Limits } from "./checks/limits.ts";
import { CHECKS } from "./checks/list.ts";
import type { StackView } from "./checks/view.ts";
import { type HealthOptions, type Looked, lookAround } from "./health.ts";
import { byDanger, type Finding, needsAttention, type Unasked } from "./read/finding.ts";

export interface Diagnosis {
    readonly checks: readonly Diagnosed[];
    /** The worst first. */
    readonly findings: readonly Finding[];
    readonly unasked: readonly Unasked[];
}

/** What became of a check. */
export interface Diagnosed {
    readonly id: string;
    readonly title: string;
    /** `unasked` where it found nothing and some node gave no answer. */
    readonly result: "fine" | "note" | "mend" | "danger" | "unasked";
}

export interface DoctorOptions extends HealthOptions {
    /** What the stack's state and the engine say, or why they can't be asked. */
    readonly stack: () => Promise<StackView | Error>;
    /** An earlier look at a node's disk from this machine. @default none */
    readonly before?: (node: string) => NodeLook["before"];
    /** @default LIMITS */
    readonly limits?: Partial<Limits>;
    /** Ids of the checks that are asked. @default all */
    readonly only?: readonly string[];
}

/** What was found and what was not asked, of some checks. */
interface Part {
    readonly findings: readonly Finding[];
    readonly unasked: readonly Unasked[];
}

const together = (parts: readonly Part[]): Part => ({
    findings: parts.flatMap(({ findings }) => findings),
    unasked: parts.flatMap(({ unasked }) => unasked),
});

/** A judge that meets an answer it does not know is no reason to hide all others. */
function judged(check: Check, judge: () => Finding[], node: string | null = null): Part {
    try {
        return { findings: judge(), unasked: [] };
    } catch (error) {
        const why = `its answer was not understood: ${(error as Error).message}`;
        return { findings: [], unasked: [{ check: check.id, node, why }] };
    }
}

/** Of each check, what a node answered; or why it did not. */
type Answers = ReadonlyMap<string, { readonly answer: unknown } | { readonly why: string }>;

/** All in one question, or each by itself where that fails: one that a node can't answer keeps no other from it. */
async function askNode(session: Session, checks: readonly NodesCheck[]): Promise<Answers> {
    // else a worker hides its shards from a client
    await session.query("SET citus.override_table_visibility = off");
    await session.query("SET statement_timeout = '60s'");
    const pairs = checks.map(({ id, sql }) => `'${id}', ${sql}`);
    try {
        const [row] = await session.query<{ answer: Record<string, unknown> }>(
            `SELECT jsonb_build_object(${pairs.join(", ")}) AS answer`,
        );
        return new Map(checks.map(({ id }) => [id, { answer: row?.answer[id] }]));
    } catch {
        const answers = new Map<string, { answer: unknown } | { why: string }>();
        for (const { id, sql } of checks) {
            const asked = await session.query<{ answer: unknown }>(`SELECT ${sql} AS answer`).then(
                ([row]) => ({ answer: row?.answer }),
                (error: Error) => ({ why: saidBy(error) }),
            );
            answers.set(id, asked);
        }
        return answers;
    }
}

async function askNodes(checks: readonly NodesCheck[], looked: Looked, options: DoctorOptions): Promise<Part> {
    if (checks.length === 0) return together([]);
    const asked = await Promise.all(
        looked.view.rows.map(async ({ host }) => {
            const node = nodeOf(host);
            const session = await options.open(node);
            const all = (why: string): Answers => new Map(checks.map(({ id }) => [id, { why }]));
            const answers =
                session instanceof Error
                    ? all(saidBy(session))
                    : await askNode(session, checks).catch((error: Error) => all(saidBy(error)));
            return { node, host, answers };
        }),
    );
    return together(
        checks.map((check): Part => {
            const answers: Answer<unknown>[] = [];
            const unasked: Unasked[] = [];
            for (const { node, host, answers: given } of asked) {
                const one = given.get(check.id) ?? { why: "it was not asked" };
                if ("why" in one) unasked.push({ check: check.id, node, why: one.why });
                else answers.push({ node, host, answer: one.answer });
            }
            return together([judged(check, () => check.judge(answers, limitsOf(options))), { findings: [], unasked }]);
        }),
    );
}

async function askCoordinator(
    coordinator: Session,
    checks: readonly CoordinatorCheck[],
    options: DoctorOptions,
): Promise<Part> {
    const parts: Part[] = [];
    for (const check of checks) {
        const asked = await coordinator.query<{ answer: unknown }>(check.sql).catch((error: Error) => error);
        parts.push(
            asked instanceof Error
                ? { findings: [], unasked: [{ check: check.id, node: null, why: saidBy(asked) }] }
                : judged(check, () => check.judge(asked[0]?.answer, limitsOf(options))),
        );
    }
    return together(parts);
}

const limitsOf = ({ limits }: DoctorOptions): Limits => ({ ...LIMITS, ...limits });

function askLooks(checks: readonly LookCheck[], { view, looks }: Looked, options: DoctorOptions): Part {
    return together(
        checks.flatMap((check) =>
            view.nodes.map(({ name, state, reason }): Part => {
                const look = looks.find(({ node }) => node === name);
                if (look === undefined) {
                    const why =
                        state === "unreachable"
                            ? (reason ?? "it does not answer")
                            : "its script look.sh gave no answer";
                    return { findings: [], unasked: [{ check: check.id, node: name, why }] };
                }
                const before = options.before?.(name);
                const since = { ...look, ...(before === undefined ? {} : { before }) };
                return judged(check, () => check.judge(since, limitsOf(options)), name);
            }),
        ),
    );
}

const isOf =
    <K extends Check["asks"]>(asks: K) =>
    (check: Check): check is Extract<Check, { readonly asks: K }> =>
        check.asks === asks;

/**
 * Asks all checks.
 * @throws DatabaseError where the coordinator does not answer
 */
export async function diagnose(
    coordinator: Session,
    options: DoctorOptions,
): Promise<Diagnosis & { readonly looked: Looked }> {
    const { only } = options;
    const checks = CHECKS.filter(({ id }) => only === undefined || only.includes(id));
    const looked = await lookAround(coordinator, options);
    const stack = checks.some(isOf("stack")) ? await options.stack() : undefined;
    const part = together([
        ...checks.filter(isOf("health")).map((check) => {
            const unasked = (check.silent?.(looked.view) ?? []).map((node) => ({
                check: check.id,
                node,
                why: "it gave no answer to this",
            }));
            return together([
                judged(check, () => check.judge(looked.view, limitsOf(options))),
                { findings: [], unasked },
            ]);
        }),
        askLooks(checks.filter(isOf("look")), looked, options),
        await askCoordinator(coordinator, checks.filter(isOf("coordinator")), options),
        await askNodes(checks.filter(isOf("nodes")), looked, options),
        ...checks.filter(isOf("stack")).map((check): Part => {
            if (stack === undefined || stack instanceof Error)
                return { findings: [], unasked: [{ check: check.id, node: null, why: stack?.message ?? "no answer" }] };
            return judged(check, () => check.judge(stack, limitsOf(options)));
        }),
    ]);
    return { ...conclude(checks, part), looked };
}

/** What became of each check. Pure. */
export function conclude(checks: readonly Pick<Check, "id" | "title">[], { findings, unasked }: Part): Diagnosis {
    const order = checks.map(({ id }) => id);
    const sorted = byDanger([...findings].sort((a, b) => order.indexOf(a.check) - order.indexOf(b.check)));
    return {
        checks: checks.map(({ id, title }) => ({
            id,
            title,
            result:
                sorted.find(({ check, danger }) => check === id && danger !== "note")?.danger ??
                (unasked.some(({ check }) => check === id)
                    ? "unasked"
                    : sorted.some(({ check }) => check === id)
                      ? "note"
                      : "fine"),
        })),
        findings: sorted,
        unasked,
    };
}

/** 0 fine, 1 something to mend, 2 could not be asked. Pure. */
export const verdict = ({ findings, unasked }: Part): 0 | 1 | 2 =>
    findings.some(needsAttention) ? 1 : unasked.length > 0 ? 2 : 0;
