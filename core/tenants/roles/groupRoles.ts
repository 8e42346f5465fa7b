/** The roles that a group has whatever its tenants, and which roles are a group's own. */

import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { transaction } from "../group/batch.ts";
import { appRole, type GroupSpec, onboardingRole, optionalRoles, tenantRole, tenantsRole } from "../group/spec.ts";

/** The beginning of the comment of each role that a group made. */
export const ownComment = (group: string) => `citus_as_code ${group} `;

/** Roles of the group itself: of all its tenants, and where those are rows of its application. */
export const groupRoleNames = ({ name, model }: GroupSpec): string[] =>
    model === "row" || model === "rls" ? [tenantsRole(name), appRole(name)] : [tenantsRole(name)];

/** All roles of the group itself. */
export const allGroupRoleNames = (group: GroupSpec): string[] => [
    ...groupRoleNames(group),
    ...(group.onboarding ? [onboardingRole(group.name)] : []),
];

/**
 * A tenant's own role, where it can have one: undefined when that is one of the group itself, or longer than PostgreSQL
 * keeps, which is then another's. The one place that says so for whatever grants, shuts or drops.
 */
export function ownTenantRole(group: GroupSpec, tenant: string): string | undefined {
    const role = tenantRole(group.name, tenant);
    const own = [...allGroupRoleNames(group), ...optionalRoles(group.name, group.model)];
    return own.includes(role) || Buffer.byteLength(role) > 63 ? undefined : role;
}

/**
 * Why a role that somebody else made is not taken, and what to do.
 * @param of whose it would be
 * @param instead of renaming the role
 */
export const foreignRole = (group: string, of: string, name: string, comment: string | null, instead: string) =>
    `${of}: there is a role ${name} that this group did not make${comment ? ` (its comment is: ${comment})` : ""}.\n` +
    `Rename it (ALTER ROLE ${identifier(name)} RENAME TO …), or ${instead}. If it is this group's after all, run ` +
    `COMMENT ON ROLE ${identifier(name)} IS ${literal(ownComment(group))}; pulumi up then sets its rights and its password.`;

/**
 * Policies and grants name them, so they are there before the first. Safe to repeat; passwords come later.
 * @throws Error when there is a role of that name that this group did not make
 */
export async function ensureGroupRoles(session: Session, group: GroupSpec): Promise<void> {
    const wanted = allGroupRoleNames(group);
    const there = await session.query<{ name: string; comment: string | null }>(
        "SELECT rolname::text AS name, shobj_description(oid, 'pg_authid') AS comment FROM pg_roles WHERE rolname = ANY($1)",
        [wanted],
    );
    for (const name of wanted) {
        const role = there.find((found) => found.name === name);
        if (role?.comment?.startsWith(ownComment(group.name))) continue;
        if (role)
            throw new Error(
                `${foreignRole(group.name, `group ${group.name}`, name, role.comment, "give the group another name")}\nThe role is untouched. Do one of these, then run pulumi up again.`,
            );
        const app = name === appRole(group.name);
        await transaction(
            session,
            [
                `CREATE ROLE ${identifier(name)} ${app ? "LOGIN" : "NOLOGIN"};`,
                ...(app ? [`ALTER ROLE ${identifier(name)} SET citus.propagate_set_commands = 'local';`] : []),
                `COMMENT ON ROLE ${identifier(name)} IS ${literal(ownComment(group.name))};`,
            ].join("\n"),
        );
    }
}
