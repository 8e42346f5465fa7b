/** The roles that a group has whatever its tenants. */
import { appRole, type GroupSpec, tenantsRole } from "../../tenants/spec.ts";
import { identifier } from "../quote.ts";
import type { Session } from "../session.ts";

/** Policies and grants name them, so they are there before the first. Safe to repeat; passwords come later. */
export async function ensureGroupRoles(session: Session, group: GroupSpec): Promise<void> {
    const app = appRole(group.name);
    const tenants = tenantsRole(group.name);
    const wanted = group.model === "row" || group.model === "rls" ? [tenants, app] : [tenants];
    const there = await session.query<{ name: string }>(
        "SELECT rolname::text AS name FROM pg_roles WHERE rolname = ANY($1)",
        [wanted],
    );
    for (const name of wanted) {
        if (there.some((role) => role.name === name)) continue;
        await session.query(`CREATE ROLE ${identifier(name)} ${name === app ? "LOGIN" : "NOLOGIN"}`);
        if (name === app)
            await session.query(`ALTER ROLE ${identifier(name)} SET citus.propagate_set_commands = 'local'`);
    }
}
