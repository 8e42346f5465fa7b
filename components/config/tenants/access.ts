/** Who else gets in: the reader of all tenants, and sign-in without knowing the tenant. Pure. */

import { readerRole, type SignInSpec, signInRole } from "../../../core/tenants/group/spec.ts";
import { nearest } from "../../../core/util/nearest.ts";
import { shown } from "../../../core/util/shown.ts";
import type { GroupShape } from "./fields.ts";

/** `users.email` or `app.users.email`: the column is what follows the last point. */
export function signInOf(text: string): SignInSpec {
    const at = text.lastIndexOf(".");
    return { table: text.slice(0, at), column: text.slice(at + 1) };
}

/** Roles that a group makes for these. */
export const accessRoles = (name: string, { reader, signIn }: Pick<GroupShape, "reader" | "signIn">): string[] => [
    ...(reader ? [readerRole(name)] : []),
    ...(signIn === undefined ? [] : [signInRole(name)]),
];

/** @param wrong told of each mistake, by its path in the group */
export function accessMistakes(name: string, shape: GroupShape, wrong: (at: string, message: string) => void): void {
    const { signIn, tables, tenants } = shape;
    if (signIn !== undefined && (shape.model === "rls" || shape.model === "row")) {
        const { table } = signInOf(signIn);
        const able = Object.keys(tables).filter((one) => tables[one]?.distributeBy !== undefined);
        if (!able.includes(table)) {
            const meant = nearest(table, able);
            wrong(
                "signIn",
                `must be a column of one of tables with distributeBy, as "table.column", got ${shown(signIn)}${meant === undefined ? "" : `; did you mean ${meant}?`} - for example ${able[0] ?? "users"}.email`,
            );
        }
    }
    // whatever is done to a tenant of that name would be done to the role
    for (const role of accessRoles(name, shape)) {
        const tenant = role.slice(name.length + 1);
        if (Object.hasOwn(tenants, tenant))
            wrong(
                `tenants.${tenant}`,
                `can't be a tenant's name beside ${tenant === "reader" ? "reader: true" : "signIn"}, which makes the role ${role} - choose another name`,
            );
    }
}
