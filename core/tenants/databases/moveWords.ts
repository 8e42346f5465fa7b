/** What a person reads of a move of a database. Pure. */

import { identifier, literal } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { forgetMoveByHand } from "../ledger/tenants.ts";
import type { Move } from "./databaseFound.ts";
import { type Found, isWhole, type Work } from "./moveState.ts";

/** For preview. */
export function describeMove(
    tenant: string,
    from: string,
    to: string,
    known: { move?: Move | undefined; bytes?: number | undefined; rate: number | null },
): string {
    if (known.move) return `${tenant}: go on moving its database from ${known.move.from} to ${known.move.to}`;
    const size = known.bytes === undefined ? "" : `, ${describeBytes(known.bytes)}`;
    const time = known.rate && known.bytes !== undefined ? ` (about ${Math.ceil(known.bytes / known.rate)} s)` : "";
    return `${tenant}: move its database from ${from} to ${to}${size}; nobody can use it while it is copied${time}`;
}

/** The original is gone or half dropped: the move can neither go on nor be undone. */
export class NoSource extends Error {
    /** @param more what can still be used */
    constructor({ name: { group, tenant } }: Work, { from, to }: Move, there: Found | undefined, more = "") {
        super(
            `${group}/${tenant}: its database was moving from ${from} to ${to}, and ${there ? `a DROP DATABASE of the one on ${from} was begun and not ended: it can only be dropped` : `the one on ${from} is gone`}.\n` +
                `No database was touched. Bring it back under its name from a backup. Or, to begin anew with an export, make the ledger forget the move:\n` +
                `  ${forgetMoveByHand({ group, tenant })}${more}`,
        );
    }
}

export const explainDoomed = ({ name: { tenant } }: Work, from: string) =>
    `${tenant}: a DROP DATABASE of its database on ${from} was begun and not ended. It is not moved: its deletion drops what is left`;

export const explainHeld = ({ name: { group, tenant } }: Work, from: string, held: readonly string[]) =>
    `${group}/${tenant}: its database on ${from} has what no copy takes along: ${held.join(", ")}.`;

export function explainBoth({ name: { group, tenant } }: Work, { from, to }: Move, why: string): string {
    return (
        `${group}/${tenant}: its database was moving from ${from} to ${to}, and ${why}.\n` +
        `Both are kept as they are. Copy what is missing from one into the other. Rename the one that you do not want: ALTER DATABASE ${identifier(tenant)} RENAME TO …;\nThen tell the ledger where the other is:\n` +
        `  ${forgetMoveByHand({ group, tenant }, to)}  -- or ${literal(from)}`
    );
}

export const goneFrom = (made: Found | undefined) =>
    made ? "a DROP DATABASE of it there was begun and not ended" : "is not there any more";

/** @param why what became of the new one */
export function explainLost(
    { name: { group, tenant } }: Work,
    move: Move,
    old: Found | undefined,
    why: string,
): string {
    const gone = `${group}/${tenant}: its database moved to ${move.to} and ${why}`;
    if (!isWhole(old))
        return `${gone}, and the old one on ${move.from} is gone too.\nBring it back from an export or a backup.`;
    return (
        `${gone}.\nThe old one on ${move.from} is kept. It takes no connections, and has nothing that was written since the move. Bring the new one back.\nOr open the old one: ALTER DATABASE ${identifier(tenant)} CONNECTION LIMIT ${move.limit}; and tell the ledger where it is:\n` +
        `  ${forgetMoveByHand({ group, tenant }, move.from)}`
    );
}
