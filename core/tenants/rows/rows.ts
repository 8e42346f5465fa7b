/** Tenants of models row and rls: the row of each in the anchor table, and what the ledger says of it. */

import { given } from "../../sql/given.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { databaseMessage, inBatches, transaction } from "../group/batch.ts";
import type { Context, Facet, Step } from "../group/facet.ts";
import type { GroupSpec, TenantSpec } from "../group/spec.ts";
import type { ServedState } from "../ledger/states.ts";
import { enterRows } from "../ledger/tenants.ts";
import { type FoundRows, keyColumn, planRows } from "./rowsPlan.ts";

const NOTHING: FoundRows = { states: {}, invalid: [], spelled: {}, same: [], columns: [], coming: [], leaving: [] };

const BATCH = 500;

const sqlValue = (value: string | number | boolean | null) => (value === null ? "NULL" : literal(String(value)));

interface Anchor {
    /** Whether its key alone is unique. */
    readonly unique: boolean;
    /** Columns that PostgreSQL numbers itself, and that a value is not taken for without saying so. */
    readonly always: readonly string[];
}

async function anchorOf({ group, session }: Context): Promise<Anchor> {
    const [anchor] = await session.query<Anchor>(
        `SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = $2 AND i.indkey::text = a.attnum::text
                         WHERE i.indrelid = $1::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL) AS unique,
                ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attidentity = 'a') AS always`,
        [qualified(group.anchor ?? ""), keyColumn(group)],
    );
    return anchor ?? { unique: false, always: [] };
}

/**
 * The rows of tenants with the same columns, in one statement each. A row that somebody put in meanwhile stays theirs. A value
 * that another column has already is an error, and not a tenant without a row.
 */
function insertRows(group: GroupSpec, tenants: readonly string[], { unique, always }: Anchor): string[] {
    const bySet = new Map<string, { columns: string[]; rows: string[] }>();
    for (const tenant of tenants) {
        const values: NonNullable<TenantSpec["values"]> = {
            ...group.tenants[tenant]?.values,
            [keyColumn(group)]: tenant,
        };
        const columns = Object.keys(values).sort();
        const key = columns.join("\0");
        const set = bySet.get(key) ?? { columns, rows: [] };
        set.rows.push(`(${columns.map((column) => sqlValue(values[column] ?? null)).join(", ")})`);
        bySet.set(key, set);
    }
    return [...bySet.values()].map(
        ({ columns, rows }) =>
            `INSERT INTO ${qualified(group.anchor ?? "")} (${columns.map(identifier).join(", ")})${columns.some((column) => always.includes(column)) ? " OVERRIDING SYSTEM VALUE" : ""} VALUES ${rows.join(", ")}${unique ? ` ON CONFLICT (${identifier(keyColumn(group))}) DO NOTHING` : ""};`,
    );
}

/** Which of these have their row by now. Others' writes may come in between: ON CONFLICT, and a batch's second try, are for those. */
async function presentRows({ group, session }: Context, tenants: readonly string[]): Promise<Set<string>> {
    const key = identifier(keyColumn(group));
    const found = await session.query<{ tenant: string }>(
        `SELECT ${key}::text AS tenant FROM ${qualified(group.anchor ?? "")} WHERE ${key} IN (${tenants.map(literal).join(", ")})`,
    );
    return new Set(found.map(({ tenant }) => tenant));
}

async function create(context: Context, steps: readonly Step[]): Promise<void> {
    const { group, session } = context;
    const stateOf = (tenant: string): [string, ServedState] => [
        tenant,
        group.tenants[tenant]?.frozen ? "frozen" : "active",
    ];
    const names = steps.map(({ tenant }) => tenant ?? "");
    const anchor = await anchorOf(context);
    const together = async (tenants: readonly string[]) => {
        const present = await presentRows(context, tenants);
        const missing = tenants.filter((tenant) => !present.has(tenant));
        await transaction(
            session,
            [...insertRows(group, missing, anchor), enterRows(group.name, group.model, tenants.map(stateOf))].join(
                "\n",
            ),
        );
    };
    await inBatches(
        names,
        BATCH,
        together,
        async (tenant, done) => {
            await together([tenant]).catch((error: unknown) => {
                throw new Error(
                    `${tenant}: its row could not be put into ${group.anchor}\n${databaseMessage(error)}\nNothing of it was changed, and it is no tenant yet. ${done} of ${names.length} tenants were made before it. Correct its values, then run pulumi up again.`,
                );
            });
        },
        (done) => {
            context.alive();
            if (names.length > BATCH) context.progress(`${done} of ${names.length} tenants have their row`);
        },
    );
    for (const { tenant, detail } of steps)
        if ((detail as { gone: boolean }).gone)
            context.warn(
                `${tenant}: its row in ${group.anchor} was deleted by hand and was put back. Its other rows may be gone too: compare with a backup.`,
            );
}

export const rows: Facet<FoundRows> = {
    name: "rows",
    reads: ["onboarding"],
    none: NOTHING,

    sql(group, probe) {
        const { anchor } = group;
        const ledger = probe.ledger
            ? `'states', (SELECT coalesce(jsonb_object_agg(tenant, state), '{}') FROM citus_as_code.tenant WHERE grp = $1),
               'coming', (SELECT coalesce(jsonb_agg(w.key), '[]') FROM jsonb_each((SELECT $2::jsonb -> 'tenants')) w WHERE w.value ? 'from' AND NOT EXISTS (
                            SELECT 1 FROM citus_as_code.tenant_change c WHERE c.grp = $1 AND c.tenant = w.key AND c.phase = 'done')),
               'leaving', (SELECT coalesce(jsonb_agg(c.from_tenant), '[]') FROM citus_as_code.tenant_change c WHERE c.from_grp = $1 AND c.phase <> 'done')`
            : `'states', '{}'::jsonb, 'leaving', '[]'::jsonb,
               'coming', (SELECT coalesce(jsonb_agg(w.key), '[]') FROM jsonb_each((SELECT $2::jsonb -> 'tenants')) w WHERE w.value ? 'from')`;
        if (anchor === undefined || !probe.tables.includes(anchor))
            return `SELECT jsonb_build_object('invalid', '[]'::jsonb, 'spelled', '{}'::jsonb, 'same', '[]'::jsonb, 'columns', '[]'::jsonb, ${ledger})`;
        const relation = given(qualified(anchor));
        const column = given(keyColumn(group));
        // in queries of their own, so that Citus plans them alone, and in hex, which XML leaves as it is
        const asked = (query: string, ...values: readonly string[]) =>
            `convert_from(decode((xpath('//x/text()', query_to_xml(format(${literal(query)}, ${values.join(", ")}), true, false, '')))[1]::text, 'hex'), 'UTF8')::jsonb`;
        const answer = (json: string) => `encode(convert_to(${json}::text, 'UTF8'), 'hex') AS x`;
        return `WITH key AS MATERIALIZED (SELECT format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute a
                WHERE a.attrelid = ${relation}::regclass AND a.attname = ${column} AND NOT a.attisdropped),
            wanted AS MATERIALIZED (SELECT k.tenant, key.type NOT LIKE '%[]' AND pg_input_is_valid(k.tenant, key.type) AS ok
                FROM jsonb_object_keys((SELECT $2::jsonb -> 'tenants')) AS k (tenant), key),
            valid AS MATERIALIZED (SELECT coalesce(array_agg(tenant), '{}') AS keys FROM wanted WHERE ok),
            there AS MATERIALIZED (SELECT CASE WHEN valid.keys = '{}' THEN '[]' ELSE ${asked(
                `SELECT ${answer("coalesce(jsonb_agg(%1$I::text), '[]')")} FROM %2$s WHERE %1$I = ANY (%3$L::%4$s[])`,
                column,
                relation,
                "valid.keys",
                "key.type",
            )} END AS stored FROM key, valid),
            spelled AS MATERIALIZED (SELECT CASE WHEN valid.keys = '{}' THEN '[]' ELSE ${asked(
                `SELECT ${answer("coalesce(jsonb_agg(jsonb_build_array(k.key, k.key::%1$s::text, s.text)), '[]')")} FROM unnest(%2$L::text[]) k (key)
                    LEFT JOIN (SELECT DISTINCT text FROM jsonb_array_elements_text(%3$L) AS j (text)) s ON s.text::%1$s = k.key::%1$s`,
                "key.type",
                "valid.keys",
                "there.stored",
            )} END AS list FROM key, valid, there),
            texts AS MATERIALIZED (SELECT t ->> 0 AS tenant, t ->> 1 AS written, t ->> 2 AS stored FROM spelled, jsonb_array_elements(spelled.list) t),
            same AS MATERIALIZED (SELECT CASE WHEN valid.keys = '{}' THEN '[]' ELSE ${asked(
                `SELECT ${answer("coalesce(jsonb_agg(g.keys), '[]')")} FROM (SELECT jsonb_agg(key ORDER BY key) AS keys FROM unnest(%2$L::text[]) k (key) GROUP BY key::%1$s HAVING count(*) > 1) g`,
                "key.type",
                "valid.keys",
            )} END AS list FROM key, valid)
            SELECT jsonb_build_object('type', (SELECT type FROM key),
                'present', (SELECT coalesce(jsonb_agg(tenant), '[]') FROM texts WHERE stored IS NOT NULL),
                'spelled', (SELECT coalesce(jsonb_object_agg(tenant, coalesce(stored, written)), '{}') FROM texts WHERE coalesce(stored, written) <> tenant),
                'same', coalesce((SELECT list FROM same), '[]'),
                'invalid', (SELECT coalesce(jsonb_agg(tenant), '[]') FROM wanted WHERE NOT ok),
                'columns', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.attname,
                        'required', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '')), '[]')
                    FROM pg_attribute a WHERE a.attrelid = ${relation}::regclass AND a.attnum > 0 AND NOT a.attisdropped), ${ledger})`;
    },

    plan: planRows,

    run: {
        create,

        state: async (context, steps) => {
            for (let done = 0; done < steps.length; done += BATCH) {
                context.alive();
                const batch = steps.slice(done, done + BATCH);
                await transaction(
                    context.session,
                    enterRows(
                        context.group.name,
                        context.group.model,
                        batch.map((step) => [step.tenant ?? "", step.detail as ServedState]),
                    ),
                );
            }
        },
    },
};
