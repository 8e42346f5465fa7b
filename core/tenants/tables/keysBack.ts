/** Foreign keys that are taken off while tables change, and how they come back. */

import type { Session } from "../../reach/session.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { inTransaction } from "../data/checksum.ts";
import type { Context } from "../group/facet.ts";
import { keepNumbers } from "./identities.ts";
import type { ForeignKey } from "./tableKeys.ts";

/**
 * SQL that writes a foreign key down, whose definition can't be lost in the transaction that takes it off.
 * @param facts what it is, to tell later whether it can be put back
 */
export const writeDown = (group: string, table: string, key: string, facts?: ForeignKey) => `
INSERT INTO citus_as_code.tenant_foreign_key (grp, tbl, name, definition, detail)
SELECT ${literal(group)}, ${literal(table)}, conname, pg_get_constraintdef(oid), ${facts ? `${literal(JSON.stringify(facts))}::jsonb` : "NULL"}
  FROM pg_constraint WHERE conrelid = ${literal(qualified(table))}::regclass AND conname = ${literal(key)}
    ON CONFLICT (grp, tbl, name) DO UPDATE SET definition = excluded.definition, detail = excluded.detail`;

/**
 * Takes a foreign key off. Citus would take a table that has lost its last key to a reference table out of its metadata at
 * once, and refuses to when that has an identity column: so it is told to leave the table there.
 */
export async function setAside({ session, group }: Context, table: string, key: string, facts?: ForeignKey) {
    await session.query("BEGIN");
    try {
        await session.query("SET LOCAL citus.enable_local_reference_table_foreign_keys = off");
        await session.query(writeDown(group.name, table, key, facts));
        await session.query(`ALTER TABLE ${qualified(table)} DROP CONSTRAINT IF EXISTS ${identifier(key)}`);
        await session.query("COMMIT");
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

interface Kept {
    readonly definition: string;
    readonly there: boolean;
}

/** NOT VALID first: from then on new rows are checked, even when an old one is in the way. */
async function putOne(session: Session, group: string, table: string, key: string, kept: Kept): Promise<void> {
    const name = identifier(key);
    if (!kept.there)
        await inTransaction(session, () =>
            keepNumbers(session, () =>
                session.query(
                    `ALTER TABLE ${qualified(table)} ADD CONSTRAINT ${name} ${kept.definition.replace(/ NOT VALID$/, "")} NOT VALID`,
                ),
            ),
        );
    await session.query(`ALTER TABLE ${qualified(table)} VALIDATE CONSTRAINT ${name}`);
    await forgetKey(session, group, table, key);
}

/** A foreign key is there again, or is given up. */
export const forgetKey = (session: Session, group: string, table: string, key: string) =>
    session.query("DELETE FROM citus_as_code.tenant_foreign_key WHERE grp = $1 AND tbl = $2 AND name = $3", [
        group,
        table,
        key,
    ]);

/** @throws Error when rows break it */
export async function putBack(session: Session, group: string, table: string, key: string): Promise<void> {
    const [kept] = await session.query<Kept>(
        `SELECT definition, EXISTS (SELECT 1 FROM pg_constraint WHERE conrelid = $3::regclass AND conname = $4) AS there
           FROM citus_as_code.tenant_foreign_key WHERE grp = $1 AND tbl = $2 AND name = $4`,
        [group, table, qualified(table), key],
    );
    if (!kept) return;
    try {
        await putOne(session, group, table, key, kept);
    } catch (error) {
        throw new Error(
            `${(error as Error).message}\n${table}: foreign key ${key} (${kept.definition}) was taken off while tables were distributed, and can't be put back whole.\nSome rows break it. Correct these rows and run pulumi up again. Or give the key up: DELETE FROM citus_as_code.tenant_foreign_key WHERE grp = ${literal(group)} AND name = ${literal(key)};`,
        );
    }
}

export interface KeysBack {
    /** Those that are there again, as `table.key`. */
    readonly back: readonly string[];
    /** Those that are off still, with why. */
    readonly off: readonly { readonly table: string; readonly name: string; readonly why: string }[];
}

/** Puts back every foreign key of a group that is off and can be there as the tables are now. */
export async function keysBack(session: Session, group: string): Promise<KeysBack> {
    const [ledger] = await session.query<{ there: boolean }>(
        "SELECT to_regclass('citus_as_code.tenant_foreign_key') IS NOT NULL AS there",
    );
    if (!ledger?.there) return { back: [], off: [] };
    const kept = await session.query<Kept & { table: string; name: string }>(
        `SELECT k.tbl AS table, k.name, k.definition, EXISTS (SELECT 1 FROM pg_constraint c
                 WHERE c.conrelid = to_regclass(CASE WHEN k.tbl LIKE '%.%' THEN format('%I.%I', split_part(k.tbl, '.', 1), split_part(k.tbl, '.', 2)) ELSE format('public.%I', k.tbl) END)
                   AND c.conname = k.name) AS there
           FROM citus_as_code.tenant_foreign_key k WHERE k.grp = $1 ORDER BY k.tbl, k.name`,
        [group],
    );
    const back: string[] = [];
    const off: { table: string; name: string; why: string }[] = [];
    for (const { table, name, ...key } of kept) {
        try {
            await putOne(session, group, table, name, key);
            back.push(`${name} of ${table}`);
        } catch (error) {
            off.push({ table, name, why: (error as Error).message });
        }
    }
    return { back, off };
}

/** What that came to, for a person; nothing where no key was off. */
export const describeKeys = ({ back, off }: KeysBack) =>
    [
        ...(back.length === 0 ? [] : [`\nForeign keys that were off are back: ${back.join(", ")}.`]),
        ...off.map(
            ({ table, name, why }) =>
                `\nForeign key ${name} of ${table} is off, so rows that break it can come in. It is written down and put back by the pulumi up that ends this.\n  ${why.replaceAll("\n", "\n  ")}`,
        ),
    ].join("");
