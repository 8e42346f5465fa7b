/** What a check is. */
import type { NodeFindings } from "../../../reach/nodeFindings.ts";
import type { Finding } from "../read/finding.ts";
import type { Limits } from "./limits.ts";
import type { HealthView, StackView } from "./view.ts";

/** A node's answer. */
export interface Answer<T> {
    /** Name of the node. */
    readonly node: string;
    /** Its host in pg_dist_node. */
    readonly host: string;
    readonly answer: T;
}

/** What a node's script `look.sh` found, with what its disk held before. */
export interface NodeLook {
    readonly node: string;
    readonly found: NodeFindings;
    /** An earlier look from this machine; undefined for none. */
    readonly before?: {
        /** How long ago, in seconds. */
        readonly seconds: number;
        /** Bytes that were free. */
        readonly free: number;
    };
}

interface Base {
    /** Kebab case. Other programs know a check by it, so it stays. */
    readonly id: string;
    /** What is well when it finds nothing. */
    readonly title: string;
}

/** Asked of what `npm run status` reads. */
export interface HealthCheck extends Base {
    readonly asks: "health";
    readonly judge: (view: HealthView, limits: Limits) => Finding[];
    /** Names of nodes that gave no answer to it. @default none */
    readonly silent?: (view: HealthView) => readonly string[];
}

/** Asked of each node by its script look.sh. */
export interface LookCheck extends Base {
    readonly asks: "look";
    readonly judge: (look: NodeLook, limits: Limits) => Finding[];
}

/** One question to the coordinator; its only row's column `answer` is JSON. */
export interface CoordinatorCheck extends Base {
    readonly asks: "coordinator";
    readonly sql: string;
    readonly judge: (answer: unknown, limits: Limits) => Finding[];
}

/** The same question to every node, as an SQL expression of type jsonb. Answers are judged together. */
export interface NodesCheck extends Base {
    readonly asks: "nodes";
    readonly sql: string;
    readonly judge: (answers: readonly Answer<unknown>[], limits: Limits) => Finding[];
}

/** Asked of the stack's state and of what runs the nodes. */
export interface StackCheck extends Base {
    readonly asks: "stack";
    readonly judge: (view: StackView, limits: Limits) => Finding[];
}

export type Check = HealthCheck | LookCheck | CoordinatorCheck | NodesCheck | StackCheck;

/** A check of the coordinator whose answer has a type. */
export const ofCoordinator = <T>(
    check: Base & { readonly sql: string; readonly judge: (answer: T, limits: Limits) => Finding[] },
): CoordinatorCheck => ({ ...check, asks: "coordinator", judge: (answer, limits) => check.judge(answer as T, limits) });

/** A check of every node whose answers have a type. */
export const ofNodes = <T>(
    check: Base & {
        readonly sql: string;
        readonly judge: (answers: readonly Answer<T>[], limits: Limits) => Finding[];
    },
): NodesCheck => ({
    ...check,
    asks: "nodes",
    judge: (answers, limits) => check.judge(answers as readonly Answer<T>[], limits),
});

/** How a check is asked, for a person. */
export const HOW: Readonly<Record<Check["asks"], string>> = {
    health: "what `npm run status` reads",
    look: "a script on each node",
    coordinator: "SQL on the coordinator",
    nodes: "SQL on every node",
    stack: "the stack's state and what runs the nodes",
};
