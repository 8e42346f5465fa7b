/**
 * What a new node needs before Citus sends it the cluster's objects. Citus sends roles one by one, each with its
 * memberships, so a grant may come before the role that gave it. And it leaves an extension that is there as it is.
 */

import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";

/** A row of pg_auth_members, in names. */
export interface Membership {
    readonly role: string;
    readonly member: string;
    readonly grantor: string;
    /** Whether the grantor is the role that initdb made, who needs no admin option. */
    readonly bySuperuser: boolean;
    readonly admin: boolean;
    readonly inherit: boolean;
    readonly set: boolean;
}

/** An extension as a node has it. */
export interface Extension {
    readonly name: string;
    readonly schema: string;
    /** Owner of the schema. */
    readonly owner: string;
    readonly version: string;
}

/**
 * Memberships in an order in which each grantor has the admin option before it grants. Pure.
 * @returns `left`: those that no order allows
 */
export function grantOrder(memberships: readonly Membership[]): { order: Membership[]; left: Membership[] } {
    const order: Membership[] = [];
    let left = [...memberships];
    const admins = new Set<string>();
    const key = (role: string, member: string) => JSON.stringify([role, member]);
    for (;;) {
        const now = left.filter(({ role, grantor, bySuperuser }) => bySuperuser || admins.has(key(role, grantor)));
        if (now.length === 0) return { order, left };
        order.push(...now);
        left = left.filter((membership) => !now.includes(membership));
        for (const { role, member, admin } of now) if (admin) admins.add(key(role, member));
    }
}

export const grantStatement = ({ role, member, grantor, admin, inherit, set }: Membership): string =>
    `GRANT ${identifier(role)} TO ${identifier(member)} WITH ADMIN ${admin}, INHERIT ${inherit}, SET ${set} GRANTED BY ${identifier(grantor)}`;

/** Memberships that Citus sends to a new node: of roles, and by roles, that it knows. */
async function readMemberships(coordinator: Session): Promise<Membership[]> {
    return coordinator.query<Membership>(
        `SELECT r.rolname AS role, m.rolname AS member, g.rolname AS grantor, a.grantor = 10 AS "bySuperuser",
                a.admin_option AS admin, a.inherit_option AS inherit, a.set_option AS set
           FROM pg_auth_members a
           JOIN pg_authid r ON r.oid = a.roleid JOIN pg_authid m ON m.oid = a.member JOIN pg_authid g ON g.oid = a.grantor
          WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_dist_object o WHERE o.classid = 'pg_authid'::regclass AND o.objid = a.member)
          ORDER BY 1, 2, 3`,
    );
}

const EXTENSIONS = `SELECT e.extname AS name, n.nspname AS schema, pg_get_userbyid(n.nspowner) AS owner, e.extversion AS version
                      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                     WHERE e.extname NOT LIKE 'citus%' AND e.extname <> 'plpgsql' ORDER BY 1`;

/** Extensions of a new node that are not as the coordinator has them; `make` is undefined where it has none. Pure. */
export function differingExtensions(
    target: readonly Extension[],
    coordinator: readonly Extension[],
): { name: string; make: Extension | undefined }[] {
    return target.flatMap(({ name, schema, version }) => {
        const make = coordinator.find((other) => other.name === name);
        return make?.schema === schema && make.version === version ? [] : [{ name, make }];
    });
}

/** Runs statements on a node in one transaction in which Citus neither propagates nor protects anything. */
export async function byHand(target: Session, statements: readonly string[]): Promise<void> {
    await target.query("BEGIN");
    try {
        await target.query("SET LOCAL citus.enable_ddl_propagation = off");
        await target.query("SET LOCAL citus.enable_manual_changes_to_shards = on");
        await target.query("SET LOCAL citus.override_table_visibility = off");
        for (const statement of statements) await target.query(statement);
        await target.query("COMMIT");
    } catch (error) {
        await target.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/**
 * Makes on an empty node of this stack what Citus takes for granted: roles that memberships name, in an order that
 * PostgreSQL allows, and extensions in the coordinator's schema and version. Citus sets everything else of them. Safe to
 * repeat; one transaction.
 */
export async function prepareTarget(coordinator: Session, target: Session): Promise<void> {
    const memberships = await readMemberships(coordinator);
    const extensions = differingExtensions(
        await target.query<Extension>(EXTENSIONS),
        await coordinator.query<Extension>(EXTENSIONS),
    );
    const needed = new Set([
        ...memberships.flatMap(({ role, member, grantor }) => [role, member, grantor]),
        ...extensions.flatMap(({ make }) => (make ? [make.owner] : [])),
    ]);
    const there = await target.query<{ name: string }>("SELECT rolname AS name FROM pg_roles");
    const missing = [...needed].filter((role) => !there.some(({ name }) => name === role));
    const statements = [
        ...missing.map((role) => `CREATE ROLE ${identifier(role)}`),
        ...grantOrder(memberships).order.map(grantStatement),
        ...extensions.flatMap(({ name, make }) => [
            `DROP EXTENSION IF EXISTS ${identifier(name)} CASCADE`,
            ...(make
                ? [
                      ...(make.schema.startsWith("pg_")
                          ? []
                          : [
                                `CREATE SCHEMA IF NOT EXISTS ${identifier(make.schema)} AUTHORIZATION ${identifier(make.owner)}`,
                            ]),
                      `CREATE EXTENSION ${identifier(name)} SCHEMA ${identifier(make.schema)} VERSION ${literal(make.version)}`,
                  ]
                : []),
        ]),
    ];
    if (statements.length > 0) await byHand(target, statements);
}
