/** The only writer of `citus_as_code.node_address`: where clients reach each node, for the shard map. */

import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";

interface Address {
    readonly name: string;
    readonly address: { readonly host: string; readonly port: number };
}

/** SQL: where the cluster's nodes are reached, and no others. */
export const publishAddresses = (
    nodes: readonly Address[],
) => `INSERT INTO citus_as_code.node_address (node, host, port) VALUES ${nodes
    .map(({ name, address }) => `(${literal(name)}, ${literal(address.host)}, ${Number(address.port)})`)
    .join(", ")}
            ON CONFLICT (node) DO UPDATE SET host = excluded.host, port = excluded.port;
        DELETE FROM citus_as_code.node_address WHERE node NOT IN (${nodes.map(({ name }) => literal(name)).join(", ")})`;

/** Where a node's pool of connections is reached. @param poolPort null when it has none */
export async function publishPool(
    session: Session,
    { name, address }: Address,
    poolPort: number | null,
): Promise<void> {
    await session.query(
        `INSERT INTO citus_as_code.node_address (node, host, port, pool_port) VALUES ($1, $2, $3, $4)
         ON CONFLICT (node) DO UPDATE SET pool_port = excluded.pool_port`,
        [name, address.host, address.port, poolPort],
    );
}
