/**
 * Sign-in without knowing the tenant: `citus_as_code.sign_in_<group>(value)` gives the keys of the tenants that have a row with
 * this value, and nothing else. It runs as a role that may read these two columns only.
 */

import { createHash } from "node:crypto";
import { given } from "../../sql/given.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Probe, Step } from "../group/facet.ts";
import { appRole, type GroupSpec, type SignInSpec, signInFunction, signInRole } from "../group/spec.ts";
import { isLeft } from "../ledger/states.ts";
import {
    differences,
    type FoundRole,
    isOwn,
    refuseForeign,
    roleSql,
    setRole,
    type WantedRole,
} from "../roles/extraRole.ts";

interface FoundColumn {
    /** As SQL names its type. */
    readonly type: string;
    /** How values of it are compared, as `OPERATOR(pg_catalog.=)`; null where they can't be. */
    readonly equals: string | null;
    /** Whether an index leads with it. */
    readonly index: boolean;
}

export interface FoundSignIn {
    readonly table: boolean;
    readonly column: FoundColumn | null;
    readonly role: FoundRole | null;
    /** Columns that the role may read, and whatever else it was granted. */
    readonly rights: readonly string[];
    /** The function; null when there is none. */
    readonly made: {
        readonly body: string;
        readonly args: string;
        readonly owner: string;
        /** Who may run it beside its owner. */
        readonly may: readonly string[];
    } | null;
}

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

const wantedRole = (group: GroupSpec): WantedRole => ({
    name: signInRole(group.name),
    // nodes let it in by their certificates; nobody else has one, and there is no password
    password: false,
    bypassesPolicies: true,
    settings: {},
});

const keyOf = (group: GroupSpec, signIn: SignInSpec) => group.tables[signIn.table]?.column ?? "";

/** More tenants than one person is in: the answer has an end whatever is asked. */
const MOST = 1000;

/** The body, the same for the same group and type. A copy that is hidden is no tenant's any more. */
export function bodyOf(group: GroupSpec, signIn: SignInSpec, equals: string): string {
    const [key, column] = [identifier(keyOf(group, signIn)), identifier(signIn.column)];
    return `
DECLARE
    found_keys text[];
BEGIN
    SELECT array_agg(k.key) INTO found_keys FROM (
        SELECT DISTINCT t.${key}::text AS key FROM ${qualified(signIn.table)} t WHERE t.${column} ${equals} $1 LIMIT ${MOST}) k;
    RETURN QUERY SELECT k FROM unnest(found_keys) k
        WHERE NOT EXISTS (SELECT FROM citus_as_code.tenant l WHERE l.grp = ${literal(group.name)} AND l.tenant = k AND ${isLeft("l.state")})
        ORDER BY k;
END
`;
}

const rightsOf = (group: GroupSpec, signIn: SignInSpec) =>
    [...new Set([keyOf(group, signIn), signIn.column])].sort().map((column) => `${signIn.table}.${column} SELECT`);

function plan(group: GroupSpec, found: FoundSignIn): Planned {
    const { signIn } = group;
    const name = `citus_as_code.${signInFunction(group.name)}`;
    const of = `group ${group.name}`;
    const role = signInRole(group.name);
    const own = found.role !== null && isOwn(group.name, found.role);
    if (signIn === undefined) {
        if (found.made === null && !own) return { steps: [] };
        return {
            steps: [
                {
                    kind: "signIn.remove",
                    text: `${of}: ${name}() and its role go, sign-in is not in the program`,
                    detail: own,
                },
            ],
        };
    }
    if (found.role !== null && !own)
        return { steps: [], refusals: [refuseForeign(group.name, role, found.role, "take signIn away")] };
    const at = `${signIn.table}.${signIn.column}`;
    if (found.table && found.column === null)
        return {
            steps: [],
            refusals: [
                `${of}: signIn names ${at}, and ${signIn.table} has no such column. Name one of its columns, or take signIn away.`,
            ],
        };
    if (found.column !== null && found.column.equals === null)
        return {
            steps: [],
            refusals: [
                `${of}: signIn names ${at}, and values of type ${found.column.type} can't be compared. Name a column of text.`,
            ],
        };
    const steps: Step[] = [];
    const step = (kind: string, text: string, detail?: unknown) =>
        steps.push({ kind: `signIn.${kind}`, text: `${of}: ${text}`, ...(detail === undefined ? {} : { detail }) });
    if (found.role === null) step("role", `make role ${role}, which reads ${at} and the tenant's key`, null);
    else {
        const differing = differences(group.name, wantedRole(group), found.role, "");
        if (differing.length > 0) step("role", `mend role ${role} (${differing.join(", ")})`, found.role);
    }
    if (found.column === null || !found.column.index)
        step("index", `an index on ${at}: without one each sign-in reads all rows`);
    const right = found.rights.join() === rightsOf(group, signIn).join();
    const body = found.column?.equals == null ? undefined : bodyOf(group, signIn, found.column.equals);
    const same =
        found.made !== null &&
        body !== undefined &&
        found.made.body === md5(body) &&
        found.made.args === found.column?.type &&
        found.made.owner === role &&
        found.made.may.join() === appRole(group.name);
    if (!right || !same)
        step(
            "set",
            `${found.made === null ? "make" : "renew"} ${name}(), which gives the tenants that have a value in ${at}`,
        );
    return { steps };
}

/** What there is now, once tables are made. */
async function lookAgain(context: Context): Promise<FoundSignIn> {
    const [row] = await context.session.query<{ found: FoundSignIn }>(
        `SELECT (${sql(context.group, { ledger: true })}) AS found`,
    );
    if (!row) throw new Error("the coordinator gave no answer");
    return row.found;
}

/** Takes every right of the role on tables away; the function's grants go with it. */
const revoke = (role: string, tables: readonly string[]) =>
    tables.map((table) => `REVOKE ALL ON ${table} FROM ${role};`);

/** Its table, and others that it has a right on. */
const tablesOf = (rights: readonly string[]) => [
    ...new Set(rights.map((right) => right.split(".").slice(0, -1).join("."))),
];

async function set(context: Context): Promise<void> {
    const { group, session } = context;
    const { signIn } = group;
    const { column, rights } = await lookAgain(context);
    if (signIn === undefined || column?.equals == null) return;
    const role = identifier(signInRole(group.name));
    const table = qualified(signIn.table);
    const columns = [...new Set([keyOf(group, signIn), signIn.column])].map(identifier).join(", ");
    // first the rights, which go to the shards, then what only the coordinator has
    await transaction(
        session,
        [
            ...revoke(role, tablesOf(rights).map(qualified)),
            `GRANT USAGE ON SCHEMA ${table.split(".")[0]} TO ${role};`,
            `GRANT SELECT (${columns}) ON ${table} TO ${role};`,
        ].join("\n"),
    );
    const name = `citus_as_code.${identifier(signInFunction(group.name))}`;
    await transaction(
        session,
        `SET LOCAL citus.enable_ddl_propagation = off;
        GRANT USAGE ON SCHEMA citus_as_code TO ${role}, ${identifier(appRole(group.name))};
        GRANT SELECT (grp, tenant, state) ON citus_as_code.tenant TO ${role};
        ${dropAll(group)}
        CREATE FUNCTION ${name}(${column.type}) RETURNS SETOF text LANGUAGE plpgsql STABLE SECURITY DEFINER
            SET search_path = pg_catalog, pg_temp AS ${literal(bodyOf(group, signIn, column.equals))};
        REVOKE ALL ON FUNCTION ${name}(${column.type}) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION ${name}(${column.type}) TO ${identifier(appRole(group.name))};
        GRANT CREATE ON SCHEMA citus_as_code TO ${role};
        ALTER FUNCTION ${name}(${column.type}) OWNER TO ${role};
        REVOKE CREATE ON SCHEMA citus_as_code FROM ${role};`,
    );
}

/** Whatever type it was made for. */
const dropAll = (group: GroupSpec) =>
    `DO ${literal(`DECLARE f regprocedure; BEGIN
        FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'citus_as_code'::regnamespace AND p.proname = ${literal(signInFunction(group.name))} LOOP
            EXECUTE 'DROP FUNCTION ' || f; END LOOP; END`)};`;

async function remove(context: Context, steps: readonly Step[]): Promise<void> {
    const { session, group } = context;
    const own = steps.some(({ detail }) => detail === true);
    await transaction(session, `SET LOCAL citus.enable_ddl_propagation = off; ${dropAll(group)}`);
    if (!own) return;
    const { rights } = await lookAgain(context);
    const role = identifier(signInRole(group.name));
    const tables = tablesOf(rights).map(qualified);
    const schemas = [...new Set(tables.map((table) => table.split(".")[0] ?? ""))];
    await transaction(
        session,
        [...revoke(role, tables), ...schemas.map((schema) => `REVOKE ALL ON SCHEMA ${schema} FROM ${role};`)].join(
            "\n",
        ),
    );
    await transaction(
        session,
        `SET LOCAL citus.enable_ddl_propagation = off;
        REVOKE ALL ON citus_as_code.tenant FROM ${role}; REVOKE ALL ON SCHEMA citus_as_code FROM ${role};`,
    );
    await session.query(`DROP ROLE ${role}`);
}

/** CONCURRENTLY, so that nobody waits; what a killed one left is dropped first. */
async function index({ session, group, progress }: Context, steps: readonly Step[]): Promise<void> {
    const { signIn } = group;
    if (signIn === undefined) return;
    progress(steps[0]?.text ?? "");
    const [schema = "", table = ""] = qualified(signIn.table).split(".");
    const name = identifier(`${table.slice(1, 41)}_${md5(`${signIn.table} ${signIn.column}`).slice(0, 8)}_sign_in`);
    await session.query(`DROP INDEX IF EXISTS ${schema}.${name}`);
    await session.query(
        `CREATE INDEX CONCURRENTLY ${name} ON ${qualified(signIn.table)} (${identifier(signIn.column)})`,
    );
}

function sql(group: GroupSpec, probe: Pick<Probe, "ledger" | "ask">): string {
    const { signIn } = group;
    const role = `to_regrole(${given(identifier(signInRole(group.name)))})`;
    const table = signIn === undefined ? "NULL::regclass" : `to_regclass(${given(qualified(signIn.table))})`;
    const column = signIn === undefined ? "NULL" : given(signIn.column);
    // the ledger's own are made with the function
    const named = "CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END";
    return `SELECT jsonb_build_object('table', ${table} IS NOT NULL,
        'column', (SELECT jsonb_build_object('type', format_type(a.atttypid, NULL),
            'equals', (SELECT format('OPERATOR(%s.%s)', quote_ident(on_.nspname), o.oprname) FROM pg_opclass oc JOIN pg_am m ON m.oid = oc.opcmethod AND m.amname = 'btree'
                         JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3
                         JOIN pg_operator o ON o.oid = ao.amopopr JOIN pg_namespace on_ ON on_.oid = o.oprnamespace
                        WHERE oc.opcdefault AND oc.opcintype = CASE b.base WHEN 'varchar'::regtype THEN 'text'::regtype::oid ELSE b.base END LIMIT 1),
            'index', EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum AND i.indisvalid))
             FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid, LATERAL (SELECT CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END AS base) b
            WHERE a.attrelid = ${table} AND a.attname = ${column} AND a.attnum > 0 AND NOT a.attisdropped),
        'role', ${roleSql(signInRole(group.name), probe.ask)},
        'rights', (SELECT coalesce(jsonb_agg(r.said ORDER BY r.said), '[]') FROM (
            SELECT ${named} || '.' || a.attname || ' ' || x.privilege_type AS said FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(a.attacl) x
             WHERE a.attacl IS NOT NULL AND x.grantee = ${role} AND n.nspname <> 'citus_as_code'
            UNION ALL
            SELECT ${named} || '.* ' || x.privilege_type FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) x
             WHERE c.relacl IS NOT NULL AND x.grantee = ${role} AND n.nspname <> 'citus_as_code') r),
        'made', ${
            probe.ledger
                ? `(SELECT jsonb_build_object('body', md5(p.prosrc), 'args', format_type(p.proargtypes[0], NULL), 'owner', p.proowner::regrole::text,
            'may', (SELECT coalesce(jsonb_agg(DISTINCT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END), '[]')
                      FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x WHERE x.grantee <> p.proowner))
             FROM pg_proc p WHERE p.pronamespace = to_regnamespace('citus_as_code') AND p.proname = ${given(signInFunction(group.name))} LIMIT 1)`
                : "NULL::jsonb"
        })`;
}

export const signIn: Facet<FoundSignIn> = {
    name: "signIn",
    none: { table: false, column: null, role: null, rights: [], made: null },
    sql,
    plan,
    run: {
        role: async (context, steps) => {
            for (const step of steps)
                await setRole(context, wantedRole(context.group), step.detail as FoundRole | null);
        },
        index,
        set,
        remove,
    },
};
