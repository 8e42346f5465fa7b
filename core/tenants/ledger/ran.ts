/** The only writer of `citus_as_code.tenant_migration`: which files each tenant ran. */

import { literal } from "../../sql/quote.ts";
import { isRow, type TenantKey } from "./key.ts";

/** A file, and the sha256 of its content. */
export interface RanFile {
    readonly path: string;
    readonly sha256: string;
}

/** SQL: a tenant ran a file; fails when it is written down already. @param tenant '' for the whole group */
export const ranRow = (group: string, tenant: string, { path, sha256 }: RanFile) =>
    `INSERT INTO citus_as_code.tenant_migration (grp, tenant, path, sha256) VALUES (${[group, tenant, path, sha256].map(literal).join(", ")});`;

/** SQL: the same, also when it is written down already. */
export const ranAgain = (group: string, tenant: string, file: RanFile) =>
    ranRow(group, tenant, file).replace(/;$/, " ON CONFLICT DO NOTHING;");

/** SQL, part of a statement: files that tenants ran. $1 is the group, $3 a list of {tenant, path, sha256} as JSON. */
export const RAN_OF_RECORDS = `INSERT INTO citus_as_code.tenant_migration (grp, tenant, path, sha256)
            SELECT $1, r.tenant, r.path, r.sha256 FROM jsonb_to_recordset($3) AS r (tenant text, path text, sha256 text)
            ON CONFLICT DO NOTHING`;

/** SQL, in a function of PL/pgSQL: a tenant ran all that new ones are made from. Both are expressions. */
export const ranTemplate = (group: string, tenant: string) =>
    `INSERT INTO citus_as_code.tenant_migration (grp, tenant, path, sha256)
            SELECT ${group}, ${tenant}, t.path, t.sha256 FROM citus_as_code.tenant_template t WHERE t.grp = ${group};`;

/** SQL: what a tenant ran is forgotten: it is gone, or another had the name. */
export const forgetRan = (key: TenantKey) => `DELETE FROM citus_as_code.tenant_migration WHERE ${isRow(key)};`;

/** SQL for a person: a file that ran has another name now. */
export const renameRanByHand = (group: string, was: string, path: string) =>
    `UPDATE citus_as_code.tenant_migration SET path = ${literal(path)} WHERE grp = ${literal(group)} AND path = ${literal(was)};`;

/** SQL for a person: a file that ran has another content now. */
export const correctRanByHand = (group: string, path: string) =>
    `UPDATE citus_as_code.tenant_migration SET sha256 = '<sha256sum ${path}>' WHERE grp = ${literal(group)} AND path = ${literal(path)};`;
