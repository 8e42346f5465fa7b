/** What scripts/node/dump-schema.sql reads of a cluster. Names are qualified and quoted as SQL wants them. */

export interface Group {
    /** Says only which tables belong together, and which group is older. */
    readonly id: number;
    readonly shards: number;
    readonly replicas: number;
    readonly type: string;
    readonly collation: string;
}

export interface Table {
    readonly name: string;
    /** The same without quotes, for an archive's contents. */
    readonly schema: string;
    readonly bare: string;
    /** h hash, n none, r range, a append. */
    readonly method: string;
    /** t reference (two-phase), s streaming. */
    readonly model: string;
    readonly group: number;
    /** As it is, without quotes. */
    readonly column: string | null;
    readonly byForeignKey: boolean;
}

export interface Function {
    readonly name: string;
    /** Counted from 0. */
    readonly argument: number | null;
    readonly group: number | null;
    readonly force: boolean;
}

export interface View {
    readonly name: string;
    readonly schema: string;
    readonly bare: string;
    readonly owner: string;
}

export interface Setting {
    /** null: of the database, whoever connects. */
    readonly role: string | null;
    readonly name: string;
    readonly value: string;
    readonly n: number;
}

export interface Catalog {
    readonly postgres: number;
    readonly citus: string;
    readonly groups: readonly Group[];
    readonly tables: readonly Table[];
    readonly schemas: readonly { readonly name: string; readonly group: number }[];
    readonly functions: readonly Function[];
    readonly views: readonly View[];
    readonly triggers: boolean;
    readonly database: {
        readonly name: string;
        readonly owner: string;
        readonly comment: string | null;
        readonly connections: number;
        readonly granted: boolean;
    };
    readonly privileges: readonly { readonly role: string; readonly privilege: string; readonly grantable: boolean }[];
    readonly settings: readonly Setting[];
}

/** Text as SQL, with standard_conforming_strings. */
export const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;

/** Roles that the cluster has of itself; quoted names are none of them. */
export const isOwnRole = (role: string) => role === "postgres" || isServiceRole(role);

/** Roles that this project or Citus makes where it needs them. */
export const isServiceRole = (role: string) => /^(citus_restore_point|citus_shard_.*)$/.test(role);
