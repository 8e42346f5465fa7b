/** A group of tenants from what the database has to what is wanted. */

import { releaseRunLock, takeRunLock } from "../../citus/runLock.ts";
import { readFindings } from "../../reach/nodeFindings.ts";
import { DatabaseError, type Session } from "../../reach/session.ts";
import { liftGiven } from "../../sql/given.ts";
import { qualified } from "../../sql/quote.ts";
import { recordGroup } from "../ledger/groups.ts";
import { makeLedger } from "../ledger/schema.ts";
import { type AskNodes, askNodes, Round } from "./ask.ts";
import type { Context, Facet, NodeTarget, Planned, Probe, Step } from "./facet.ts";
import { adopt, withOnboarded } from "./onboarded.ts";
import type { GroupSpec } from "./spec.ts";

export type Found = Readonly<Record<string, unknown>>;

/**
 * What there is of a group, by facet: two questions and a round of the nodes, however many tenants.
 * @param nodes the cluster's; empty when they are not known
 * @param read content of a file of the group's template
 * @param free bytes of disk free on a node
 * @param ask how the nodes are asked. @default in a round of this look's own
 */
export async function readGroup(
    session: Session,
    group: GroupSpec,
    facets: readonly Facet[],
    mark: string,
    nodes: readonly NodeTarget[] = [],
    read?: (path: string) => string,
    free?: (node: string) => Promise<number | undefined>,
    ask: AskNodes = askNodes,
): Promise<Found> {
    const [probed] = await session.query<Probe>(
        `SELECT to_regclass('citus_as_code.tenant_group') IS NOT NULL AS ledger,
                to_regclass('citus_as_code.tenant_approval') IS NOT NULL AS approvals,
                to_regclass('citus_as_code.tenant_onboarding') IS NOT NULL AS onboarding,
                ARRAY(SELECT t.name FROM unnest($1::text[], $2::text[]) AS t (name, quoted) WHERE to_regclass(t.quoted) IS NOT NULL) AS tables`,
        [Object.keys(group.tables), Object.keys(group.tables).map(qualified)],
    );
    const probe = probed ?? { ledger: false, tables: [] };
    // nodes come with how they are reached, which is secret
    const places = nodes.map(({ name, host, port, address }) => ({ name, host, port, address }));
    const round = new Round();
    const asked = facets.flatMap((facet) => {
        const sql = facet.sql(group, { ...probe, ask: round.ask });
        return sql === undefined ? [] : [{ facet, sql }];
    });
    const columns = asked.map(({ sql }, i) => `(${sql}) AS f${i}`);
    const answered = round.questions.length === 0 ? undefined : await ask(session, round.questions);
    const given = [group.name, JSON.stringify(group), mark, JSON.stringify(places)];
    if (answered !== undefined) given.push(JSON.stringify(answered));
    const [row] =
        asked.length === 0
            ? [{}]
            : await askGiven(
                  session,
                  `${round.clause("$5")} SELECT ${columns.join(",\n       ")} FROM (SELECT $1::text, $2::jsonb, $3::text, $4::jsonb) AS given`,
                  given,
              );
    const answers = new Map(asked.map(({ facet }, i) => [facet.name, (row as Record<string, unknown>)?.[`f${i}`]]));
    for (const answer of answers.values()) refuseFailed(answer);
    const found: Record<string, unknown> = {};
    for (const facet of facets) {
        const answer = answers.get(facet.name) ?? facet.none;
        const withFiles = facet.readFiles && read ? await facet.readFiles(group, answer, read) : answer;
        found[facet.name] = facet.readMachines && free ? await facet.readMachines(group, withFiles, free) : withFiles;
    }
    return found;
}

/** Groups with as many tables ask the same, but for names: a connection plans that once. */
function askGiven(session: Session, text: string, parameters: readonly string[]) {
    const { sql, values } = liftGiven(text, parameters.length);
    return session.query<Record<string, unknown>>(sql, [...parameters, ...values], { again: true });
}

/** What is not known of a node is no answer. @throws DatabaseError that names the node */
function refuseFailed(answer: unknown): void {
    const nodes = (answer as { nodes?: readonly { name: string; failed?: string | null }[] } | null)?.nodes;
    const silent = Array.isArray(nodes) ? nodes.find(({ failed }) => typeof failed === "string") : undefined;
    if (silent) throw new DatabaseError(silent.name, "asking it about tenants", { message: silent.failed });
}

/** What one facet does. It is shown no more than it says that it reads: the rest may be of before the last step. */
function planOne(group: GroupSpec, facet: Facet, found: Found): Planned {
    const read = (facet.reads ?? []).flatMap((name) => (Object.hasOwn(found, name) ? [[name, found[name]]] : []));
    return facet.plan(group, found[facet.name], Object.fromEntries(read));
}

/** Everything there is to do, in order. Pure. */
export function planAll(group: GroupSpec, facets: readonly Facet[], found: Found): Required<Planned> {
    const planned = facets.map((facet) => planOne(group, facet, found));
    return {
        steps: planned.flatMap(({ steps }) => steps),
        refusals: planned.flatMap(({ refusals }) => refusals ?? []),
        notes: planned.flatMap(({ notes }) => notes ?? []),
    };
}

/**
 * The error that lists every reason.
 * @param now what is true of the group
 */
export function explainRefusals(
    group: GroupSpec,
    refusals: readonly string[],
    now = "Nothing of the group was changed.",
): string {
    return [
        `tenant group ${group.name}: ${refusals.length === 1 ? "1 thing stands in the way" : `${refusals.length} things stand in the way`}:`,
        ...refusals.map((refusal) => `  ${refusal.replaceAll("\n", "\n    ")}`),
        now,
    ].join("\n");
}

/** What is true when a run meets a refusal that its first plan could not see. */
const after = (done: readonly Step[]) =>
    done.length === 0
        ? undefined
        : `${done.length === 1 ? "1 step was" : `${done.length} steps were`} done before that, and what was done stays. Remove the cause, then run pulumi up again: it goes on from there.`;

/** Steps of one kind that follow each other. */
export function batches(steps: readonly Step[]): Step[][] {
    const result: Step[][] = [];
    for (const step of steps) {
        const last = result.at(-1);
        if (last?.[0]?.kind === step.kind) last.push(step);
        else result.push([step]);
    }
    return result;
}

/** One run that changes tenants at a time. */
export const takeLock = ({
    session,
    ...waiting
}: Pick<Context, "session" | "progress" | "alive"> & Partial<Pick<Context, "note">>) =>
    takeRunLock(session, "tenants", "is changing tenants", 600, waiting);

export const unlock = (session: Session) => releaseRunLock(session, "tenants");

/**
 * Does what there is to do, facet after facet, each on what the ones before it left. Safe to repeat, and goes on where a
 * killed run stopped.
 * @returns the steps that were done
 * @throws Error with every refusal before anything is changed, or naming what a step met
 */
export async function converge(context: Context, facets: readonly Facet[], mark: string): Promise<Step[]> {
    await takeLock(context);
    try {
        const { group: program, session } = context;
        const asKept = async (): Promise<Context> => ({ ...context, group: await withOnboarded(session, program) });
        let kept = await asKept();
        const first = await lookOf(kept, facets, mark);
        const { refusals } = planAll(kept.group, facets, first);
        if (refusals.length > 0) throw new Error(explainRefusals(program, refusals));
        const made = await makeLedger(session);
        // of the groups that are written down, a look asks for others only
        await recordGroup(session, program);
        const adopted = await adopt(session, program);
        const done: Step[] = [];
        for (let pass = 1; ; pass++) {
            await runFacets(kept, facets, mark, done, pass > 1 || made || adopted ? undefined : first);
            // tenants that were made while files went to the others were made without these
            const now = await asKept();
            const known = kept.group.tenants;
            if (pass === PASSES || Object.keys(now.group.tenants).every((name) => Object.hasOwn(known, name)))
                return done;
            kept = now;
        }
    } finally {
        await unlock(context.session).catch(() => undefined);
    }
}

/** How often tenants are looked for that were made meanwhile; whoever comes later is seen to by the next run. */
const PASSES = 3;

const lookOf = ({ session, group, nodes, read, shell }: Context, facets: readonly Facet[], mark: string) =>
    readGroup(session, group, facets, mark, nodes, read, async (node) => (await readFindings(shell(node)))?.free);

/** These facets and those that they read. */
const withRead = (these: readonly Facet[], facets: readonly Facet[]) =>
    facets.filter((facet) => these.includes(facet) || these.some(({ reads = [] }) => reads.includes(facet.name)));

/**
 * Facet after facet, each on what the ones before it left.
 * @param done what was done so far; added to
 * @param first what there is, where nothing changed since it was asked
 */
async function runFacets(
    context: Context,
    facets: readonly Facet[],
    mark: string,
    done: Step[],
    first?: Found,
): Promise<void> {
    const { group } = context;
    let found = first ?? (await lookOf(context, facets, mark));
    let whole = true;
    for (const [i, facet] of facets.entries()) {
        const { steps, refusals } = planOne(group, facet, found);
        if (refusals && refusals.length > 0) throw new Error(explainRefusals(group, refusals, after(done)));
        for (const batch of batches(steps)) {
            const [step] = batch;
            const run = step && facet.run[step.kind.slice(facet.name.length + 1)];
            if (!run) throw new Error(`${facet.name} does not know how to ${step?.kind}`);
            context.alive();
            context.progress(batch.length === 1 ? step.text : `${step.text} (1 of ${batch.length})`);
            await run(context, batch);
            done.push(...batch);
        }
        // what nobody changed is as it was
        if (steps.length === 0) continue;
        const rest = facets.slice(i + 1);
        // who seems to have nothing to do is probably the end of it, which is all facets'
        whole = !rest.some((next) => planOne(group, next, found).steps.length > 0);
        found = { ...found, ...(await lookOf(context, whole ? facets : withRead(rest, facets), mark)) };
    }
    if (!whole) found = await lookOf(context, facets, mark);
    const left = planAll(group, facets, found);
    if (left.steps.length > 0)
        throw new Error(
            `tenant group ${group.name}: every step was done, but these are needed again:\n${left.steps
                .slice(0, 10)
                .map((step) => `  ${step.text}`)
                .join("\n")}\nRun pulumi up again: it is safe to repeat.`,
        );
}

/** A step's text without the tenant's name, numbers and where something comes from: the same for all tenants. */
function statement({ kind, tenant, table, text }: Step): string {
    const named = [tenant, table]
        .filter((name) => name !== undefined && name !== "")
        .reduce<string>((said, name) => said.replaceAll(name as string, "%"), text);
    return `${kind} ${named.replace(/from (\w+)\/[^\s)]+/g, "from $1/%").replace(/\d[\d.,]*/g, "#")}`;
}

/** @param shown how many are shown of many that are alike. @param rest how the others are called */
function fold(steps: readonly Step[], alike: (step: Step) => string, shown: number, rest: string): string[] {
    const kinds = new Map<string, string[]>();
    for (const step of steps) kinds.set(alike(step), [...(kinds.get(alike(step)) ?? []), step.text]);
    return [...kinds.values()].flatMap((texts) =>
        texts.length <= shown + 1 ? texts : [...texts.slice(0, shown), `… and ${texts.length - shown} ${rest}`],
    );
}

/** Steps as lines for a person: many that say the same of different tenants are counted, and nothing else is. */
export function describeSteps(steps: readonly Step[], most = 12): string[] {
    const said = [fold(steps, statement, 2, "more like these"), fold(steps, statement, 1, "more like this")];
    return said.find((lines) => lines.length <= most) ?? fold(steps, ({ kind }) => kind, 1, "more steps of this kind");
}
