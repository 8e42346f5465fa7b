/** What checks are asked of beside SQL of their own. */
import type { NodeRow } from "../../catalog.ts";
import type { FailedJob } from "../../rebalance/jobTasks.ts";
import type { ReferenceUse } from "../../references.ts";
import type { CitusVersions } from "../../versions.ts";
import type { ArchiveHealth } from "../read/archive.ts";
import type { Transactions } from "../read/transactions.ts";

export interface NodeHealth {
    readonly name: string;
    readonly state: "ready" | "unfinished" | "leaving" | "unreachable" | "inactive" | "unsynced" | "unregistered";
    readonly shards: number;
    readonly bytes?: number;
    readonly connections?: number;
    readonly maxConnections?: number;
    /** Days until the node's certificate ends. */
    readonly certificateDays?: number;
    /** Schemas with old copies of moved shards that are kept because rows were missing. */
    readonly kept?: readonly string[];
    /** Bytes of its volume, and those that are free. */
    readonly disk?: { readonly size: number; readonly free: number };
    /** Why the state is what it is, in the database's words. */
    readonly reason?: string;
}

/** What `npm run status` reads of a cluster. */
export interface HealthView {
    readonly nodes: readonly NodeHealth[];
    /** Nodes that are registered. */
    readonly rows: readonly NodeRow[];
    /** Hosts of those that do not answer. */
    readonly away: readonly string[];
    readonly versions: readonly CitusVersions[];
    /** The last rebalance, where it was given up. */
    readonly failed?: FailedJob;
    /** Moves that a rebalance would make now; undefined while a node does not answer. */
    readonly movesLeft?: number;
    /** Undefined where Citus' library refuses its extension. */
    readonly transactions?: Transactions;
    readonly archive: ArchiveHealth;
    readonly references: readonly ReferenceUse[];
}

/** What the state and what runs the nodes say. */
export interface StackView {
    /** Ports of containers of this cluster that the engine's machine opens, with the address that they are opened on. */
    readonly ports: readonly {
        readonly container: string;
        readonly node: string | null;
        readonly address: string;
        readonly port: number;
    }[];
    /** Ranges that a security group lets in. */
    readonly ingress: readonly { readonly group: string; readonly port: string; readonly range: string }[];
}
