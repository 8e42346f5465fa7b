/**
 * What keeps a file of a template in its place while it runs, for what no parser reads: DO blocks, functions, views that can be
 * written to. Event triggers refuse DDL on what is outside, for that transaction alone. What rows were written to is known by the
 * locks of the transaction, which nothing in it can give back. Both act on the coordinator, through which all of a file goes.
 */
import { createHash } from "node:crypto";
import { literal } from "../../sql/quote.ts";
import { PIN_DATABASE, pinsOf } from "./searchPath.ts";

/**
 * Why an object is out of bounds; null when it is not. In a tenant's schema everything else is; for a group of rows the schemas of
 * tenants, tables of other groups and this project's own are.
 */
const WHOSE = `CREATE OR REPLACE FUNCTION citus_as_code.bounds_whose(nsp text, rel text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
    inside text := current_setting('citus_as_code.inside', true);
    own text := current_setting('citus_as_code.group', true);
    whose text;
BEGIN
    IF nsp ~ '^pg_(temp|toast)' THEN RETURN NULL; END IF;
    IF inside <> '' THEN
        RETURN CASE WHEN nsp = inside THEN NULL ELSE format('it is not in schema %I', inside) END;
    END IF;
    IF own = '' OR own IS NULL THEN RETURN 'the settings that guard this file were reset'; END IF;
    IF nsp = 'citus_as_code' THEN RETURN 'it is this project''s own'; END IF;
    SELECT format('it is in the schema of tenant %s/%s', t.grp, t.tenant) INTO whose
      FROM citus_as_code.tenant t WHERE t.model = 'schema' AND t.tenant = nsp LIMIT 1;
    IF whose IS NULL AND rel IS NOT NULL THEN
        SELECT format('it is a table of group %s', g.grp) INTO whose FROM citus_as_code.tenant_group g
         WHERE g.grp <> own AND g.spec ->> 'model' IN ('row', 'rls')
           AND (g.spec -> 'tables' ? (nsp || '.' || rel) OR nsp = 'public' AND g.spec -> 'tables' ? rel)
           AND NOT EXISTS (SELECT FROM citus_as_code.tenant_group m WHERE m.grp = own
                              AND (m.spec -> 'tables' ? (nsp || '.' || rel) OR nsp = 'public' AND m.spec -> 'tables' ? rel)) LIMIT 1;
    END IF;
    RETURN whose;
END $f$`;

const REFUSE = `CREATE OR REPLACE FUNCTION citus_as_code.bounds_refuse(what text, why text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
    RAISE EXCEPTION 'out of bounds: %: %', what, why
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'A template''s file changes what is its tenant''s or its group''s, and nothing else, also in DO blocks and functions.';
END $f$`;

const TRIGGER = `CREATE OR REPLACE FUNCTION citus_as_code.bounds_event() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
    o record;
    place record;
    inside boolean := coalesce(current_setting('citus_as_code.inside', true), '') <> '';
    why text;
BEGIN
    IF TG_EVENT = 'sql_drop' THEN
        FOR o IN SELECT * FROM pg_event_trigger_dropped_objects() d WHERE (d.original OR d.normal) AND NOT d.is_temporary LOOP
            IF o.object_type = 'schema' THEN why := citus_as_code.bounds_whose(o.object_name, NULL);
                IF inside THEN why := 'schemas are dropped by this project alone'; END IF;
            ELSIF coalesce(o.schema_name, o.address_names[1]) IS NULL THEN
                why := CASE WHEN inside THEN 'it is in no schema' END;
            ELSE
                why := citus_as_code.bounds_whose(coalesce(o.schema_name, o.address_names[1]),
                    CASE WHEN o.object_type IN ('table', 'view', 'index', 'sequence', 'materialized view', 'foreign table') THEN o.object_name
                         ELSE o.address_names[2] END);
            END IF;
            IF why IS NOT NULL THEN
                PERFORM citus_as_code.bounds_refuse(format('%s %s was dropped', o.object_type, o.object_identity), why);
            END IF;
        END LOOP;
        RETURN;
    END IF;
    FOR o IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        IF o.classid IS NULL OR o.classid = 0 THEN
            -- GRANT and REVOKE do not say of what
            PERFORM set_config('citus_as_code.granted', 'yes', true);
            CONTINUE;
        END IF;
        SELECT n.nspname AS nsp, t.relname AS rel INTO place FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          LEFT JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid)
         WHERE c.oid = CASE o.classid WHEN 'pg_class'::regclass THEN o.objid
                 WHEN 'pg_trigger'::regclass THEN (SELECT t.tgrelid FROM pg_trigger t WHERE t.oid = o.objid)
                 WHEN 'pg_policy'::regclass THEN (SELECT p.polrelid FROM pg_policy p WHERE p.oid = o.objid)
                 WHEN 'pg_rewrite'::regclass THEN (SELECT r.ev_class FROM pg_rewrite r WHERE r.oid = o.objid)
                 WHEN 'pg_constraint'::regclass THEN (SELECT x.conrelid FROM pg_constraint x WHERE x.oid = o.objid) END;
        IF place.nsp IS NOT NULL THEN why := citus_as_code.bounds_whose(place.nsp, place.rel);
        ELSIF o.object_type = 'schema' THEN
            why := CASE WHEN inside THEN 'schemas are made by this project alone'
                        ELSE citus_as_code.bounds_whose((SELECT n.nspname FROM pg_namespace n WHERE n.oid = o.objid), NULL) END;
        ELSIF o.schema_name IS NULL THEN why := CASE WHEN inside THEN 'it is in no schema' END;
        ELSE why := citus_as_code.bounds_whose(o.schema_name, NULL);
        END IF;
        IF why IS NOT NULL THEN
            PERFORM citus_as_code.bounds_refuse(format('%s of %s %s', o.command_tag, o.object_type, o.object_identity), why);
        END IF;
    END LOOP;
END $f$`;

/** Rows of this project's own tables that this transaction wrote. */
const OWN_ROWS = `(SELECT coalesce(sum(pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid) + pg_stat_get_xact_tuples_deleted(c.oid)), 0)
    FROM pg_class c WHERE c.relnamespace = 'citus_as_code'::regnamespace AND c.relkind = 'r')`;

/** Relations whose rows this transaction wrote, or that it emptied; and catalogs of the whole cluster that it wrote. */
const WRITTEN = `SELECT l.relation AS oid FROM pg_locks l
     WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.mode IN ('RowExclusiveLock', 'AccessExclusiveLock')
       AND (l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
            OR l.database = 0 AND l.mode = 'RowExclusiveLock')`;

const ON = `CREATE OR REPLACE FUNCTION citus_as_code.bounds_on(inside text, own text, batch text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $f$
BEGIN
    PERFORM set_config('citus_as_code.inside', inside, true), set_config('citus_as_code.group', own, true),
            set_config('citus_as_code.granted', '', true), set_config('citus_as_code.batch', batch, true),
            set_config('citus_as_code.rows', ${OWN_ROWS}::text, true),
            set_config('citus_as_code.held', (SELECT coalesce(array_agg(DISTINCT w.oid), '{}') FROM (${WRITTEN}) w)::text, true);
    EXECUTE format('CREATE EVENT TRIGGER %I ON ddl_command_end EXECUTE FUNCTION citus_as_code.bounds_event()', 'citus_as_code_ddl_' || pg_backend_pid());
    EXECUTE format('CREATE EVENT TRIGGER %I ON sql_drop EXECUTE FUNCTION citus_as_code.bounds_event()', 'citus_as_code_drop_' || pg_backend_pid());
    EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', 'citus_as_code_ddl_' || pg_backend_pid());
    EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', 'citus_as_code_drop_' || pg_backend_pid());
END $f$`;

/** Whether a row version is this transaction's. A subtransaction has a number of its own. */
const MINE = (row: string) =>
    `age(${row}.xmin) <= age(pg_current_xact_id()::xid) AND pg_xact_status((((pg_current_xact_id()::text::bigint >> 32) << 32) | ${row}.xmin::text::bigint)::text::xid8) = 'in progress'`;

const OFF = `CREATE OR REPLACE FUNCTION citus_as_code.bounds_off() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $f$
DECLARE
    inside text := current_setting('citus_as_code.inside', true);
    held oid[] := coalesce(nullif(current_setting('citus_as_code.held', true), ''), '{}')::oid[];
    w record;
    why text;
BEGIN
    EXECUTE format('DROP EVENT TRIGGER %I', 'citus_as_code_ddl_' || pg_backend_pid());
    EXECUTE format('DROP EVENT TRIGGER %I', 'citus_as_code_drop_' || pg_backend_pid());
    IF inside IS NULL OR current_setting('event_triggers', true) = 'off' THEN
        PERFORM citus_as_code.bounds_refuse('settings were changed', 'without them nothing keeps this file in its place');
    END IF;
    IF ${OWN_ROWS}::text <> current_setting('citus_as_code.rows', true) THEN
        PERFORM citus_as_code.bounds_refuse('a table of schema citus_as_code was written', 'it is this project''s own');
    END IF;
    FOR w IN SELECT DISTINCT x.oid, n.nspname AS nsp, c.relname AS rel, c.relisshared AS shared
               FROM (${WRITTEN}) x JOIN pg_class c ON c.oid = x.oid JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT x.oid = ANY (held)
                AND (c.relisshared AND inside <> '' OR n.nspname NOT IN ('pg_catalog', 'information_schema', 'citus_as_code', 'citus', 'citus_internal', 'columnar', 'columnar_internal'))
    LOOP
        IF w.shared THEN
            PERFORM citus_as_code.bounds_refuse(format('%s was written', w.rel), 'it is the whole cluster''s: roles, databases and their settings');
        END IF;
        why := citus_as_code.bounds_whose(w.nsp, w.rel);
        -- a foreign key that goes takes this lock on what it referred to, and changes nothing there
        CONTINUE WHEN why IS NULL OR NOT EXISTS (
            SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation = w.oid AND l.mode = 'RowExclusiveLock')
            AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = w.oid AND ${MINE("c")});
        PERFORM citus_as_code.bounds_refuse(format('%I.%I was written', w.nsp, w.rel), why);
    END LOOP;
    IF current_setting('citus_as_code.granted', true) = 'yes' THEN
        FOR w IN SELECT n.nspname AS nsp, c.relname AS rel FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relacl IS NOT NULL AND ${MINE("c")} AND NOT c.oid = ANY (held)
                 UNION ALL SELECT n.nspname, c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE a.attacl IS NOT NULL AND ${MINE("a")} AND NOT c.oid = ANY (held)
                 UNION ALL SELECT n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.proacl IS NOT NULL AND ${MINE("p")}
                 UNION ALL SELECT n.nspname, t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typacl IS NOT NULL AND ${MINE("t")}
                 UNION ALL SELECT n.nspname, NULL FROM pg_namespace n WHERE n.nspacl IS NOT NULL AND n.nspname <> inside AND ${MINE("n")}
                 -- ALTER DEFAULT PRIVILEGES; without IN SCHEMA it is about every schema
                 UNION ALL SELECT coalesce(n.nspname, 'every schema'), NULL FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace WHERE ${MINE("d")}
        LOOP
            why := citus_as_code.bounds_whose(w.nsp, w.rel);
            IF why IS NOT NULL AND NOT w.nsp = ANY (string_to_array(current_setting('citus_as_code.batch'), ',')) THEN
                PERFORM citus_as_code.bounds_refuse(format('rights on %s were changed', concat_ws('.', quote_ident(w.nsp), quote_ident(w.rel))), why);
            END IF;
        END LOOP;
    END IF;
    FOR w IN ${pinsOf(`CASE WHEN inside <> '' THEN n.nspname = inside ELSE ${MINE("p")} AND n.nspname !~ '^pg_' END`)} LOOP
        EXECUTE w.sql;
    END LOOP;
    PERFORM set_config('citus_as_code.inside', '', true), set_config('citus_as_code.group', '', true);
END $f$`;

const FUNCTIONS = [WHOSE, REFUSE, TRIGGER, ON, OFF];

const MARK = createHash("md5").update(FUNCTIONS.join("\n")).digest("hex");

/** Makes the functions, in the coordinator's database alone, where they are not these. Safe to repeat. */
export const MAKE_BOUNDS = `DO ${literal(`BEGIN
    IF obj_description(to_regprocedure('citus_as_code.bounds_off()'), 'pg_proc') IS DISTINCT FROM ${literal(MARK)} THEN
        SET LOCAL citus.enable_ddl_propagation = off;
        ${FUNCTIONS.map((sql) => `EXECUTE ${literal(sql)};`).join("\n        ")}
        REVOKE ALL ON FUNCTION citus_as_code.bounds_on(text, text, text), citus_as_code.bounds_off(), citus_as_code.bounds_refuse(text, text), citus_as_code.bounds_whose(text, text) FROM PUBLIC;
        COMMENT ON FUNCTION citus_as_code.bounds_off() IS ${literal(MARK)};
    END IF;
END`)};`;

/** Where a file's statements may act. */
export type Bounds =
    /** @param batch schemas that the same transaction made before */
    { readonly schema: string; readonly batch?: readonly string[] } | { readonly group: string };

/** Statements around those of a file. */
export interface Guard {
    readonly on: string;
    /** Fails when something reached out of bounds. */
    readonly off: string;
}

/** What is in force around a file's statements: what reaches out of bounds fails, and its transaction with it. */
export function guardOf(bounds: Bounds): Guard {
    const [inside, own, batch] = "schema" in bounds ? [bounds.schema, "", bounds.batch ?? []] : ["", bounds.group, []];
    return {
        on: `DO ${literal(`BEGIN PERFORM citus_as_code.bounds_on(${[inside, own, batch.join(",")].map(literal).join(", ")}); END`)};`,
        off: `DO ${literal("BEGIN PERFORM citus_as_code.bounds_off(); END")};`,
    };
}

/** A file's statements with their guard. */
export const bounded = ({ on, off }: Guard, sql: string) => `${on}\n${sql}\n;${off}`;

/** In a tenant's own database: fails when a file wrote what is the whole server's. */
const REFUSE_SERVER = `DO ${literal(`DECLARE found text; BEGIN
    SELECT string_agg(DISTINCT c.relname, ', ') INTO found FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
     WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.database = 0 AND c.relisshared AND c.relkind = 'r' AND l.mode = 'RowExclusiveLock';
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'out of bounds: % was written: it is the whole server''s: roles, databases and their settings', found
            USING ERRCODE = 'insufficient_privilege', HINT = 'A template''s file changes its tenant''s database, and nothing else.';
    END IF; END`)};`;

export const DATABASE_GUARD: Guard = { on: "", off: `${REFUSE_SERVER}\n${PIN_DATABASE}` };
