/** Tenants that are schemas: each is made whole from the template, or not at all. */

import { DatabaseError } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { nextWay } from "../../sql/way.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import { filesToMake } from "../files/baseline.ts";
import type { FoundMigrations } from "../files/migrations.ts";
import { commitWords, runFile } from "../files/runFile.ts";
import { batchSize, ranBy, schemaPlace } from "../files/runMigrations.ts";
import { ranRows, refuseLocal, settingsFor, type TemplateFile, wasRun } from "../files/template.ts";
import { databaseMessage, inBatches, RESET_SESSION_SQL, transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import { notNamed } from "../group/notNamed.ts";
import { type GroupSpec, tenantRole } from "../group/spec.ts";
import { bounded, guardOf } from "../ledger/bounds.ts";
import { forgetRan } from "../ledger/ran.ts";
import type { TenantState } from "../ledger/states.ts";
import { activate, beginCreating } from "../ledger/tenants.ts";
import { newFiles } from "../onboarding/newFiles.ts";
import { privileges } from "../roles/privileges.ts";

export interface FoundSchemas {
    /** Existing schemas, and whether Citus has each as a tenant's. */
    readonly schemas: Readonly<Record<string, boolean>>;
    /** Their state in the ledger. */
    readonly ledger: Readonly<Record<string, TenantState>>;
    /** Groups that have a schema of the name of one of these tenants. */
    readonly others: Readonly<Record<string, string>>;
}

interface CreateDetail {
    /** Files that it is made from, in their order. */
    readonly files: readonly string[];
    /** Whether a run that was stopped has begun with it. */
    readonly half: boolean;
}

function planSchemas(
    group: GroupSpec,
    { schemas, ledger, others }: FoundSchemas,
    all: Readonly<Record<string, unknown>>,
): Planned {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const filesOf = newFiles(group, all.migrations as FoundMigrations | undefined, ledger);
    for (const tenant of Object.keys(group.tenants)) {
        const distributed = ownProperty(schemas, tenant);
        const state = ownProperty(ledger, tenant);
        if (state === "deleting") {
            refusals.push(
                `${tenant}: its deletion was begun and not ended. Give it the state deleted again until it is gone. After that it can be made anew.`,
            );
        } else if (state === "creating" || (state === undefined && distributed === undefined)) {
            const { files, said } = filesOf(tenant);
            const half = distributed !== undefined;
            steps.push({
                kind: "schemas.create",
                tenant,
                text: `${tenant}: ${half ? "go on making its schema" : "create schema"}${said}`,
                detail: { files, half } satisfies CreateDetail,
            });
        } else if (state === undefined) {
            refusals.push(
                ownProperty(others, tenant) === undefined
                    ? `${tenant}: there is a schema ${tenant} that no group made. Choose another name for the tenant, or rename the schema ` +
                          `(ALTER SCHEMA ${identifier(tenant)} RENAME TO …); it is untouched, and is never taken over.`
                    : `${tenant}: the schema ${tenant} is a tenant of group ${ownProperty(others, tenant)}. Choose another name for one of them.`,
            );
        } else if (state === "active" || state === "frozen") {
            if (distributed === undefined)
                refusals.push(
                    `${tenant}: its schema is gone, and this project did not drop it. Its data is lost here. Bring it back from an export ` +
                        `(npm run tenants -- restore ${group.name}/${tenant} FILE), or from a backup. To make it anew and empty, give it the state deleted for one run first.`,
                );
            else if (!distributed)
                refusals.push(
                    `${tenant}: its schema is no longer distributed, so it is on the coordinator and can't be moved. To mend it: SELECT citus_schema_distribute(${literal(tenant)});`,
                );
        }
    }
    const left = Object.entries(ledger)
        .filter(
            ([tenant, state]) =>
                !ownProperty(group.tenants, tenant) && !group.delete.includes(tenant) && state !== "superseded",
        )
        .map(([tenant]) => tenant);
    return { steps, refusals, notes: left.length === 0 ? [] : [notNamed(left)] };
}

const begin = (tenant: string) => `${RESET_SESSION_SQL}
SET LOCAL citus.enable_schema_based_sharding = on;
CREATE SCHEMA ${identifier(tenant)};`;

/** After the template: who may use it, and the ledger's row. */
function end(group: GroupSpec, tenant: string): string {
    const role = ownProperty(group.tenants, tenant)?.role
        ? [privileges(tenant, tenantRole(group.name, tenant), "active")]
        : [];
    return [RESET_SESSION_SQL, refuseLocal(tenant), ...role, activate({ group: group.name, tenant }, "schema")].join(
        "\n",
    );
}

/** What it ran, empty: another tenant had the name. */
const forget = ({ name }: GroupSpec, tenant: string) => forgetRan({ group: name, tenant });

/** A whole tenant in one transaction. @param batch tenants that the same transaction made before */
const wholeOf = (group: GroupSpec, tenant: string, files: readonly TemplateFile[], batch: readonly string[]) =>
    [
        begin(tenant),
        forget(group, tenant),
        ...files.flatMap((file) => [
            settingsFor(tenant, group.lockTimeout),
            bounded(guardOf({ schema: tenant, batch }), file.packed),
        ]),
        end(group, tenant),
        ...files.map((file) => ranRows(group.name, tenant, file)),
    ].join("\n");

/**
 * A tenant file after file, each in a transaction of its own, for what can't be in one: files without a transaction, values
 * of an enum that a later file uses. Until it is whole nobody has rights in it, and a killed run goes on with the next file.
 */
async function fileAfterFile(context: Context, tenant: string, files: readonly TemplateFile[], doing: Doing) {
    const { group, session } = context;
    const [there] = await session.query<{ there: boolean }>(
        "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL AS there",
        [tenant],
    );
    if (!there?.there)
        await transaction(
            session,
            `${begin(tenant)}
${forget(group, tenant)}
${beginCreating({ group: group.name, tenant }, "schema")}`,
        );
    const ran = await ranBy(session, group, tenant);
    for (const file of files.filter((one) => !wasRun(ran, one))) {
        context.alive();
        doing.at = file.path;
        await runFile(schemaPlace(group, tenant, file, session), file);
    }
    doing.at = RIGHTS;
    await transaction(session, end(group, tenant));
}

/** At what a tenant's making is. */
interface Doing {
    at: string;
}

const RIGHTS = "its rights and its row in the ledger";

/** Whether what was refused in one transaction may be done file after file. */
const otherwise = (error: unknown) =>
    error instanceof DatabaseError && nextWay("transaction", error.server) !== undefined;

async function inOne(context: Context, tenant: string, files: readonly TemplateFile[], doing: Doing) {
    const { group, session } = context;
    try {
        await session.query(`BEGIN;\n${begin(tenant)}\n${forget(group, tenant)}`);
        for (const file of files) {
            doing.at = file.path;
            await session.query(
                `${settingsFor(tenant, group.lockTimeout)}\n${ranRows(group.name, tenant, file)}\n${bounded(guardOf({ schema: tenant }), file.packed)}`,
            );
        }
        doing.at = RIGHTS;
        await session.query(`${end(group, tenant)}\nCOMMIT`);
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/** One tenant, with what is true when it fails. @param done how many of `all` were made before it */
async function makeAlone(context: Context, { tenant, files, half }: Making, done: number, all: number) {
    const doing: Doing = { at: `CREATE SCHEMA ${tenant}` };
    let kept = `Nothing of ${tenant} was kept.`;
    const apart = () => {
        kept = `${tenant} keeps the files before it, and nobody has rights in it until it is whole.`;
        return fileAfterFile(context, tenant, files, doing);
    };
    try {
        if (half || files.some(({ alone }) => alone)) await apart();
        else
            await inOne(context, tenant, files, doing).catch((error: unknown) => {
                if (!otherwise(error)) throw error;
                return apart();
            });
    } catch (error) {
        throw new Error(
            `${tenant}: its schema could not be made, at ${doing.at}\n${databaseMessage(error)}\n${commitWords(error)}` +
                `${kept} ${done} of ${all} schemas were made before and stay. Remove the cause that the database names, then run pulumi up again.`,
        );
    }
}

interface Making {
    readonly tenant: string;
    readonly files: readonly TemplateFile[];
    /** A run that was stopped has made its schema, and some files. */
    readonly half: boolean;
}

async function create(context: Context, steps: readonly Step[]): Promise<void> {
    const { group, session } = context;
    const filesOf = await filesToMake(
        context,
        steps.map((step) => (step.detail as CreateDetail).files),
    );
    const makings = steps.map((step): Making => {
        const { files, half } = step.detail as CreateDetail;
        return { tenant: step.tenant ?? "", files: filesOf(files), half };
    });
    const byFile = makings.filter(({ files, half }) => half || files.some(({ alone }) => alone));
    const whole = makings.filter((making) => !byFile.includes(making));
    const before = (done: number) => {
        context.alive();
        if (done > 0) context.progress(`created ${done} of ${steps.length} schemas`);
    };
    for (const [done, making] of byFile.entries()) {
        before(done);
        await makeAlone(context, making, done, steps.length);
    }
    await inBatches(
        whole,
        batchSize(whole[0]?.files ?? []),
        (batch) => {
            const names = batch.map(({ tenant }) => tenant);
            const whole = batch.map(({ tenant, files }, i) => wholeOf(group, tenant, files, names.slice(0, i)));
            return transaction(session, whole.join("\n"));
        },
        (making, done) => makeAlone(context, making, byFile.length + done, steps.length),
        (done) => before(byFile.length + done),
    );
    await session.query(RESET_SESSION_SQL);
}

/** Schemas of tenants. */
export const schemas: Facet<FoundSchemas> = {
    name: "schemas",
    reads: ["migrations"],
    none: { schemas: {}, ledger: {}, others: {} },
    sql: (_group, { ledger }) => `SELECT jsonb_build_object(
        'schemas', coalesce((SELECT jsonb_object_agg(n.nspname, s.schemaid IS NOT NULL)
                               FROM pg_namespace n LEFT JOIN pg_dist_schema s ON s.schemaid = n.oid
                              WHERE (SELECT $2::jsonb -> 'tenants') ? n.nspname), '{}'),
        'ledger', ${ledger ? "coalesce((SELECT jsonb_object_agg(tenant, state) FROM citus_as_code.tenant WHERE grp = $1), '{}')" : "'{}'::jsonb"},
        'others', ${
            ledger
                ? `coalesce((SELECT jsonb_object_agg(tenant, grp) FROM citus_as_code.tenant
                              WHERE grp <> $1 AND model = 'schema' AND (SELECT $2::jsonb -> 'tenants') ? tenant), '{}')`
                : "'{}'::jsonb"
        })`,
    plan: planSchemas,
    run: { create },
};
