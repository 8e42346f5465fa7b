/** What a check found, as data: what `doctor`, `status` and a preview show. */

/**
 * `danger`: rows, service or security are at stake. `mend`: it gets worse if nobody acts. `note`: worth knowing, and the
 * cluster is well with it.
 */
export type Danger = "danger" | "mend" | "note";

/** What `doctor --fix` runs. Only what loses nothing, whoever runs it and however often, has one. */
export type Fix =
    | {
          readonly kind: "sql";
          /** Name of the node that it runs on. */
          readonly node: string;
          /** In this order, each in a transaction of its own. */
          readonly statements: readonly string[];
      }
    | {
          /** Sends a worker the whole metadata again, and sets its sequences past every id in use. */
          readonly kind: "activate";
          readonly node: string;
      };

export interface Finding {
    /** Id of the check. */
    readonly check: string;
    readonly danger: Danger;
    /** Name of the node; null for the whole cluster. */
    readonly node: string | null;
    /** Name of the table, slot, setting, transaction or the like; null where the node itself is it. */
    readonly object: string | null;
    /** A sentence with numbers. It names the node itself. */
    readonly says: string;
    /** The line that mends it: SQL where `on` is set, else a command for a shell. Null where `says` has all that can be done. */
    readonly mend: string | null;
    /** Name of the node that the SQL runs on; null for a command. */
    readonly on: string | null;
    readonly fix?: Fix;
    /** Whether `pulumi up --refresh` mends it by itself. */
    readonly up?: true;
}

/** A check that gave no answer for a node, or for the cluster: never the same as nothing found. */
export interface Unasked {
    readonly check: string;
    readonly node: string | null;
    readonly why: string;
}

/** On one line, for `status` and a preview. */
export const sentence = ({ says, mend }: Finding): string => (mend === null ? says : `${says}: ${mend}`);

const ORDER: readonly Danger[] = ["danger", "mend", "note"];

/** The worst first; else in the order of the list. */
export const byDanger = (findings: readonly Finding[]): Finding[] =>
    [...findings].sort((a, b) => ORDER.indexOf(a.danger) - ORDER.indexOf(b.danger));

/** What somebody has to act on. */
export const needsAttention = ({ danger }: Finding): boolean => danger !== "note";
