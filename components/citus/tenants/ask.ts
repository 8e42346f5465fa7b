/** What facets ask of every node: all of their questions go to each node together, over one connection. */
import type { Ask } from "../../tenants/facet.ts";
import { literal } from "../quote.ts";

/** A question by itself, outside of a look. */
export const askAlone: Ask = (question) => `run_command_on_all_nodes(${literal(question)})`;

/**
 * Gathers questions. Citus opens a connection to every node for each command that it runs there, which costs more than most
 * questions. A node on which one of them fails has failed them all, with what it said.
 */
export class Round {
    private readonly questions: string[] = [];

    readonly ask: Ask = (question) => {
        const known = this.questions.indexOf(question);
        const i = known === -1 ? this.questions.push(question) - 1 : known;
        return `(SELECT o.nodeid, o.success, CASE WHEN o.success THEN o.answers ->> ${i} ELSE o.said END AS result FROM node_answers o)`;
    };

    /** The WITH clause for the query that uses what `ask` gave; nothing where nothing was asked. */
    clause(): string {
        if (this.questions.length === 0) return "";
        const each = this.questions.map((question) => `(${question})::text`).join(", ");
        return `WITH node_answers AS MATERIALIZED (
            SELECT r.nodeid, r.success, r.result AS said, CASE WHEN r.success THEN r.result::jsonb END AS answers
              FROM ${askAlone(`SELECT jsonb_build_array(${each})`)} r)`;
    }
}
