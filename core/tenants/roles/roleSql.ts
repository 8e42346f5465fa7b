/** Statements that make a role, for `up` and for create_tenant: names and values come as SQL. */

/** In the place of the mark of a role's password: the application chose it at sign-up, and this project does not know it. */
export const CHOSEN = "chosen";

/** The same of a role that was made without a password; the next `up` gives it one. */
export const NONE = "none";

/** search_path of a tenant's role in model schema. @param schema as SQL */
export const tenantPath = (schema: string) => `${schema}, public`;

interface RoleSql {
    /** Whether the role is there and is changed. */
    readonly there: boolean;
    readonly connections: number;
    /** SQL of its verifier, or NULL; undefined for a role that nobody logs in with. */
    readonly password?: string;
    /** SQL by setting; undefined as PostgreSQL has it. */
    readonly settings: Readonly<Record<string, string | undefined>>;
}

/** Everything of a role but its memberships and its comment. @param name as SQL */
export const roleSql = (name: string, { there, connections, password, settings }: RoleSql): string[] => [
    `${there ? "ALTER" : "CREATE"} ROLE ${name} NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION CONNECTION LIMIT ${connections}` +
        (password === undefined ? " NOLOGIN" : ` LOGIN PASSWORD ${password}`),
    ...Object.entries(settings).map(([setting, value]) =>
        value === undefined ? `ALTER ROLE ${name} RESET ${setting}` : `ALTER ROLE ${name} SET ${setting} = ${value}`,
    ),
];

/** Gives a tenant's role the rights of all tenants' role. Citus writes the three options of one GRANT wrongly. */
export const asTenant = (tenants: string, name: string): string[] => [
    `GRANT ${tenants} TO ${name} WITH INHERIT TRUE, SET FALSE`,
    `REVOKE ADMIN OPTION FOR ${tenants} FROM ${name}`,
];
