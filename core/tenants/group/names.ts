/**
 * What names may be: one set of rules for the program and, in the database, for create_tenant. Regular expressions that
 * JavaScript and PostgreSQL read alike.
 */

export const GROUP_NAME = /^[a-z][a-z0-9_]{0,30}$/;

/** Schemas and databases: names that need no quotes. */
export const PLAIN_NAME = /^[a-z_][a-z0-9_]{0,47}$/;

export const RESERVED_NAME = /^(pg_.*|citus.*|columnar.*|information_schema|public|postgres|template[01])$/;

/** Characters of a key in rls, row and routed: e-mail addresses and domains are keys, too. */
export const KEY_LENGTH = 500;

/** What a schema's or database's name may be, for a person. @param what schema or database */
export const plainNameRule = (what: string) =>
    `must be a ${what}'s name: lower-case letters, digits and underscores, not beginning with a digit, 48 at most, and none of PostgreSQL's, Citus' or this cluster's own`;
