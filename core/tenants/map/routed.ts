/** Tenants on servers that are not this cluster's: entries of the shard map, and nothing else. */

import { joinNames } from "../../util/joinNames.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { buryRouted, enterRouted } from "../ledger/tenants.ts";

interface Entry {
    readonly host: string;
    readonly port: number;
    readonly database: string;
}

interface Found {
    /** By tenant. */
    readonly entries: Readonly<Record<string, Entry>>;
    /** Tenants of the group that the ledger has under other models. */
    readonly others: Readonly<Record<string, string>>;
}

const place = ({ host, port, database }: Entry) => `${host}:${port}/${database}`;

function plan(group: GroupSpec, { entries: found, others }: Found): Planned {
    const strangers = Object.entries(others);
    if (strangers.length > 0)
        return {
            steps: [],
            refusals: [
                `group ${group.name} is of model ${strangers[0]?.[1]}, and ${strangers.length} of its tenants are in this cluster (${strangers
                    .slice(0, 5)
                    .map(([tenant]) => tenant)
                    .join(
                        ", ",
                    )}): a group can't become routed. Put model back, and route tenants in a group of another name.`,
            ],
        };
    const add: Step[] = [];
    const change: Step[] = [];
    for (const [tenant, { host = "", port = 5432, database = tenant }] of Object.entries(group.tenants)) {
        const entry: Entry = { host, port, database };
        const has = Object.hasOwn(found, tenant) ? found[tenant] : undefined;
        if (has === undefined)
            add.push({ kind: "routed.set", tenant, text: `${tenant}: routed to ${place(entry)}`, detail: entry });
        else if (place(has) !== place(entry))
            change.push({
                kind: "routed.set",
                tenant,
                text: `${tenant}: routed to ${place(entry)} instead of ${place(has)}; no data is moved`,
                detail: entry,
            });
    }
    const remove = group.delete
        .filter((tenant) => Object.hasOwn(found, tenant))
        .map(
            (tenant): Step => ({
                kind: "routed.remove",
                tenant,
                text: `${tenant}: its entry is removed; its data at ${place(found[tenant] as Entry)} is not touched`,
            }),
        );
    const left = Object.keys(found).filter(
        (tenant) => !Object.hasOwn(group.tenants, tenant) && !group.delete.includes(tenant),
    );
    return {
        steps: [...add, ...change, ...remove],
        notes:
            left.length === 0
                ? []
                : [
                      `group ${group.name}: ${joinNames(left)} ${left.length === 1 ? "is" : "are"} not in the program and stay in the shard map; the state deleted removes a tenant from it`,
                  ],
    };
}

async function set({ group, session }: Context, steps: readonly Step[]): Promise<void> {
    const tenants = steps.map(({ tenant }) => tenant);
    const details = steps.map(({ detail }) => JSON.stringify(detail));
    await enterRouted(session, group.name, tenants, details);
}

async function remove({ group, session }: Context, steps: readonly Step[]): Promise<void> {
    await buryRouted(
        session,
        group.name,
        steps.map(({ tenant }) => tenant),
    );
}

export const routed: Facet<Found> = {
    name: "routed",
    sql: (_group, probe) =>
        probe.ledger
            ? `SELECT jsonb_build_object(
                 'entries', coalesce(jsonb_object_agg(t.tenant, t.detail) FILTER (WHERE t.model = 'routed'), '{}'),
                 'others', coalesce(jsonb_object_agg(t.tenant, t.model) FILTER (WHERE t.model <> 'routed'), '{}'))
                 FROM citus_as_code.tenant t WHERE t.grp = $1`
            : undefined,
    none: { entries: {}, others: {} },
    plan,
    run: { set, remove },
};
