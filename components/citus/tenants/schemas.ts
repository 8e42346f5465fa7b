/** Tenants that are schemas: each is made whole from the template, or not at all. */

import type { Context, Facet, Planned, Step } from "../../tenants/facet.ts";
import { own } from "../../tenants/own.ts";
import { type GroupSpec, tenantRole } from "../../tenants/spec.ts";
import { identifier, literal } from "../quote.ts";
import { FRESH, inBatches, said, transaction } from "./batch.ts";
import { notNamed } from "./notNamed.ts";
import { privileges } from "./privileges.ts";
import { ranRow, readTemplate, refuseLocal, settingsFor, type TemplateFile } from "./template.ts";

export interface FoundSchemas {
    /** Existing schemas, and whether Citus has each as a tenant's. */
    readonly schemas: Readonly<Record<string, boolean>>;
    /** Their state in the ledger. */
    readonly ledger: Readonly<Record<string, string>>;
    /** Groups that have a schema of the name of one of these tenants. */
    readonly others: Readonly<Record<string, string>>;
}

const BATCH = 20;

function planSchemas(group: GroupSpec, { schemas, ledger, others }: FoundSchemas): Planned {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const files = group.template.length;
    for (const tenant of Object.keys(group.tenants)) {
        const distributed = own(schemas, tenant);
        const state = own(ledger, tenant);
        if (state === "deleting") {
            refusals.push(
                `${tenant}: its deletion was begun and not ended. Give it the state deleted again until it is gone. After that it can be made anew.`,
            );
        } else if ((state === undefined || state === "creating") && distributed === undefined) {
            steps.push({
                kind: "schemas.create",
                tenant,
                text: `${tenant}: create schema${files === 0 ? "" : ` from ${files === 1 ? "1 file" : `${files} files`}`}`,
            });
        } else if (state === undefined) {
            refusals.push(
                own(others, tenant) === undefined
                    ? `${tenant}: there is a schema ${tenant} that no group made. Choose another name for the tenant, or rename the schema ` +
                          `(ALTER SCHEMA ${identifier(tenant)} RENAME TO …); it is untouched, and is never taken over.`
                    : `${tenant}: the schema ${tenant} is a tenant of group ${own(others, tenant)}. Choose another name for one of them.`,
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
                !own(group.tenants, tenant) && !group.delete.includes(tenant) && state !== "superseded",
        )
        .map(([tenant]) => tenant);
    return { steps, refusals, notes: left.length === 0 ? [] : [notNamed(left)] };
}

const begin = (tenant: string) => `${FRESH}
SET LOCAL citus.enable_schema_based_sharding = on;
CREATE SCHEMA ${identifier(tenant)};`;

/** After the template: who may use it, and the ledger's rows. */
function end(group: GroupSpec, tenant: string, template: readonly TemplateFile[]): string {
    const key = [group.name, tenant].map(literal).join(", ");
    const role = own(group.tenants, tenant)?.role ? [privileges(tenant, tenantRole(group.name, tenant), "active")] : [];
    return [
        FRESH,
        refuseLocal(tenant),
        ...role,
        `INSERT INTO citus_as_code.tenant (grp, tenant, model, state) VALUES (${key}, 'schema', 'active')
             ON CONFLICT (grp, tenant) DO UPDATE SET state = 'active', since = now();`,
        `DELETE FROM citus_as_code.tenant_tombstone WHERE (grp, tenant) = (${key});`,
        `DELETE FROM citus_as_code.tenant_migration WHERE (grp, tenant) = (${key});`,
        ...template.map((file) => ranRow(group.name, tenant, file)),
    ].join("\n");
}

const files = (group: GroupSpec, tenant: string, { packed }: TemplateFile) =>
    `${settingsFor(tenant, group.lockTimeout)}\n${packed}`;

async function create(context: Context, steps: readonly Step[]): Promise<void> {
    const { group, session } = context;
    const template = readTemplate(context);
    const tenants = steps.flatMap(({ tenant }) => (tenant === undefined ? [] : [tenant]));
    const whole = (tenant: string) =>
        [begin(tenant), ...template.map((file) => files(group, tenant, file)), ";", end(group, tenant, template)].join(
            "\n",
        );
    const alone = async (tenant: string, done: number) => {
        let doing = `CREATE SCHEMA ${tenant}`;
        try {
            await session.query(`BEGIN;\n${begin(tenant)}`);
            for (const file of template) {
                doing = file.path;
                await session.query(files(group, tenant, file));
            }
            doing = "its rights and its row in the ledger";
            await session.query(`${end(group, tenant, template)}\nCOMMIT`);
        } catch (error) {
            await session.query("ROLLBACK").catch(() => undefined);
            throw new Error(
                `${tenant}: its schema could not be made, at ${doing}\n${said(error)}\n` +
                    `Nothing of ${tenant} was kept. ${done} of ${tenants.length} schemas were made before and stay. Remove the cause that the database names, then run pulumi up again.`,
            );
        }
    };
    await inBatches(
        tenants,
        BATCH,
        (batch) => transaction(session, batch.map(whole).join("\n")),
        alone,
        (done) => {
            context.alive();
            if (done > 0) context.progress(`created ${done} of ${tenants.length} schemas`);
        },
    );
    await session.query(FRESH);
}

/** Schemas of tenants. */
export const schemas: Facet<FoundSchemas> = {
    name: "schemas",
    none: { schemas: {}, ledger: {}, others: {} },
    sql: (_group, { ledger }) => `SELECT jsonb_build_object(
        'schemas', coalesce((SELECT jsonb_object_agg(n.nspname, s.schemaid IS NOT NULL)
                               FROM pg_namespace n LEFT JOIN pg_dist_schema s ON s.schemaid = n.oid
                              WHERE $2::jsonb -> 'tenants' ? n.nspname), '{}'),
        'ledger', ${ledger ? "coalesce((SELECT jsonb_object_agg(tenant, state) FROM citus_as_code.tenant WHERE grp = $1), '{}')" : "'{}'::jsonb"},
        'others', ${
            ledger
                ? `coalesce((SELECT jsonb_object_agg(tenant, grp) FROM citus_as_code.tenant
                              WHERE grp <> $1 AND model = 'schema' AND $2::jsonb -> 'tenants' ? tenant), '{}')`
                : "'{}'::jsonb"
        })`,
    plan: planSchemas,
    run: { create },
};
