/** How statements reach beyond a schema, and what to do instead. */

/** How far a statement reaches: out of a schema, or out of a database. */
export interface Reach {
    readonly out: "schema" | "database";
    readonly what: string;
    readonly instead: string;
}

export const EXTENSION: Reach = {
    out: "schema",
    what: "an extension is the whole database's",
    instead: "put CREATE EXTENSION ... SCHEMA public into a file of citus:postDeploy, which is run before the groups",
};
export const SCHEMA: Reach = {
    out: "schema",
    what: "schemas are made and dropped by this project, one for each tenant",
    instead: "take it out. The file is run in the tenant's schema",
};
export const PATH: Reach = {
    out: "schema",
    what: "it changes where the names that follow are looked for",
    instead: "take it out. Files are run with the tenant's schema, then public, as search_path",
};
export const SWITCH: Reach = {
    out: "database",
    what: "it changes who runs what follows, or switches off what guards it",
    instead: "take it out",
};
export const ROLES: Reach = {
    out: "database",
    what: "roles are the whole cluster's",
    instead: "put it into a file of citus:postDeploy",
};
export const SERVER: Reach = {
    out: "database",
    what: "it is about the server or the whole cluster",
    instead: "put it into a file of citus:postDeploy, or take it out",
};
export const FILES: Reach = {
    out: "database",
    what: "it reads or writes files of the server, or runs a program there",
    instead: "write INSERT",
};
export const DATABASE: Reach = {
    out: "schema",
    what: "it is about the whole database",
    instead: "put it into a file of citus:postDeploy",
};
const AWAY: Reach = {
    out: "schema",
    what: "it moves an object out of the tenant's schema",
    instead: "take it out",
};

export const REACHES: Readonly<Record<string, Reach>> = {
    CreateExtensionStmt: EXTENSION,
    AlterExtensionStmt: EXTENSION,
    AlterExtensionContentsStmt: EXTENSION,
    CreateSchemaStmt: SCHEMA,
    CreateRoleStmt: ROLES,
    AlterRoleStmt: ROLES,
    AlterRoleSetStmt: ROLES,
    DropRoleStmt: ROLES,
    GrantRoleStmt: ROLES,
    ReassignOwnedStmt: ROLES,
    DropOwnedStmt: ROLES,
    AlterDefaultPrivilegesStmt: DATABASE,
    CreatedbStmt: SERVER,
    DropdbStmt: SERVER,
    AlterDatabaseStmt: SERVER,
    AlterDatabaseSetStmt: SERVER,
    AlterDatabaseRefreshCollStmt: SERVER,
    CreateTableSpaceStmt: SERVER,
    DropTableSpaceStmt: SERVER,
    AlterTableSpaceOptionsStmt: SERVER,
    AlterTableMoveAllStmt: SERVER,
    AlterSystemStmt: SERVER,
    LoadStmt: SERVER,
    CheckPointStmt: SERVER,
    CreateSubscriptionStmt: SERVER,
    AlterSubscriptionStmt: SERVER,
    DropSubscriptionStmt: SERVER,
    CreatePublicationStmt: DATABASE,
    AlterPublicationStmt: DATABASE,
    CreateFdwStmt: DATABASE,
    AlterFdwStmt: DATABASE,
    CreateForeignServerStmt: DATABASE,
    AlterForeignServerStmt: DATABASE,
    CreateUserMappingStmt: DATABASE,
    AlterUserMappingStmt: DATABASE,
    DropUserMappingStmt: DATABASE,
    CreateForeignTableStmt: DATABASE,
    ImportForeignSchemaStmt: DATABASE,
    CreateEventTrigStmt: SWITCH,
    AlterEventTrigStmt: SWITCH,
    CreateAmStmt: DATABASE,
    CreateCastStmt: DATABASE,
    CreatePLangStmt: DATABASE,
    CreateTransformStmt: DATABASE,
    AlterObjectSchemaStmt: AWAY,
};

/** Settings that decide where names are looked for, as whom statements run, and what guards them. */
export const GUARDED =
    /^(search_path|role|session_authorization|session_replication_role|event_triggers|citus_as_code\..*)$/;

export const pathOrSwitch = (setting: string): Reach => (setting === "search_path" ? PATH : SWITCH);
