/** A PgBouncer on each node, in front of all its databases, when a group wants one. */

import { createHash } from "node:crypto";
import { runScript } from "../../reach/run.ts";
import { onAllNodes } from "../databases/databases.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { publishPool } from "../ledger/addresses.ts";
import { POOL_FILE, renderPool } from "./poolConf.ts";

interface NodePool {
    /** Whether the node has the program at all. */
    readonly program: boolean;
    /** md5 of the configuration; null where there is none. */
    readonly conf: string | null;
    /** Groups that it was made for. */
    readonly groups: string | null;
    readonly clients: number;
    readonly limits: Readonly<Record<string, number>>;
}

export interface PoolFound {
    readonly nodes: readonly { readonly name: string; readonly pool: NodePool }[];
}

const POOL = `
SELECT jsonb_build_object('program', (pg_stat_file('/usr/sbin/pgbouncer', true)).size IS NOT NULL, 'conf', md5(f.conf),
    'groups', substring(f.conf FROM '(?n)^;; groups: (.*)$'),
    'clients', CASE WHEN current_setting('citus.max_client_connections')::int > 0 THEN current_setting('citus.max_client_connections')::int
                    ELSE current_setting('max_connections')::int END,
    'limits', (SELECT jsonb_object_agg(datname, datconnlimit) FROM pg_database WHERE NOT datistemplate AND datname !~ '^citus_as_code_'))
  FROM (SELECT pg_read_file('${POOL_FILE}', true) AS conf) f`;

/** Whether a group wants a pool: its own word, else what its model needs. */
export const wantsPool = (group: GroupSpec): boolean => group.pool ?? group.model === "database";

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

interface ConfigureDetail {
    readonly node: string;
    /** Undefined turns it off. */
    readonly conf?: string;
}

function plan(group: GroupSpec, found: PoolFound): Planned {
    const wanted = wantsPool(group);
    const without = found.nodes.filter(({ pool }) => !pool.program).map(({ name }) => name);
    if (wanted && without.length > 0) {
        const said = `${group.name}: there is no connection pool: ${without.join(", ")} ${without.length === 1 ? "has" : "have"} no PgBouncer (nodes on AWS have none).`;
        if (group.pool === true)
            return { steps: [], refusals: [`${said} Put a pool of your own in front of it, and set pool: false.`] };
        return { steps: [], notes: [said] };
    }
    const steps = found.nodes.flatMap(({ name, pool }): Step[] => {
        const before = (pool.groups ?? "").split(" ").filter((other) => other !== "");
        const groups = [...before.filter((other) => other !== group.name), ...(wanted ? [group.name] : [])];
        if (groups.length === 0) {
            if (pool.conf === null) return [];
            return [
                {
                    kind: "pool.configure",
                    text: `turn the connection pool of ${name} off: no group wants it any more`,
                    detail: { node: name } satisfies ConfigureDetail,
                },
            ];
        }
        const conf = renderPool({ groups, clients: pool.clients, limits: pool.limits });
        if (md5(conf) === pool.conf) return [];
        return [
            {
                kind: "pool.configure",
                text: `${pool.conf === null ? "start" : "reload"} the connection pool of ${name}`,
                detail: { node: name, conf } satisfies ConfigureDetail,
            },
        ];
    });
    return { steps };
}

async function configure(context: Context, steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
        context.alive();
        const { node, conf } = step.detail as ConfigureDetail;
        await publish(context, node, conf !== undefined);
        const result =
            conf === undefined
                ? await runScript(context.shell(node), ["pool.sh", "off"])
                : await runScript(context.shell(node), ["pool.sh", "on"], { files: { "pgbouncer.ini": conf } });
        if (result.code !== 0)
            throw new Error(
                `${node}: its connection pool could not be configured\n  ${result.stderr.trim()}\n` +
                    "Its PostgreSQL and all tenants are as they were. Remove the cause, then run pulumi up again: it is safe to repeat.",
            );
    }
}

/** Where clients reach it, for the shard map; before the pool itself, so that a killed run does not forget it. */
async function publish({ session, nodes }: Context, name: string, on: boolean): Promise<void> {
    const address = nodes.find((node) => node.name === name)?.address;
    if (!address) return;
    await publishPool(session, { name, address }, on ? (address.poolPort ?? null) : null);
}

export const pool: Facet<PoolFound> = {
    name: "pool",
    // a worker that leaves is registered until its machine goes, and is none of the program's any more
    sql: (
        _group,
        { ask },
    ) => `jsonb_build_object('nodes', (SELECT coalesce(jsonb_agg(n), '[]') FROM jsonb_array_elements(${onAllNodes(POOL, "pool", ask)}) n
        WHERE $4::jsonb = '[]' OR n -> 'name' IN (SELECT p -> 'name' FROM jsonb_array_elements($4::jsonb) p)))`,
    none: { nodes: [] },
    plan,
    run: { configure },
};
