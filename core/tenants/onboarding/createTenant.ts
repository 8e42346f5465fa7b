/**
 * citus_as_code.create_tenant: makes one tenant inside a transaction of the application. It runs as the superuser on
 * behalf of a role that may do nothing else, so everything that it is given and every setting of the caller is distrusted.
 */

import { createHash } from "node:crypto";
import { literal } from "../../sql/quote.ts";
import { KEY_LENGTH, PLAIN_NAME, plainNameRule, RESERVED_NAME } from "../group/names.ts";
import { ranTemplate } from "../ledger/ran.ts";
import { onboard } from "../ledger/tenants.ts";
import { ownComment } from "../roles/groupRoles.ts";
import { privilegeSql } from "../roles/privileges.ts";
import { asTenant, CHOSEN, NONE, roleSql, tenantPath } from "../roles/roleSql.ts";

/** Settings that a caller may have: none of them changes what the function does, or it is pinned. */
const HARMLESS = [
    "application_name",
    "client_encoding",
    "client_min_messages",
    "DateStyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "IntervalStyle",
    "jit",
    "lock_timeout",
    "search_path",
    "statement_timeout",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "TimeZone",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "citus.propagate_set_commands",
    "citus.enable_schema_based_sharding",
];

/**
 * Settings of Citus that pg_settings does not show, and the only value with which a tenant is made whole: on every node, with
 * shards that Citus numbers. A release that does not know one has nothing to compare.
 */
const HIDDEN: Readonly<Record<string, string>> = {
    ...Object.fromEntries(
        [
            "check_available_space_before_move",
            "enable_alter_role_propagation",
            "enable_alter_role_set_propagation",
            "enable_create_type_propagation",
            "enable_ddl_propagation",
            "enable_metadata_sync",
            "enable_router_execution",
            "enable_unique_job_ids",
            "enable_version_checks",
            "enforce_foreign_key_restrictions",
            "enforce_object_restrictions_for_local_objects",
            "function_opens_transaction_block",
            "override_table_visibility",
            "prevent_incomplete_connection_establishment",
            "select_opens_transaction_block",
        ].map((name) => [`citus.${name}`, "on"]),
    ),
    ...Object.fromEntries(
        [
            "allow_nested_distributed_execution",
            "allow_unsafe_constraints",
            "allow_unsafe_locks_from_workers",
            "enable_manual_changes_to_shards",
            "enable_procedure_transaction_skip",
            "enable_unsafe_triggers",
            "hide_citus_dependent_objects",
            "propagate_session_settings_for_loopback_connection",
            "subquery_pushdown",
        ].map((name) => [`citus.${name}`, "off"]),
    ),
    ...Object.fromEntries(
        ["next_cleanup_record_id", "next_operation_id", "next_placement_id", "next_shard_id"].map((name) => [
            `citus.${name}`,
            "0",
        ]),
    ),
    "citus.create_object_propagation": "immediate",
    "citus.isolation_test_session_process_id": "-1",
    "citus.isolation_test_session_remote_process_id": "-1",
};

/** Names and values in statements that format() completes. */
const SCHEMA = "%1$I";
const ROLE = "%2$I";
const TENANTS = "%3$I";

const array = (statements: readonly string[]) => `ARRAY[${statements.map(literal).join(",\n        ")}]`;

const role = roleSql(ROLE, {
    there: false,
    connections: -1,
    password: "%4$L",
    settings: { search_path: tenantPath(SCHEMA) },
});

/** A role and a schema that are new have nothing to be revoked. */
const grants = privilegeSql(SCHEMA, ROLE, "active").filter((statement) => !/\bREVOKE\b/.test(statement));

const pattern = ({ source }: RegExp) => literal(source);

const BODY = `
#variable_conflict use_column
DECLARE
    g CONSTANT text := $1;
    given CONSTANT jsonb := coalesce($3, '{}');
    key text := $2;
    o citus_as_code.tenant_onboarding;
    own_role text;
    comment text;
    wrong text;
    type text;
    anchor text;
    columns text;
    contents text;
    statement text;
    file citus_as_code.tenant_template;
BEGIN
    SELECT * INTO o FROM citus_as_code.tenant_onboarding t WHERE t.grp = g;
    IF o.grp IS NULL OR NOT coalesce(pg_has_role(session_user, to_regrole(quote_ident(g || '_onboarding')), 'MEMBER'), false) THEN
        RAISE insufficient_privilege USING MESSAGE = format('role %s may not make tenants of group %s', session_user, coalesce(g, 'NULL')),
            HINT = 'Log in as GROUP_onboarding, of a group that the program gives onboarding: true.';
    END IF;
    -- a client that says that it is a node of the cluster would keep the tenant on this one
    IF current_setting('application_name') ~ '^citus_' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'application_name must not begin with citus_';
    END IF;
    SELECT string_agg(name, ', ' ORDER BY name) INTO wrong FROM (
        SELECT h.key AS name FROM jsonb_each_text(${literal(JSON.stringify(HIDDEN))}) h WHERE current_setting(h.key, true) <> h.value
        UNION ALL SELECT name FROM pg_settings WHERE source IN ('client', 'user', 'database user', 'session') AND NOT lower(name) = ANY (${literal(`{${HARMLESS.map((name) => name.toLowerCase()).join(",")}}`)})) s;
    IF wrong IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('this connection sets %s, with which no tenant is made', wrong),
            HINT = 'RESET what is named, or make the tenant on a connection of its own.';
    END IF;
    IF key IS NULL OR jsonb_typeof(given) <> 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('a tenant must have a name, and values must be a JSON object, got %s and %s', coalesce(quote_literal(key), 'NULL'), given);
    END IF;
    SELECT string_agg(format('%s: %s', v.key, v.value), ', ') INTO wrong FROM jsonb_each(given) v WHERE jsonb_typeof(v.value) IN ('object', 'array');
    IF wrong IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('values must be texts, numbers, true, false or null, got %s', wrong);
    END IF;

    -- waits while pulumi up writes another template down, and keeps it from that until the end
    SELECT * INTO o FROM citus_as_code.tenant_onboarding t WHERE t.grp = g FOR SHARE;
    IF o.grp IS NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('group %s does not let tenants be made any more', g);
    END IF;
    PERFORM set_config('citus.propagate_set_commands', 'local', true);
    EXECUTE format('SET LOCAL lock_timeout = %s', o.lock_timeout);
    PERFORM set_config('citus.propagate_set_commands', 'none', true);

    IF o.model = 'schema' THEN
        IF key !~ ${pattern(PLAIN_NAME)} OR key ~ ${pattern(RESERVED_NAME)} THEN
            RAISE invalid_name USING MESSAGE = format(${literal(`a tenant ${plainNameRule("schema")}, got %s`)}, quote_literal(left(key, 80)));
        END IF;
        IF given <> '{}' THEN
            RAISE invalid_parameter_value USING MESSAGE = format('values mean nothing in model schema: only rls and row have an anchor table, got %s', given);
        END IF;
        own_role := g || '_' || key;
        IF octet_length(own_role) > 63 OR own_role = ANY (ARRAY[g || '_app', g || '_tenants', g || '_onboarding', g || '_reader', g || '_sign_in']) THEN
            RAISE invalid_name USING MESSAGE = format('a tenant must make a role of 63 bytes at most that is none of the group''s own, got %s', own_role);
        END IF;
        IF $4 IS NOT NULL AND $4 !~ '^SCRAM-SHA-256\\$[0-9]{4,7}:[A-Za-z0-9+/]{22,86}={0,2}\\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$' THEN
            RAISE invalid_parameter_value USING MESSAGE = 'verifier must be what PostgreSQL stores for a password, SCRAM-SHA-256$4096:…, and never the password';
        END IF;
    ELSE
        IF $4 IS NOT NULL THEN
            RAISE invalid_parameter_value USING MESSAGE = format('verifier means nothing in model %s: a tenant made here has no role of its own', o.model);
        END IF;
        anchor := to_regclass(o.anchor)::text;
        SELECT format_type(a.atttypid, a.atttypmod) INTO type FROM pg_attribute a
         WHERE a.attrelid = to_regclass(o.anchor) AND a.attname = o.key_column AND NOT a.attisdropped;
        IF type IS NULL THEN
            RAISE object_not_in_prerequisite_state USING MESSAGE = format('%s.%s is gone', coalesce(anchor, o.anchor), o.key_column), HINT = 'Run pulumi preview to see why.';
        END IF;
        IF NOT pg_input_is_valid(key, type) THEN
            RAISE invalid_parameter_value USING MESSAGE = format('a tenant must be of type %s, as %s.%s is, got %s', type, anchor, o.key_column, quote_literal(left(key, 80)));
        END IF;
        -- as the database writes it
        EXECUTE format('SELECT %L::%s::text', key, type) INTO key;
        IF length(key) NOT BETWEEN 1 AND ${KEY_LENGTH} OR key ~ '\\n' THEN
            RAISE invalid_name USING MESSAGE = format('a tenant must be a key of 1 to ${KEY_LENGTH} characters, got %s', quote_literal(left(key, 80)));
        END IF;
        SELECT string_agg(k.name, ', ') INTO wrong FROM jsonb_object_keys(given) k (name)
         WHERE k.name = o.key_column OR NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass(o.anchor) AND a.attname = k.name AND a.attnum > 0 AND NOT a.attisdropped);
        IF wrong IS NOT NULL THEN
            RAISE undefined_column USING MESSAGE = format('values must name columns of %s other than %s, got %s', anchor, o.key_column, wrong);
        END IF;
    END IF;

    SELECT CASE WHEN EXISTS (SELECT FROM citus_as_code.tenant_tombstone x WHERE (x.grp, x.tenant) = (g, key)) OR s.spec -> 'delete' ? key THEN 'was deleted, or is to be'
                WHEN s.spec -> 'tenants' ? key AND NOT EXISTS (SELECT FROM citus_as_code.tenant x WHERE (x.grp, x.tenant) = (g, key)) THEN 'is in the program, and pulumi up makes it'
           END INTO wrong FROM citus_as_code.tenant_group s WHERE s.grp = g;
    IF wrong IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('%s/%s %s', g, key, wrong),
            HINT = 'Choose another name. To have a deleted tenant again, name it in tenants and run pulumi up.';
    END IF;
    -- first of all, so that of two who ask for one name the other waits here, and is told
    ${onboard("g", "key", "o.model")}
    IF NOT FOUND THEN
        RAISE unique_violation USING MESSAGE = format('%s/%s exists already', g, key), HINT = 'Choose another name.';
    END IF;

    IF o.model = 'schema' THEN
        IF to_regnamespace(quote_ident(key)) IS NOT NULL OR to_regrole(quote_ident(own_role)) IS NOT NULL THEN
            RAISE unique_violation USING MESSAGE = format('%s/%s: there is a schema %s or a role %s already, and it is not this tenant''s', g, key, key, own_role), HINT = 'Choose another name.';
        END IF;
        comment := format(${literal(ownComment("%s"))}, g) || CASE WHEN $4 IS NULL THEN '${NONE}' ELSE ${literal(`${CHOSEN} `)} || left(md5($4), 8) END;
        FOREACH statement IN ARRAY ${array([...role, `COMMENT ON ROLE ${ROLE} IS %5$L`, `CREATE SCHEMA ${SCHEMA}`])} LOOP
            EXECUTE format(statement, key, own_role, g || '_tenants', $4, comment);
        END LOOP;
        -- the same bounds as in pulumi up: what a file reaches outside its tenant undoes all of it
        PERFORM citus_as_code.bounds_on(key, '', '');
        FOR file IN SELECT * FROM citus_as_code.tenant_template t WHERE t.grp = g ORDER BY t.position LOOP
            -- temporary tables of the caller come last, or REFERENCES would find them first
            PERFORM set_config('search_path', quote_ident(key) || ', public, pg_temp', true);
            FOREACH statement IN ARRAY file.statements LOOP
                EXECUTE statement;
            END LOOP;
        END LOOP;
        PERFORM citus_as_code.bounds_off();
        ${ranTemplate("g", "key")}
        PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
        -- Citus distributes no table that a function makes, so the schema is filled first
        PERFORM citus_schema_distribute(to_regnamespace(quote_ident(key)));
        SELECT string_agg(c.relname, ', ') INTO wrong FROM pg_class c LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.oid
         WHERE c.relnamespace = to_regnamespace(quote_ident(key)) AND c.relkind IN ('r', 'p') AND p.logicalrelid IS NULL;
        IF wrong IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state USING MESSAGE = format('not distributed with its schema: %s', wrong);
        END IF;
        -- the membership last: who grants it waits for whoever grants it too
        FOREACH statement IN ARRAY ${array([...grants, ...asTenant(TENANTS, ROLE)])} LOOP
            EXECUTE format(statement, key, own_role, g || '_tenants');
        END LOOP;
    ELSE
        SELECT string_agg(format(', %I', v.key), '' ORDER BY v.key), string_agg(format(', %L', v.value), '' ORDER BY v.key) INTO columns, contents FROM jsonb_each_text(given) v;
        -- a trigger of the table may name what is in public
        PERFORM set_config('search_path', 'public, pg_temp', true);
        EXECUTE format('INSERT INTO %s (%I%s) VALUES (%L%s)', anchor, o.key_column, columns, key, contents);
    END IF;
    RETURN key;
END
`;

/** Changes when the function does. */
export const CREATE_TENANT_HASH = createHash("md5").update(BODY).digest("hex");

export const SIGNATURE = "citus_as_code.create_tenant(text, text, jsonb, text)";

/** What a caller could have set otherwise. */
const PINNED = [
    "search_path = pg_catalog, pg_temp",
    "client_min_messages = warning",
    "lock_timeout = '5s'",
    "datestyle = 'ISO, MDY'",
    "intervalstyle = postgres",
    "timezone = 'UTC'",
    "extra_float_digits = 1",
    "citus.enable_schema_based_sharding = off",
    "citus.propagate_set_commands = 'none'",
];

/** Makes it on the coordinator only, which alone has what it reads. */
export const CREATE_TENANT = `
CREATE OR REPLACE FUNCTION citus_as_code.create_tenant("group" text, tenant text, "values" jsonb DEFAULT '{}', verifier text DEFAULT NULL)
    RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    ${PINNED.map((setting) => `SET ${setting}`).join("\n    ")} AS $create_tenant$${BODY}$create_tenant$;
REVOKE ALL ON FUNCTION ${SIGNATURE} FROM PUBLIC;
`;
