/** What create_tenant needs: the function, the files of the template that all tenants ran, and who may call it. */

import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { ALONE, statements } from "../../sql/statements.ts";
import { joinNames } from "../../util/joinNames.ts";
import { asDoBlock, databaseMessage, transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import { type FileSpec, type GroupSpec, onboardingRole } from "../group/spec.ts";
import { isServed } from "../ledger/states.ts";
import { endSessions } from "../roles/privileges.ts";
import { CREATE_TENANT, CREATE_TENANT_HASH, SIGNATURE } from "./createTenant.ts";

interface StoredFile {
    readonly path: string;
    readonly sha256: string;
    /** MD5 of its statements. */
    readonly digest: string;
}

interface StoredGroup {
    readonly model: string;
    readonly lock_timeout: number;
    readonly anchor: string | null;
    readonly key_column: string | null;
}

export interface FoundOnboarding {
    /** MD5 of the function's body; null when there is none. */
    readonly body: string | null;
    /** What the group's tenants are made from; null when none can be made. */
    readonly group: StoredGroup | null;
    readonly files: readonly StoredFile[];
    /** Whether the group's role may call it. */
    readonly allowed: boolean;
    /** Roles that may call it and are no group's for that. */
    readonly strangers: readonly string[];
    /** Tenants that it made and the program does not name. */
    readonly onboarded: readonly string[];
    /** The template as it should be stored. */
    readonly wanted?: readonly StoredFile[];
    /** Why files can't be run by it. */
    readonly mistakes?: readonly string[];
}

const NOTHING: FoundOnboarding = {
    body: null,
    group: null,
    files: [],
    allowed: false,
    strangers: [],
    onboarded: [],
};

const NAMED = 10;

/** How a file's statements are one text for comparing. */
const SEPARATOR = "\n;\n";

/** A file's statements for a tenant that is made at once: of its tables, which are empty, nothing is done beside others. */
const textsOf = (sql: string) =>
    statements(sql).map(({ text }) => text.replace(/^((CREATE(\s+UNIQUE)?|DROP)\s+INDEX)\s+CONCURRENTLY\b/i, "$1"));

/** Files of the template that a tenant is made from: in rls and row they are the group's and have run. */
const filesOf = (group: GroupSpec): readonly FileSpec[] => (group.model === "schema" ? group.template : []);

/** What create_tenant can't run: settings would stay with the application's session, and it is in a transaction. */
function fileMistakes(path: string, sql: string): string[] {
    const shown = (text: string) => text.replace(/\s+/g, " ").slice(0, 60);
    return statements(sql).flatMap(({ text, line }, i) => {
        if (/^(SET|RESET|DISCARD)\b/i.test(text))
            return [
                `${path}:${line} has ${shown(text)}: create_tenant runs this file in a session of the application, where settings would stay. ` +
                    "Take it out (a setting that a function needs is written into the function: CREATE FUNCTION … SET …), or take onboarding: true away.",
            ];
        if (ALONE.test(textsOf(sql)[i] ?? ""))
            return [
                `${path}:${line} has ${shown(text)}, which can't be in a transaction, and create_tenant is in one. Take it out, or take onboarding: true away.`,
            ];
        return [];
    });
}

const keyOf = ({ tables, anchor = "" }: GroupSpec) => tables[anchor]?.column ?? null;

const stored = (group: GroupSpec): StoredGroup => ({
    model: group.model,
    lock_timeout: group.lockTimeout,
    anchor: group.anchor === undefined ? null : qualified(group.anchor),
    key_column: group.anchor === undefined ? null : keyOf(group),
});

interface Detail {
    /** Paths of the files that all tenants have run. */
    readonly files: readonly string[];
}

/**
 * Pure. A file that waits for a wave, or for an approval, is no new tenant's yet.
 * @param all what the other facets found
 */
export function planOnboarding(
    group: GroupSpec,
    found: FoundOnboarding,
    all: Readonly<Record<string, unknown>> = {},
): Planned {
    const { onboarded } = found;
    const { pending = {} } = (all.migrations ?? {}) as { pending?: Readonly<Record<string, readonly string[]>> };
    const waiting = new Set(Object.values(pending).flat());
    const files = (found.wanted ?? []).filter(({ path }) => !waiting.has(path));
    const notes =
        onboarded.length === 0
            ? []
            : [
                  `${joinNames(onboarded, NAMED)}: made by create_tenant and not in the program; kept like the others. To write ${onboarded.length === 1 ? "it" : "them"} down: npm run tenants -- adopt ${group.name} FILE.json`,
              ];
    if (!group.onboarding) {
        const steps: Step[] =
            found.group === null
                ? []
                : [
                      {
                          kind: "onboarding.close",
                          text: `group ${group.name}: no tenants are made by create_tenant any more (role ${onboardingRole(group.name)} is dropped)`,
                      },
                  ];
        return { steps, notes };
    }
    const reasons = [
        ...(found.body === null
            ? ["make the function"]
            : found.body === CREATE_TENANT_HASH
              ? []
              : ["renew the function"]),
        ...(found.group === null
            ? ["let tenants be made"]
            : isDeepStrictEqual(stored(group), found.group)
              ? []
              : ["what tenants are made from"]),
        ...(isDeepStrictEqual(files, found.files)
            ? []
            : [`${files.length === 1 ? "1 file" : `${files.length} files`} of the template`]),
        ...(found.allowed ? [] : [`role ${onboardingRole(group.name)} may call it`]),
        ...(found.strangers.length === 0 ? [] : [`${found.strangers.join(", ")} may not call it any more`]),
    ];
    return {
        steps:
            reasons.length === 0
                ? []
                : [
                      {
                          kind: "onboarding.publish",
                          text: `group ${group.name}: citus_as_code.create_tenant (${reasons.join("; ")})`,
                          detail: { files: files.map(({ path }) => path) } satisfies Detail,
                      },
                  ],
        refusals: found.mistakes ?? [],
        notes,
    };
}

/** Waits for tenants that are being made: from here on they are made from the new files. */
async function publish(context: Context, { files: paths }: Detail): Promise<void> {
    const { group, session } = context;
    const name = literal(group.name);
    const { model, lock_timeout, anchor, key_column } = stored(group);
    const values = [name, literal(model), String(lock_timeout), ...[anchor, key_column].map(textOrNull)];
    const wanted = filesOf(group).filter(({ path }) => paths.includes(path));
    const files = wanted.map(({ path, sha256 }, i) => {
        const texts = textsOf(context.read(path)).map(literal).join(", ");
        return `INSERT INTO citus_as_code.tenant_template (grp, position, path, sha256, statements)
            VALUES (${name}, ${i + 1}, ${literal(path)}, ${literal(sha256)}, ARRAY[${texts}]::text[]);`;
    });
    const role = onboardingRole(group.name);
    const strangers = await session.query<{ name: string }>(strangersOf());
    try {
        await transaction(
            session,
            [
                "SET LOCAL citus.enable_ddl_propagation = off; SET LOCAL lock_timeout = '30s';",
                CREATE_TENANT,
                `INSERT INTO citus_as_code.tenant_onboarding (grp, model, lock_timeout, anchor, key_column)
                    VALUES (${values.join(", ")})
                 ON CONFLICT (grp) DO UPDATE SET (model, lock_timeout, anchor, key_column, published)
                    = (excluded.model, excluded.lock_timeout, excluded.anchor, excluded.key_column, now());`,
                `DELETE FROM citus_as_code.tenant_template WHERE grp = ${name};`,
                ...files,
                ...strangers.map(
                    (stranger) =>
                        `REVOKE ALL ON FUNCTION ${SIGNATURE} FROM ${stranger.name === "PUBLIC" ? "PUBLIC" : identifier(stranger.name)} CASCADE;`,
                ),
                `GRANT USAGE ON SCHEMA citus_as_code TO ${identifier(role)};`,
                `GRANT EXECUTE ON FUNCTION ${SIGNATURE} TO ${identifier(role)};`,
            ].join("\n"),
        );
    } catch (error) {
        throw new Error(
            `group ${group.name}: what create_tenant makes tenants from could not be written down\n${databaseMessage(error)}\n` +
                "It makes them as before. A transaction that made a tenant and has not ended holds it up for 30 s. Run pulumi up again: it is safe to repeat.",
        );
    }
}

const textOrNull = (text: string | null) => (text === null ? "NULL" : literal(text));

/** SQL query (name) for roles that may call it and are of no group that has it. Superusers own it or need no right. */
const strangersOf = () => `SELECT DISTINCT coalesce(r.rolname::text, 'PUBLIC') AS name
      FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
     WHERE p.oid = to_regprocedure(${literal(SIGNATURE)}) AND a.grantee <> p.proowner
       AND NOT EXISTS (SELECT FROM citus_as_code.tenant_onboarding o WHERE o.grp || '_onboarding' = r.rolname) ORDER BY 1`;

/** Safe to repeat: what says that there is something to do goes last. */
async function close(context: Context): Promise<void> {
    const { group, session } = context;
    const name = onboardingRole(group.name);
    const role = identifier(name);
    const [there] = await session.query<{ ok: boolean }>("SELECT to_regrole(quote_ident($1)) IS NOT NULL AS ok", [
        name,
    ]);
    if (there?.ok) {
        await session.query(`ALTER ROLE ${role} NOLOGIN`);
        await endSessions(context, name);
        await transaction(session, asDoBlock([`DROP OWNED BY ${role}`, `DROP ROLE ${role}`]));
    }
    await transaction(
        session,
        `DELETE FROM citus_as_code.tenant_template WHERE grp = ${literal(group.name)};
         DELETE FROM citus_as_code.tenant_onboarding WHERE grp = ${literal(group.name)};`,
    );
}

/** Tenants that the application makes while it runs. Planned last: by then all tenants have run the template. */
export const onboarding: Facet<FoundOnboarding> = {
    name: "onboarding",
    reads: ["migrations"],
    none: NOTHING,
    sql: (_group, { onboarding }) =>
        onboarding
            ? `SELECT jsonb_build_object(
        'body', (SELECT md5(p.prosrc) FROM pg_proc p WHERE p.oid = to_regprocedure(${literal(SIGNATURE)})),
        'group', (SELECT jsonb_build_object('model', o.model, 'lock_timeout', o.lock_timeout, 'anchor', o.anchor, 'key_column', o.key_column)
                    FROM citus_as_code.tenant_onboarding o WHERE o.grp = $1),
        'files', (SELECT coalesce(jsonb_agg(jsonb_build_object('path', t.path, 'sha256', t.sha256,
                         'digest', md5(array_to_string(t.statements, ${literal(SEPARATOR)}))) ORDER BY t.position), '[]')
                    FROM citus_as_code.tenant_template t WHERE t.grp = $1),
        'allowed', EXISTS (SELECT FROM pg_roles r WHERE r.rolname = $1 || '_onboarding' AND has_schema_privilege(r.oid, 'citus_as_code', 'USAGE')
                     AND coalesce(has_function_privilege(r.oid, to_regprocedure(${literal(SIGNATURE)}), 'EXECUTE'), false)),
        'strangers', (SELECT coalesce(jsonb_agg(s.name), '[]') FROM (${strangersOf()}) s),
        'onboarded', (SELECT coalesce(jsonb_agg(t.tenant ORDER BY t.since, t.tenant), '[]') FROM citus_as_code.tenant t
                       WHERE t.grp = $1 AND t.detail ? 'onboarded' AND ${isServed("t.state")} AND NOT $2::jsonb -> 'delete' ? t.tenant
                         AND (NOT (SELECT $2::jsonb -> 'tenants') ? t.tenant OR ((SELECT $2::jsonb -> 'tenants') -> t.tenant -> 'onboarded') = 'true')))`
            : undefined,
    readFiles: async (group, found, read) => {
        if (!group.onboarding) return found;
        const files = filesOf(group).map((file) => ({ ...file, sql: read(file.path) }));
        return {
            ...found,
            wanted: files.map(({ path, sha256, sql }) => ({
                path,
                sha256,
                digest: createHash("md5").update(textsOf(sql).join(SEPARATOR)).digest("hex"),
            })),
            mistakes: files.flatMap(({ path, sql }) => fileMistakes(path, sql)),
        };
    },
    plan: planOnboarding,
    run: {
        publish: (context, steps) => publish(context, steps[0]?.detail as Detail),
        close: (context) => close(context),
    },
};
