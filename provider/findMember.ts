/** A node that is registered already, found by its host. */
import { readFileSync } from "node:fs";
import { type NodeRow, readNodes } from "../core/citus/catalog.ts";
import type { DirectAccess } from "../core/node/reach.ts";
import { COORDINATOR } from "../core/node/topology.ts";
import { withSession } from "../core/reach/session.ts";

/** What an import is told the coordinator by: it is given nothing but an id. */
const VARIABLE = "CITUS_COORDINATOR";

/**
 * How the coordinator is reached, from the stack's output `connectionString`.
 * @throws Error saying how it is set
 */
export function accessFrom(connectionString: string | undefined, host: string): DirectAccess {
    const url = connectionString && URL.canParse(connectionString) ? new URL(connectionString) : undefined;
    const ca = url?.searchParams.get("sslrootcert");
    if (!url || !ca)
        throw new Error(
            `To import ${host}, its coordinator has to be reached, and ${VARIABLE} is ${url || connectionString ? "no connection string that names a CA's file (sslrootcert)" : "not set"}.\n` +
                "Nothing was imported. Set it in this shell, then run pulumi import again:\n" +
                `  export ${VARIABLE}="$(pulumi stack output connectionString --show-secrets)"`,
        );
    return {
        host: url.hostname,
        port: Number(url.port || 5432),
        serverName: url.hostname,
        ca: readFileSync(ca, "utf8"),
        user: decodeURIComponent(url.username),
        password: decodeURIComponent(url.password),
        database: decodeURIComponent(url.pathname.slice(1)),
    };
}

/** A node by the host that it is registered under, and how its coordinator was reached; undefined when there is none. */
export async function findMember(host: string): Promise<{ coordinator: DirectAccess; row: NodeRow } | undefined> {
    const coordinator = accessFrom(process.env[VARIABLE], host);
    const row = await withSession(coordinator, COORDINATOR, async (session) =>
        (await readNodes(session)).find((node) => node.host === host),
    );
    return row && { coordinator, row };
}
