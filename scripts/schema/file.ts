/** One SQL file out of its parts. */
import { createHash } from "node:crypto";
import { citusCalls } from "./calls.ts";
import type { Catalog, View } from "./catalog.ts";
import { databaseStatements, roleStatements, withoutServiceGrants } from "./database.ts";

/** What is to be joined; before, foreignKeys and after are pg_restore's scripts. */
export interface Pieces {
    readonly catalog: Catalog;
    /** pg_dumpall's script. */
    readonly roles: string;
    readonly before: string;
    readonly foreignKeys: string;
    readonly after: string;
    readonly ownerless: readonly View[];
}

/** A script's own objects, without its frame: settings that this file makes once, and psql's locks. */
function body(script: string): string {
    const lines = withoutServiceGrants(script).split("\n");
    const start = lines.findIndex((line) => line.startsWith("-- Name: "));
    const end = lines.findLastIndex((line) => /^-- PostgreSQL database dump complete/.test(line));
    if (start < 0) return "";
    return lines
        .slice(start - 1, end < 0 ? undefined : end - 1)
        .join("\n")
        .replace(/\n\\unrestrict \S+\s*$/, "")
        .trim();
}

const owners = (views: readonly View[]) =>
    views
        .filter(({ owner }) => owner !== "postgres")
        .map(({ name, owner }) => `ALTER VIEW ${name} OWNER TO ${owner};`)
        .join("\n");

const section = (title: string, content: string) => (content === "" ? [] : [`-- == ${title}`, "", content, ""]);

const SETTINGS = `SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
SET citus.enable_schema_based_sharding = off;
SET citus.use_citus_managed_tables = off;
SET citus.enable_local_reference_table_foreign_keys = on;`;

/** What comes before rows, what comes after them, and what comes last; each runs in a session of its own. */
export interface Scripts {
    /** Names the content: nothing inside can know it. */
    readonly key: string;
    readonly before: string;
    readonly after: string;
    readonly last: string;
}

/**
 * The SQL of a file. The same shape gives the same bytes: there is no time, no host, no id in it.
 * @param last what needs all rows
 */
export function scripts(pieces: Pieces, last: readonly string[] = []): Scripts {
    const before = [
        // Citus warns of views and functions that it takes along later
        `${SETTINGS}\nSET client_min_messages = error;`,
        "",
        ...section("Roles", roleStatements(pieces.roles).join("\n")),
        ...section("Objects with their keys, indexes and grants", body(pieces.before)),
        ...section("Distribution", citusCalls(pieces.catalog).join("\n")),
    ].join("\n");
    const after = [
        `${SETTINGS}\nSET client_min_messages = warning;`,
        "",
        ...section("Foreign keys, and checks that are not valid yet", body(pieces.foreignKeys)),
        ...(pieces.catalog.triggers ? ["SET citus.enable_unsafe_triggers = on;", ""] : []),
        ...section("Views, comments, triggers, policies, default privileges", body(pieces.after)),
        ...section("Owners of views", owners(pieces.ownerless)),
        ...section("The database itself", databaseStatements(pieces.catalog).join("\n")),
    ].join("\n");
    const end = [`${SETTINGS}\nSET client_min_messages = warning;`, "", ...last].join("\n");
    const key = createHash("sha256").update(before).update(after).update(end).digest("hex");
    return { key, before, after, last: end };
}

/** psql runs no command of its own between \\restrict and its key. */
export const restricted = (key: string, script: string) => `\\restrict ${key}\n\n${script}\n\\unrestrict ${key}\n`;

/** The first lines of a file. @param kind `shape`, or `all` with rows */
export const heading = (kind: "shape" | "all", { catalog }: Pieces) => `-- citus-dump 1 ${kind}
-- ${kind === "all" ? "A Citus cluster's database with its rows" : "The shape of a Citus cluster without its rows"}, written by npm run dump.
-- Database ${JSON.stringify(catalog.database.name)}, PostgreSQL ${catalog.postgres}, Citus ${catalog.citus}.
--
-- Into a fresh, empty cluster:
--
--   npm run load -- FILE
--
-- It holds no passwords: roles come without theirs, and user mappings and subscriptions are left out. Set them anew.
${kind === "all" ? "" : "-- Materialized views are empty until they are refreshed.\n"}
`;

/** The whole file of a shape without rows. */
export function assemble(pieces: Pieces): string {
    const { key, before, after } = scripts(pieces);
    return `${heading("shape", pieces)}${restricted(key, before)}\n${restricted(key, after)}-- complete ${key}\n`;
}
