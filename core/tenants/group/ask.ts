/** What facets ask of every node: all of their questions go to each node together, over one connection. */

import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";
import type { Ask } from "./facet.ts";

/** A question by itself, outside of a look. */
export const askAlone: Ask = (question) => `run_command_on_all_nodes(${literal(question)})`;

/** What one node said to all questions of a round. */
export interface NodeAnswers {
    /** pg_dist_node.nodeid */
    readonly nodeid: number;
    /** Whether it answered all of them. */
    readonly success: boolean;
    /** What it said instead. */
    readonly said: string | null;
    /** By the questions' order; null without success. */
    readonly answers: readonly (string | null)[] | null;
}

/** Asks every node all questions at once. A node on which one of them fails has failed them all, with what it said. */
export type AskNodes = (session: Session, questions: readonly string[]) => Promise<readonly NodeAnswers[]>;

/** In one round of its own. */
export const askNodes: AskNodes = (session, questions) => {
    const each = questions.map((question) => `(${question})::text`).join(", ");
    return session.query<NodeAnswers>(
        `SELECT r.nodeid, r.success, CASE WHEN NOT r.success THEN r.result END AS said,
                CASE WHEN r.success THEN r.result::jsonb END AS answers
           FROM ${askAlone(`SELECT to_jsonb(ARRAY[${each}])`)} r`,
    );
};

/**
 * Gathers questions. Citus opens a connection to every node for each command that it runs there, which costs more than most
 * questions.
 */
export class Round {
    readonly questions: string[] = [];

    readonly ask: Ask = (question) => {
        const known = this.questions.indexOf(question);
        const i = known === -1 ? this.questions.push(question) - 1 : known;
        return `(SELECT o.nodeid, o.success, CASE WHEN o.success THEN o.answers ->> ${i} ELSE o.said END AS result FROM node_answers o)`;
    };

    /**
     * The WITH clause for the query that uses what `ask` gave; nothing where nothing was asked.
     * @param answers the query's parameter that holds the answers, such as `$5`
     */
    clause(answers: string): string {
        if (this.questions.length === 0) return "";
        return `WITH node_answers AS MATERIALIZED (
            SELECT r.* FROM jsonb_to_recordset(${answers}::jsonb) AS r (nodeid int, success boolean, said text, answers jsonb))`;
    }
}

/**
 * Rounds that many looks share: what is asked while a round is under way goes into the next one. Where a node fails a
 * shared round, each look asks by itself, so that nobody is told of another's failure.
 * @param ask how a round is asked. @default askNodes
 */
export function sharedRounds(ask: AskNodes = askNodes): AskNodes {
    interface Waiting {
        readonly session: Session;
        readonly questions: readonly string[];
        readonly answer: (answers: Promise<readonly NodeAnswers[]>) => void;
    }
    let waiting: Waiting[] = [];
    let asking = false;
    const together = async ([first, ...others]: readonly [Waiting, ...Waiting[]]) => {
        const all = [first, ...others];
        const questions = [...new Set(all.flatMap((one) => one.questions))];
        const found = await ask(first.session, questions).catch((error: unknown) => {
            if (others.length === 0) throw error;
            return undefined;
        });
        const whole = found?.every(({ success }) => success) ? found : undefined;
        for (const one of all) {
            if (others.length > 0 && whole === undefined) {
                one.answer(ask(one.session, one.questions));
                continue;
            }
            const places = one.questions.map((question) => questions.indexOf(question));
            one.answer(
                Promise.resolve(
                    (found ?? []).map((node) => ({
                        ...node,
                        answers: node.answers && places.map((place) => node.answers?.[place] ?? null),
                    })),
                ),
            );
        }
    };
    const go = async () => {
        asking = true;
        // those that come in the same moment go with the first
        await new Promise((resolve) => setTimeout(resolve, GATHERING));
        for (let [first, ...others] = waiting; first; [first, ...others] = waiting) {
            waiting = [];
            const all: readonly [Waiting, ...Waiting[]] = [first, ...others];
            await together(all).catch((error: unknown) => {
                for (const { answer } of all) answer(Promise.reject(error));
            });
        }
        asking = false;
    };
    return (session, questions) =>
        new Promise((resolve) => {
            waiting.push({ session, questions, answer: resolve });
            if (!asking) void go();
        });
}

/** How long a round waits for others to join it, in milliseconds. */
const GATHERING = 10;
