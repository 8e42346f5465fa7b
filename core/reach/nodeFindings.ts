/** What nobody declared and what grows on a node, as its script look.sh says, and what it means. */

import type { Shell } from "../node/reach.ts";
import { OWNED } from "../node/settings.ts";
import { COORDINATOR } from "../node/topology.ts";
import { begunBy } from "../sql/gid.ts";
import { describeAge } from "../util/age.ts";
import { describeBytes } from "../util/bytes.ts";
import { runScript } from "./run.ts";

/** A value that something else than the configuration file sets. */
interface Scoped {
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

export interface Explained {
    /** What the next `up` puts right. */
    readonly mended: readonly string[];
    /** What somebody has to look at. */
    readonly problems: readonly string[];
    /** What is worth knowing. */
    readonly notes: readonly string[];
}

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;
/** Of a setting whose value may be of use to a role or a database: OWNED says so. */
const FREE_ELSEWHERE = new Set(["timezone", "synchronous_commit"]);
/** A user's prepared transaction; those of Citus are told of with what was decided about them (citus/transactions.ts). */
const PREPARED_SECONDS = 3600;
/** A consumer that restarts is away for some minutes, in which this much WAL is nothing. */
const SLOT_SECONDS = 600;
const SLOT_BYTES = 64 * 1024 ** 2;

const UP = "npm run pulumi -- up --refresh";

function describeScoped(node: string, { database, role, name, value }: Scoped): string {
    const of = [
        ...(role === null ? [] : [`role ${quoted(role)}`]),
        ...(database === null ? [] : [`database ${quoted(database)}`]),
    ].join(" in ");
    // on a worker Citus would refuse it, since it is the coordinator's to send
    const alone = node === COORDINATOR ? "" : "SET citus.enable_ddl_propagation = off; ";
    const reset =
        role === null
            ? `ALTER DATABASE ${quoted(database ?? "")} RESET ${name}`
            : `ALTER ROLE ${quoted(role)}${database === null ? "" : ` IN DATABASE ${quoted(database)}`} RESET ${name}`;
    return `${node}: ${name} is ${JSON.stringify(value)} for ${of}, and its value is the stack's (${OWNED[name] ?? "citus:settings has it"}): ${alone}${reset}`;
}

/** Pure. */
export function explainFindings(node: string, found: NodeFindings): Explained {
    const owned = new Set([...found.owned, ...Object.keys(OWNED)]);
    // while a cluster is restored they are off by this very means, and their own line says so
    const altered = found.altered.filter(({ name }) => !found.repairs.includes(name));
    const says = (configured: string | null) => (configured === null ? "nothing about it" : JSON.stringify(configured));
    const slots = found.slots.map((slot) => {
        const since = slot.seconds === null ? "" : ` for ${describeAge(slot.seconds)}`;
        return {
            ...slot,
            text: `${node}: the replication slot ${slot.name} has no reader${since} and keeps ${describeBytes(slot.bytes)} of WAL on the volume. Start its reader, or drop it: SELECT pg_drop_replication_slot('${slot.name.replaceAll("'", "''")}')`,
        };
    });
    const needed = Math.max(2 * found.walLimit, found.size / 20);
    return {
        mended: [
            ...(found.passwordDiffers
                ? [
                      `${node}: the superuser's password on the node is not the stack's. ${UP} puts the stack's back (npm run pulumi -- stack output password --show-secrets prints it)`,
                  ]
                : []),
            ...altered
                .filter(({ name }) => owned.has(name))
                .map(
                    ({ name, value, configured }) =>
                        `${node}: ALTER SYSTEM set ${name} to ${JSON.stringify(value)}, and the stack says ${says(configured)}. ${UP} takes it back, as ALTER SYSTEM RESET ${name} does`,
                ),
            ...(found.refused === null || found.refused.trim() === ""
                ? []
                : [
                      `${node}: PostgreSQL refused the configuration that was put in place last, and the one before it is in use: ${found.refused.trim()}`,
                  ]),
        ],
        problems: [
            ...(found.repairs.length === 0
                ? []
                : [
                      `${node}: Citus' own repairs are off (${found.repairs.join(", ")}): transactions in doubt, deadlocks between nodes, old copies of shards and waiting moves are left as they are. A restore that has not ended leaves them so. If none is under way: ${found.repairs.map((name) => `ALTER SYSTEM RESET ${name}`).join("; ")}; SELECT pg_reload_conf()`,
                  ]),
            ...found.scoped
                .filter(({ name }) => owned.has(name) && !FREE_ELSEWHERE.has(name.toLowerCase()))
                .map((scoped) => describeScoped(node, scoped)),
            // a healthy node recycles this much, so what is beyond it only grows
            ...slots.filter(({ bytes }) => bytes > found.walLimit).map(({ text }) => text),
            ...found.prepared
                .filter(({ gid, seconds }) => seconds > PREPARED_SECONDS && begunBy(gid) === undefined)
                .map(
                    ({ gid, seconds, owner, database }) =>
                        `${node}: the prepared transaction '${gid}' of ${owner} in ${database} has been open for ${describeAge(seconds)}. It holds its locks and keeps dead rows: COMMIT PREPARED '${gid}' or ROLLBACK PREPARED '${gid}'`,
                ),
            ...found.idle.map(
                ({ pid, role, application, database, seconds }) =>
                    `${node}: a transaction of ${role ?? "?"} (${application || "no application name"}, process ${pid}, database ${database ?? "?"}) began ${describeAge(seconds)} ago and is idle. It holds its locks and keeps dead rows: SELECT pg_terminate_backend(${pid})`,
            ),
            ...(found.free < needed
                ? [
                      `${node}: ${describeBytes(found.free)} of ${describeBytes(found.size)} are free on its volume. A volume that is full stops the server`,
                  ]
                : []),
        ],
        notes: [
            ...altered
                .filter(({ name }) => !owned.has(name))
                .map(
                    ({ name, value, configured }) =>
                        `${node}: ALTER SYSTEM set ${name} to ${JSON.stringify(value)}; the configuration file says ${says(configured)}. To take it back: ALTER SYSTEM RESET ${name}`,
                ),
            ...slots
                .filter(
                    ({ bytes, seconds }) =>
                        bytes <= found.walLimit && (bytes > SLOT_BYTES || (seconds ?? SLOT_SECONDS) >= SLOT_SECONDS),
                )
                .map(({ text }) => text),
        ],
    };
}
