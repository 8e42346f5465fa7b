/** The shard map: its function, the addresses that it tells, and who may read it. */

import { given } from "../../sql/given.ts";
import { identifier } from "../../sql/quote.ts";
import type { Context, Facet, NodeTarget, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { publishAddresses } from "../ledger/addresses.ts";
import { groupRoleNames } from "../roles/groupRoles.ts";
import { FOUND_HASH, SHARD_MAP, SHARD_MAP_HASH } from "./shardMap.ts";

interface Address {
    readonly node: string;
    readonly host: string;
    readonly port: number;
}

interface Found {
    /** MD5 of the functions' bodies; null when there are none. */
    readonly body: string | null;
    readonly addresses: readonly Address[];
    /** The cluster's nodes; empty when they are not known. */
    readonly nodes: readonly NodeTarget[];
    /** The group's roles that exist and may not read the map. */
    readonly shut: readonly string[];
}

const quoted = (names: readonly string[]) => names.map(given).join(", ");

function sql(group: GroupSpec, probe: { readonly ledger: boolean }): string | undefined {
    if (!probe.ledger) return undefined;
    return `SELECT jsonb_build_object(
        'body', ${FOUND_HASH},
        'addresses', (SELECT coalesce(jsonb_agg(jsonb_build_object('node', a.node, 'host', a.host, 'port', a.port)), '[]')
                        FROM citus_as_code.node_address a),
        'nodes', $4,
        'shut', (SELECT coalesce(jsonb_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r
                  WHERE r.rolname IN (${quoted(groupRoleNames(group))})
                    AND NOT (has_schema_privilege(r.oid, 'citus_as_code', 'USAGE')
                             AND coalesce(has_function_privilege(r.oid, to_regprocedure('citus_as_code.shard_map()'), 'EXECUTE'), false))))`;
}

function changedNodes({ nodes, addresses }: Found): { name: string; address?: Address }[] {
    if (nodes.length === 0) return [];
    const wanted = nodes.map(({ name, address }) => ({ node: name, host: address.host, port: address.port }));
    const changed = wanted.filter(
        (want) => !addresses.some((a) => a.node === want.node && a.host === want.host && a.port === want.port),
    );
    const gone = addresses.filter(({ node }) => !nodes.some(({ name }) => name === node));
    return [
        ...changed.map((address) => ({ name: address.node, address })),
        ...gone.map(({ node }) => ({ name: node })),
    ];
}

function plan(_group: GroupSpec, found: Found) {
    const steps: Step[] = [];
    const step = (text: string) => steps.push({ kind: "map.publish", text: `shard map: ${text}` });
    if (found.body === null) step("make citus_as_code.shard_map()");
    else if (found.body !== SHARD_MAP_HASH) step("renew citus_as_code.shard_map()");
    for (const { name, address } of changedNodes(found))
        step(address ? `${name} is reached at ${address.host}:${address.port}` : `${name} is gone`);
    for (const role of found.shut) step(`${role} may read it`);
    return { steps };
}

/** All of it in one transaction, whatever part was missing. */
async function publish({ group, nodes, session }: Context): Promise<void> {
    await session.query(`
        SET LOCAL citus.enable_ddl_propagation = off;
        ${SHARD_MAP}
        ${publishAddresses(nodes)}`);
    const roles = await session.query<{ name: string }>(
        "SELECT rolname AS name FROM pg_roles WHERE rolname = ANY ($1)",
        [groupRoleNames(group)],
    );
    if (roles.length === 0) return;
    const names = roles.map(({ name }) => identifier(name)).join(", ");
    await session.query(`
        SET LOCAL citus.enable_ddl_propagation = off;
        GRANT USAGE ON SCHEMA citus_as_code TO ${names};
        GRANT EXECUTE ON FUNCTION citus_as_code.shard_map() TO ${names}`);
}

export const map: Facet<Found> = {
    name: "map",
    sql,
    none: { body: null, addresses: [], nodes: [], shut: [] },
    plan,
    run: { publish },
};
