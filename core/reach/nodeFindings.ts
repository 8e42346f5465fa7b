/** What nobody declared and what grows on a node, as its script look.sh says. What it means: core/citus/health/checks/looks.ts. */

import type { Shell } from "../node/reach.ts";
import { runScript } from "./run.ts";

/** A value that something else than the configuration file sets. */
export interface Scoped {
    readonly database: string | null;
    readonly role: string | null;
    readonly name: string;
    readonly value: string;
}

export interface NodeFindings {
    /** Bytes of the data's volume. */
    readonly size: number;
    readonly free: number;
    /** Why the configuration that was put in place last was not started with. */
    readonly refused: string | null;
    /** Settings whose value is the stack's alone. */
    readonly owned: readonly string[];
    /** Whether the superuser's password is another than the stack's. */
    readonly passwordDiffers: boolean;
    /** By ALTER SYSTEM, with what the configuration file says. */
    readonly altered: readonly { readonly name: string; readonly value: string; readonly configured: string | null }[];
    /** Citus' own repairs that are off. */
    readonly repairs: readonly string[];
    readonly scoped: readonly Scoped[];
    /** max_wal_size in bytes. */
    readonly walLimit: number;
    readonly slots: readonly {
        readonly name: string;
        readonly bytes: number;
        readonly seconds: number | null;
        readonly database: string | null;
    }[];
    readonly prepared: readonly {
        readonly gid: string;
        readonly seconds: number;
        readonly owner: string;
        readonly database: string;
    }[];
    readonly idle: readonly {
        readonly pid: number;
        readonly role: string | null;
        readonly application: string;
        readonly database: string | null;
        readonly seconds: number;
    }[];
}

/** @returns undefined where the node can't be asked */
export async function readFindings(shell: Shell): Promise<NodeFindings | undefined> {
    const result = await runScript(shell, ["look.sh"]).catch(() => undefined);
    return result?.code === 0 ? (JSON.parse(result.stdout) as NodeFindings) : undefined;
}
