/** What there is of tenants' databases: on the nodes, in the ledger, and whether they are whose they should be. */

import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { databaseOf } from "../data/shape.ts";
import type { GroupSpec } from "../group/spec.ts";
import { placeByHand } from "../ledger/tenants.ts";

/** A move that has begun and not ended. */
export interface Move {
    readonly from: string;
    readonly to: string;
    /** `copy` until the copy is verified, `switch` until it has the name, `drop` until the old one is gone. */
    readonly phase: "copy" | "switch" | "drop";
    /** The connection limit that the database had. */
    readonly limit: number;
    /** When its clients were shut out, in milliseconds since 1970. */
    readonly fenced: number;
    /** What was in both when the copy was verified; see scripts/node/copy-database.sh. */
    readonly print?: { readonly source: string; readonly copy: string };
}

/** One database as its node's catalog has it. */
export interface DatabaseFound {
    readonly name: string;
    /** Connections that anybody but a superuser may have; -1 for any number. */
    readonly limit: number;
    /** Whether PUBLIC may connect. */
    readonly open: boolean;
    /** Roles that may connect by a grant of their own. */
    readonly roles: readonly string[] | null;
    /** Whose it is; see {@link identity}. */
    readonly comment: string | null;
    readonly bytes: number;
}

export interface LedgerRow {
    readonly tenant: string;
    readonly state: string;
    readonly node: string | null;
    /** `restoring`: an export is being brought back, or was when a run failed or was killed. */
    readonly detail: { readonly epoch?: number; readonly move?: Move; readonly restoring?: boolean };
}

export interface DatabasesFound {
    /** The coordinator first. */
    readonly nodes: readonly { readonly name: string; readonly databases: readonly DatabaseFound[] }[];
    readonly ledger: readonly LedgerRow[];
    /** Databases of other groups, by name. */
    readonly others: Readonly<Record<string, string>>;
    /** The cluster's own database. */
    readonly own: string;
    /** Bytes a second of the last copy. */
    readonly rate: number | null;
}

/** The limit of a database that a DROP DATABASE left which did not end: nobody can connect to it, and it can only be dropped. */
export const INVALID = -2;

/** The comment on a tenant's database: a database that was dropped and made again by hand does not have it. */
export const identity = (group: string, tenant: string, epoch: number): string =>
    `citus_as_code: ${group}/${tenant}, epoch ${epoch}`;

export const databaseOn = (
    found: DatabasesFound,
    node: string | null | undefined,
    name: string,
): DatabaseFound | undefined => found.nodes.find((n) => n.name === node)?.databases.find((d) => d.name === name);

/** Nodes that have a database of this name. */
export const nodesWith = (found: DatabasesFound, name: string): string[] =>
    found.nodes.filter(({ databases }) => databases.some((d) => d.name === name)).map((n) => n.name);

/** Why a tenant's database is not where the ledger has it, when it is somewhere. */
export function explainMisplaced(
    group: GroupSpec,
    { tenant, node }: LedgerRow,
    found: DatabasesFound,
): string | undefined {
    const name = databaseOf(tenant);
    const [elsewhere, ...more] = nodesWith(found, name);
    if (elsewhere === undefined || databaseOn(found, node, name)) return undefined;
    return `${tenant}: its database should be on ${node} and is on ${[elsewhere, ...more].join(", ")}: it was moved by hand.\nTell the ledger where it is: ${placeByHand({ group: group.name, tenant }, elsewhere)}`;
}

/** Why a database of a tenant's name, with this comment, is not the tenant's. */
export function explainForeign(
    group: GroupSpec,
    { tenant, node, detail }: Pick<LedgerRow, "tenant" | "node" | "detail">,
    comment: string | null,
): string | undefined {
    const name = databaseOf(tenant);
    const own = identity(group.name, tenant, detail.epoch ?? 0);
    if (comment === own) return undefined;
    return `${tenant}: the database ${name} on ${node} is not the one that was made for it: ${comment === null ? "it has no comment" : `its comment is "${comment}"`}, so somebody dropped it and made another of its name.\nIf it is the tenant's all the same, run there: COMMENT ON DATABASE ${identifier(name)} IS ${literal(own)};`;
}

/** Whether nobody made anything in a database: what ours are made from has nothing but what initdb numbered. */
export async function isEmpty(session: Session): Promise<boolean> {
    const made = "oid >= 16384";
    const passing = (schema: string) => `${schema}::regnamespace::text !~ '^pg_(toast|temp)'`;
    const [row] = await session.query<{ found: boolean }>(
        `SELECT EXISTS (SELECT FROM pg_class WHERE ${made} AND ${passing("relnamespace")})
             OR EXISTS (SELECT FROM pg_type WHERE ${made} AND ${passing("typnamespace")})
             OR EXISTS (SELECT FROM pg_proc WHERE ${made}) OR EXISTS (SELECT FROM pg_extension WHERE ${made})
             OR EXISTS (SELECT FROM pg_namespace WHERE ${made} AND nspname !~ '^pg_')
             OR EXISTS (SELECT FROM pg_largeobject_metadata) AS found`,
    );
    return row?.found === false;
}

/** Whether a run that was stopped has begun to fill a database for this very tenant. */
export async function isBegun(
    session: Session,
    group: GroupSpec,
    { tenant, epoch }: { readonly tenant: string; readonly epoch: number },
): Promise<boolean> {
    const [there] = await session.query<{ ours: boolean }>(
        "SELECT to_regclass('citus_as_code.tenant_identity') IS NOT NULL AS ours",
    );
    if (!there?.ours) return false;
    const rows = await session.query<{ grp: string; tenant: string; epoch: string }>(
        "SELECT grp, tenant, epoch::text AS epoch FROM citus_as_code.tenant_identity",
    );
    return (
        rows.length === 1 && rows.every((r) => r.grp === group.name && r.tenant === tenant && Number(r.epoch) === epoch)
    );
}
