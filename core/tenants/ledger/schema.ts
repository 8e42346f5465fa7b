/** What this project writes down about tenants, in the coordinator's database: nothing of it is only in Pulumi's state. */

import type { Session } from "../../reach/session.ts";
import { MAKE_BOUNDS } from "./bounds.ts";

/**
 * Local tables of the coordinator. `tenant.state`: creating, active, frozen, superseded (its data went to another group and
 * the old copy is kept, fenced), deleting. Deleted tenants are in `tenant_tombstone`. What create_tenant makes tenants
 * from is in `tenant_onboarding` and `tenant_template`: the files that all tenants of the group ran.
 */
const LEDGER = `
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS citus_as_code;
CREATE TABLE IF NOT EXISTS citus_as_code.tenant (
    grp text NOT NULL, tenant text NOT NULL, model text NOT NULL,
    state text NOT NULL DEFAULT 'creating' CHECK (state IN ('creating', 'active', 'frozen', 'superseded', 'deleting')),
    node text, detail jsonb NOT NULL DEFAULT '{}', since timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (grp, tenant));
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_migration (
    grp text NOT NULL, tenant text NOT NULL, path text NOT NULL, sha256 text NOT NULL,
    run_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (grp, tenant, path));
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_approval (
    grp text NOT NULL, path text NOT NULL, sha256 text NOT NULL, wave text NOT NULL, approved_by text NOT NULL,
    approved_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (grp, path, sha256, wave));
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_baseline (
    grp text NOT NULL, sha256 text NOT NULL, proved_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (grp, sha256));
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_change (
    grp text NOT NULL, tenant text NOT NULL, from_grp text NOT NULL, from_tenant text NOT NULL, phase text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}', began timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (grp, tenant));
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_pin (
    grp text NOT NULL, tenant text NOT NULL, anchor text NOT NULL, key text, node text NOT NULL, PRIMARY KEY (grp, tenant));
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_tombstone (
    grp text NOT NULL, tenant text NOT NULL, model text NOT NULL, ended timestamptz NOT NULL DEFAULT now(), moved_to text,
    PRIMARY KEY (grp, tenant));
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_group (grp text PRIMARY KEY, spec jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS citus_as_code.node_address (
    node text PRIMARY KEY, host text NOT NULL, port int NOT NULL, pool_port int);
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_foreign_key (
    grp text NOT NULL, tbl text NOT NULL, name text NOT NULL, definition text NOT NULL, PRIMARY KEY (grp, tbl, name));
ALTER TABLE citus_as_code.tenant_foreign_key ADD COLUMN IF NOT EXISTS detail jsonb;
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_onboarding (
    grp text PRIMARY KEY, model text NOT NULL, lock_timeout int NOT NULL, anchor text, key_column text,
    published timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS citus_as_code.tenant_template (
    grp text NOT NULL, position int NOT NULL, path text NOT NULL, sha256 text NOT NULL, statements text[] NOT NULL,
    PRIMARY KEY (grp, position), UNIQUE (grp, path));
CREATE TABLE IF NOT EXISTS citus_as_code.measured (
    what text PRIMARY KEY, bytes bigint NOT NULL, seconds double precision NOT NULL, at timestamptz NOT NULL DEFAULT now());
RESET client_min_messages;
`;

/** How many columns the ledger has: each release adds to it, and none takes away. */
const COLUMNS = `SELECT count(*)::int AS n FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = to_regnamespace('citus_as_code') AND c.relkind = 'r'`;

/** Safe to repeat. @returns whether something of it was not there */
export async function makeLedger(session: Session): Promise<boolean> {
    const columns = async () => (await session.query<{ n: number }>(COLUMNS))[0]?.n;
    const before = await columns();
    await session.query(LEDGER);
    await session.query(MAKE_BOUNDS);
    return (await columns()) !== before;
}
