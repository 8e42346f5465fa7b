/** Where a restore works: what the platforms do differently about it. */
import type { CommandResult, ScriptInput } from "../node/reach.ts";
import type { Contents } from "./points.ts";
import type { Wanted } from "./repository.ts";

/** A node that is restored. */
export interface RestoreTarget {
    readonly name: string;
    /** MiB. */
    readonly memory: number;
    readonly cores: number;
}

/** Scripts that work on one node's data while no server of the cluster uses it. */
export interface Workplace {
    readonly node: string;
    run(words: readonly string[], input?: ScriptInput): Promise<CommandResult>;
}

/** What is on a node's volume; `unfinished` is what an interrupted restore put in place and no server ran on. */
export type Holding = "nothing" | "database" | "unfinished";

export interface Site {
    /** How pgBackRest reaches the repository that is restored from. */
    readonly repository: Readonly<Record<string, string>>;
    /** Whether the repository can be looked at from here now; a preview may be too early for it. */
    canLook(): Promise<boolean>;
    /**
     * What is wanted of a repository.
     * @throws RepositoryError when it is not there or can't be read with its passphrase
     */
    read(which: "origin" | "own", wanted: Wanted): Promise<Contents>;
    /** What is on the nodes' volumes, by node name. */
    holdings(nodes: readonly string[]): Promise<Map<string, Holding>>;
    /**
     * Nodes of this cluster that hold data and are not among the site's: the same `pulumi up` would delete them.
     * Named as a person finds them: a node, or a machine's id.
     */
    leaving(): Promise<readonly string[]>;
    /** Version of a node's own secret that holds the passphrase and the verifier; empty where they are sent along. */
    secretVersion(node: string): string;
    /** The servers of these nodes, where there are any. */
    stop(nodes: readonly string[]): Promise<void>;
    start(nodes: readonly string[]): Promise<void>;
    /** Opens a workplace for each node, hands them on, and closes them whatever happens. */
    withWorkplaces<T>(nodes: readonly RestoreTarget[], use: (places: readonly Workplace[]) => Promise<T>): Promise<T>;
}

/** Where backups lie, for other stacks to restore from. */
export interface BackupsOutput {
    /** The Docker volume, or the bucket. */
    readonly repository: string;
    /** The bucket's region. */
    readonly region?: string;
    /** The cluster's name in it. */
    readonly cluster: string;
}
