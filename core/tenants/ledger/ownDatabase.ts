/**
 * Tables of ours in each tenant's own database: what was run there, whose it is, and what was taken from others. They are the truth, of which the
 * coordinator has a copy: two databases can't commit together.
 */

import { literal } from "../../sql/quote.ts";
import type { TenantKey } from "./key.ts";
import type { RanFile } from "./ran.ts";

const MIGRATION =
    "citus_as_code.migration (path text PRIMARY KEY, sha256 text NOT NULL, run_at timestamptz NOT NULL DEFAULT now());";

/** SQL: the table of what was run, in a database that has none from before. */
export const OWN_LEDGER = `CREATE SCHEMA IF NOT EXISTS citus_as_code;
CREATE TABLE IF NOT EXISTS ${MIGRATION}`;

/** SQL: all of it, in a database that is new. */
export const makeOwn = ({ group, tenant }: TenantKey, epoch: number) => `
CREATE SCHEMA citus_as_code;
CREATE TABLE ${MIGRATION}
CREATE TABLE citus_as_code.tenant_identity (grp text NOT NULL, tenant text NOT NULL, epoch bigint NOT NULL);
                 INSERT INTO citus_as_code.tenant_identity VALUES (${literal(group)}, ${literal(tenant)}, ${epoch});`;

/** SQL: a file was run; fails when it is written down already. */
export const ownRow = ({ path, sha256 }: RanFile) =>
    `INSERT INTO citus_as_code.migration (path, sha256) VALUES (${literal(path)}, ${literal(sha256)});`;

/** SQL: these files were run, and no others. */
export const ownRows = (files: readonly RanFile[]) =>
    `${OWN_LEDGER}\nDELETE FROM citus_as_code.migration;\n${files.map(ownRow).join("\n")}`;

/** SQL for a person: a file that ran has another name now. */
export const renameOwnByHand = (was: string, path: string) =>
    `UPDATE citus_as_code.migration SET path = ${literal(path)} WHERE path = ${literal(was)};`;

/** SQL: rights of others that were taken while it did not write, to come back. @param grants statements */
export const noteShutOwn = (grants: readonly string[]) => [
    ...(grants.length === 0 ? [] : ["CREATE TABLE IF NOT EXISTS citus_as_code.shut (sql text PRIMARY KEY);"]),
    ...grants.map((sql) => `INSERT INTO citus_as_code.shut VALUES (${literal(sql)}) ON CONFLICT DO NOTHING;`),
];

/** SQL: what was taken comes back; nothing where nothing was. */
export const GIVE_BACK = `DO ${literal(`DECLARE given text; BEGIN
    IF to_regclass('citus_as_code.shut') IS NOT NULL THEN
        FOR given IN DELETE FROM citus_as_code.shut RETURNING sql LOOP EXECUTE given; END LOOP;
    END IF; END`)};`;
