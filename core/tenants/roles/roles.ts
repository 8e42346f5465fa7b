/** Roles of a group: its application's, its tenants', and what limits them. On every node, as Citus hands them on. */
import { createHash } from "node:crypto";
import { given } from "../../sql/given.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import { askAlone } from "../group/ask.ts";
import { databaseMessage, inBatches, transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import { appRole, type GroupSpec, onboardingRole, optionalRoles, tenantRole, tenantsRole } from "../group/spec.ts";
import { allGroupRoleNames, ensureGroupRoles, foreignRole, ownComment, ownTenantRole } from "./groupRoles.ts";
import { endSessions } from "./privileges.ts";
import { asTenant, CHOSEN, NONE, roleSql, tenantPath } from "./roleSql.ts";

interface FoundRole {
    readonly login: boolean;
    readonly connections: number;
    readonly settings: Readonly<Record<string, string>>;
    /** Whether it is a member of the group's role of all tenants, and so has its rights. */
    readonly member: boolean;
    /** Whether it may become that role, or make others members of it. */
    readonly becomes: boolean;
    /** Superuser, or another right that bypasses policies. */
    readonly elevated: boolean;
    readonly comment: string | null;
    /** The mark of the password that it was last given. */
    readonly secret: string | null;
}

export interface FoundRoles {
    readonly mark: string;
    readonly roles: Readonly<Record<string, FoundRole>>;
    /** Roles that are otherwise on a node than on the coordinator, by the node's host. */
    readonly differing: Readonly<Record<string, readonly string[]>>;
}

/** What a role should be. */
interface Wanted {
    readonly name: string;
    readonly tenant?: string;
    readonly login: boolean;
    readonly connections: number;
    /** Undefined: as PostgreSQL has it. */
    readonly settings: Readonly<Record<string, string | undefined>>;
    readonly member: boolean;
}

const BATCH = 50;

const MILLISECONDS = ["statement_timeout", "idle_in_transaction_session_timeout"];

function groupRoles(group: GroupSpec): Wanted[] {
    return allGroupRoleNames(group).map((name) => {
        const app = name === appRole(group.name);
        const onboarding = name === onboardingRole(group.name);
        return {
            name,
            login: app || onboarding,
            connections: -1,
            // a transaction that made a tenant and does nothing keeps others' from being made
            settings: {
                ...(app ? { "citus.propagate_set_commands": "local" } : {}),
                ...(onboarding ? { idle_in_transaction_session_timeout: "10000" } : {}),
            },
            member: false,
        };
    });
}

function wantedRoles(group: GroupSpec): Wanted[] {
    const tenants = Object.entries(group.tenants).filter(([, tenant]) => tenant.role);
    return [
        ...groupRoles(group),
        ...tenants.map(([name, { limits = {} }]) => ({
            name: tenantRole(group.name, name),
            tenant: name,
            login: true,
            connections: limits.connections ?? -1,
            settings: {
                statement_timeout: limits.statementTimeout?.toString(),
                idle_in_transaction_session_timeout: limits.idleInTransactionTimeout?.toString(),
                // a superuser's setting: the role can't undo it
                temp_file_limit: limits.tempFiles?.toString(),
                ...(group.model === "schema" ? { search_path: tenantPath(identifier(name)) } : {}),
            },
            member: true,
        })),
    ];
}

/** Kept at the role itself: that it is ours, and which password it has. Tells nothing about the password. */
export const commentOf = (group: string, mark: string, secret: string) => `${ownComment(group)}${mark} ${secret}`;

export const secretOf = (verifier: string) => createHash("md5").update(verifier).digest("hex").slice(0, 8);

const SETTINGS = [
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "temp_file_limit",
    "search_path",
    "citus.propagate_set_commands",
];

/**
 * One line for each role of the group, the same on every node: what is set here and nothing else, as a role may set more for
 * itself. Of a role that may not log in, limits don't count.
 */
const linesOf = (group: string) => `
    SELECT a.rolname::text AS name, concat_ws('|', a.rolcanlogin, a.rolsuper, a.rolbypassrls, a.rolcreaterole, md5(a.rolpassword),
               (SELECT concat_ws(' ', m.inherit_option, m.set_option, m.admin_option) FROM pg_auth_members m JOIN pg_authid g ON g.oid = m.roleid
                 WHERE m.member = a.oid AND g.rolname = ${given(tenantsRole(group))} ORDER BY 1 LIMIT 1),
               CASE WHEN a.rolcanlogin OR a.rolname = ${given(tenantsRole(group))} THEN concat_ws('|', a.rolconnlimit, shobj_description(a.oid, 'pg_authid'),
                   (SELECT string_agg(s, ',' ORDER BY s) FROM pg_db_role_setting d, unnest(d.setconfig) s WHERE d.setrole = a.oid AND d.setdatabase = 0
                       AND split_part(s, '=', 1) IN (${SETTINGS.map(literal).join(", ")}))) END) AS line
      FROM pg_authid a WHERE starts_with(a.rolname, ${given(`${group}_`)})`;

const sameSetting = (name: string, wanted: string | undefined, found: string | undefined) =>
    name === "search_path" ? found?.replaceAll('"', "") === wanted?.replaceAll('"', "") : found === wanted;

/** Whether it has the password that came with its tenant's sign-up. */
const hasChosen = ({ tenant }: Wanted, { comment, secret }: FoundRole, group: string) =>
    tenant !== undefined && secret !== null && comment === commentOf(group, CHOSEN, secret);

/** Whether it has the password that this project gives, or one that was chosen. */
const hasPassword = (wanted: Wanted, found: FoundRole, group: string, mark: string) =>
    found.comment === commentOf(group, mark, found.secret ?? "") || hasChosen(wanted, found, group);

/** What of a role is not as it should be, for a person. */
function differences(wanted: Wanted, found: FoundRole, group: string, mark: string): string[] {
    const number = (n: number) => (n < 0 ? "no limit" : String(n));
    const value = (name: string, text: string | undefined) =>
        text === undefined
            ? "none"
            : MILLISECONDS.includes(name) && /^\d+$/.test(text)
              ? `${text} ms`
              : name === "temp_file_limit"
                ? `${text} kB`
                : text;
    return [
        ...(wanted.login === found.login ? [] : [wanted.login ? "login" : "no login"]),
        ...(wanted.connections === found.connections
            ? []
            : [`connections ${number(found.connections)} → ${number(wanted.connections)}`]),
        ...Object.entries(wanted.settings).flatMap(([name, text]) =>
            sameSetting(name, text, found.settings[name])
                ? []
                : [`${name} ${value(name, found.settings[name])} → ${value(name, text)}`],
        ),
        ...(wanted.member && !found.member ? [`member of ${tenantsRole(group)}`] : []),
        ...(wanted.member && found.becomes ? [`no SET ROLE ${tenantsRole(group)}`] : []),
        ...(found.elevated ? ["rights that bypass policies taken away"] : []),
        ...(wanted.login && !hasPassword(wanted, found, group, mark) ? ["password"] : []),
    ];
}

interface Detail {
    readonly wanted: Wanted;
    readonly there: boolean;
    /** Whether its password came with its sign-up, and stays. */
    readonly chosen?: boolean;
}

const isOwn = (group: GroupSpec, role: FoundRole) => role.comment?.startsWith(ownComment(group.name)) === true;

/** Roles of tenants that are in the program and want none any more: nobody gets in by them, and what they ownProperty stays. */
function shutSteps(group: GroupSpec, found: FoundRoles, elsewhere: ReadonlyMap<string, readonly string[]>): Step[] {
    return Object.entries(group.tenants).flatMap(([tenant, spec]): Step[] => {
        if (spec.role) return [];
        const name = tenantRole(group.name, tenant);
        const role = ownProperty(found.roles, name);
        if (role === undefined || !isOwn(group, role) || ownTenantRole(group, tenant) === undefined) return [];
        const hosts = elsewhere.get(name) ?? [];
        if (!role.login && !role.member && !role.becomes && role.secret === null && hosts.length === 0) return [];
        const text = `${tenant}: role ${name} may not log in any more (NOLOGIN, membership revoked, password removed)`;
        return [{ kind: "roles.shut", tenant, text, detail: name }];
    });
}

function planRoles(group: GroupSpec, found: FoundRoles): Planned {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const elsewhere = new Map<string, string[]>();
    for (const [host, names] of Object.entries(found.differing))
        for (const name of names) elsewhere.set(name, [...(elsewhere.get(name) ?? []), host]);
    for (const wanted of wantedRoles(group)) {
        const { name, tenant } = wanted;
        const role = found.roles[name];
        const of = tenant === undefined ? `group ${group.name}` : tenant;
        const kind = tenant === undefined ? "roles.group" : "roles.tenant";
        const step = (text: string) =>
            steps.push({
                kind,
                ...(tenant === undefined ? {} : { tenant }),
                text: `${of}: ${text}`,
                detail: {
                    wanted,
                    there: role !== undefined,
                    ...(role !== undefined && hasChosen(wanted, role, group.name) ? { chosen: true } : {}),
                } satisfies Detail,
            });
        if (tenant !== undefined && optionalRoles(group.name, group.model).includes(name)) {
            refusals.push(
                `${of}: its role would be ${name}, which is the group's ownProperty and may read other tenants: no tenant can have that name. Take the tenant away ({"${tenant}":{"state":"deleted"}} under tenants, which exports it first), and make it by another name.`,
            );
        } else if (Buffer.byteLength(name) > 63) {
            refusals.push(
                `${of}: its role ${name} would be longer than PostgreSQL's 63 bytes; choose a shorter name, or role: false`,
            );
        } else if (role === undefined) {
            step(`make role ${name}`);
        } else if (!isOwn(group, role)) {
            const instead = tenant === undefined ? "give the group another name" : `say role: false for ${tenant}`;
            refusals.push(foreignRole(group.name, of, name, role.comment, instead));
        } else {
            const differing = [
                ...differences(wanted, role, group.name, found.mark),
                ...(elsewhere.get(name) ?? []).map((host) => `not the same on ${host}`),
            ];
            if (differing.length === 1 && role.comment === `${ownComment(group.name)}${NONE}`)
                step(`give role ${name}, which signed up without one, a password`);
            else if (differing.length > 0) step(`mend role ${name} (${differing.join(", ")})`);
        }
    }
    return { steps: [...steps, ...shutSteps(group, found, elsewhere)], refusals };
}

/** Verifiers of passwords that came with a sign-up: only the coordinator's catalog has them. */
async function chosenVerifiers({ session }: Context, steps: readonly Step[]): Promise<ReadonlyMap<string, string>> {
    const names = steps.map(detailOf).flatMap(({ chosen, wanted }) => (chosen ? [wanted.name] : []));
    if (names.length === 0) return new Map();
    const rows = await session.query<{ name: string; verifier: string }>(
        "SELECT rolname::text AS name, rolpassword AS verifier FROM pg_authid WHERE rolname = ANY($1) AND rolpassword IS NOT NULL",
        [names],
    );
    return new Map(rows.map(({ name, verifier }) => [name, verifier]));
}

/**
 * Everything of a role, whether it was so before or not: what a node lacks comes with it.
 * @param kept the verifier of a password that was chosen and stays
 */
function statementsFor(context: Context, { wanted, there }: Detail, kept?: string): string {
    const { group } = context;
    const name = identifier(wanted.name);
    const { mark, ...given } = context.verifier(wanted.name);
    const verifier = kept ?? given.verifier;
    return [
        ...roleSql(name, {
            there,
            connections: wanted.connections,
            ...(wanted.login ? { password: literal(verifier) } : {}),
            settings: Object.fromEntries(
                Object.entries(wanted.settings).map(([setting, value]) => [
                    setting,
                    value === undefined || setting === "search_path" ? value : literal(value),
                ]),
            ),
        }),
        ...(wanted.member ? asTenant(identifier(tenantsRole(group.name)), name) : []),
        `COMMENT ON ROLE ${name} IS ${literal(commentOf(group.name, kept === undefined ? mark : CHOSEN, secretOf(verifier)))}`,
    ]
        .map((statement) => `${statement};`)
        .join("\n");
}

const detailOf = (step: Step) => step.detail as Detail;

async function setTenants(context: Context, steps: readonly Step[]): Promise<void> {
    await ensureGroupRoles(context.session, context.group);
    const set = async (batch: readonly Step[]) => {
        const kept = await chosenVerifiers(context, batch);
        const sql = batch.map((step) => statementsFor(context, detailOf(step), kept.get(detailOf(step).wanted.name)));
        await transaction(context.session, sql.join("\n"));
    };
    await inBatches(
        steps,
        BATCH,
        set,
        async (step, done) => {
            try {
                await set([step]);
            } catch (error) {
                throw new Error(
                    `${step.tenant}: role ${detailOf(step).wanted.name} could not be set\n${databaseMessage(error)}\n` +
                        `Nothing of it was changed. ${done} of ${steps.length} roles were set before it. Remove the cause, then run pulumi up again: it is safe to repeat.`,
                );
            }
        },
        (done) => {
            context.alive();
            if (done > 0) context.progress(`set ${done} of ${steps.length} roles`);
        },
    );
}

/** Safe to repeat: the membership is revoked last, and until then it is planned again. */
async function shut(context: Context, steps: readonly Step[]): Promise<void> {
    const { session, group } = context;
    const nameOf = (step: Step) => identifier(step.detail as string);
    const together = async (batch: readonly Step[]) => {
        await transaction(
            session,
            batch
                .map((step) => `ALTER ROLE ${nameOf(step)} NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOLOGIN PASSWORD NULL;`)
                .join("\n"),
        );
        for (const step of batch) await endSessions(context, step.detail as string);
        const members = batch.map(nameOf).join(", ");
        await transaction(session, `REVOKE ${identifier(tenantsRole(group.name))} FROM ${members}`);
    };
    await inBatches(
        steps,
        BATCH,
        together,
        async (step, done) => {
            await together([step]).catch((error: unknown) => {
                throw new Error(
                    `${step.tenant}: role ${step.detail} could not be kept from logging in\n${databaseMessage(error)}\n` +
                        `What it owns is untouched. ${done} of ${steps.length} roles were done before it. Remove the cause, then run pulumi up again: it is safe to repeat.`,
                );
            });
        },
        () => context.alive(),
    );
}

async function setGroup(context: Context, steps: readonly Step[]): Promise<void> {
    await ensureGroupRoles(context.session, context.group);
    const sql = steps.map((step) => statementsFor(context, { ...detailOf(step), there: true }));
    await transaction(context.session, sql.join("\n"));
}

/** Roles with what limits them; drift is mended. */
export const roles: Facet<FoundRoles> = {
    name: "roles",
    none: { mark: "", roles: {}, differing: {} },
    sql: (group, { ask = askAlone }) => {
        const lines = linesOf(group.name);
        const command = `SELECT coalesce(jsonb_object_agg(name, md5(line)), '{}') FROM (${lines}) l`;
        return `WITH here AS MATERIALIZED (SELECT l.name, md5(l.line) AS print FROM (${lines}) l),
            answered AS MATERIALIZED (SELECT n.nodename AS host, a.success, a.result FROM ${ask(command)} a JOIN pg_dist_node n USING (nodeid)),
            there AS MATERIALIZED (SELECT a.host, o.key AS name, o.value AS print
                FROM answered a, jsonb_each_text(CASE WHEN a.success THEN a.result::jsonb ELSE '{}' END) o)
            SELECT jsonb_build_object('mark', $3::text,
            'roles', coalesce((SELECT jsonb_object_agg(a.rolname, jsonb_build_object(
                'login', a.rolcanlogin, 'connections', a.rolconnlimit,
                'elevated', a.rolsuper OR a.rolbypassrls OR a.rolcreaterole OR a.rolcreatedb OR a.rolreplication,
                'comment', shobj_description(a.oid, 'pg_authid'), 'secret', left(md5(a.rolpassword), 8),
                'member', EXISTS (SELECT FROM pg_auth_members m WHERE m.member = a.oid AND m.roleid = to_regrole(quote_ident($1 || '_tenants')) AND m.inherit_option),
                'becomes', EXISTS (SELECT FROM pg_auth_members m WHERE m.member = a.oid AND m.roleid = to_regrole(quote_ident($1 || '_tenants'))
                                      AND (m.set_option OR m.admin_option)),
                'settings', coalesce((SELECT jsonb_object_agg(split_part(s, '=', 1), substr(s, strpos(s, '=') + 1))
                                        FROM pg_db_role_setting d, unnest(d.setconfig) s WHERE d.setrole = a.oid AND d.setdatabase = 0), '{}')))
              FROM pg_authid a WHERE starts_with(a.rolname, $1 || '_')), '{}'),
            'differing', coalesce((SELECT jsonb_object_agg(host, names) FROM (
                SELECT a.host, jsonb_agg(h.name ORDER BY h.name) AS names
                  FROM answered a CROSS JOIN here h LEFT JOIN there o ON o.host = a.host AND o.name = h.name
                 WHERE a.success AND o.print IS DISTINCT FROM h.print GROUP BY 1) x), '{}'),
            'nodes', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.host, 'failed', a.result)), '[]') FROM answered a WHERE NOT a.success))`;
    },
    plan: planRoles,
    run: { group: setGroup, tenant: setTenants, shut },
};
