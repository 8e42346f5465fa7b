/** Connections to PostgreSQL where there is no port to reach. */
import type { Duplex } from "node:stream";
import type { SsmShell } from "../node/reach.ts";

/** @returns a stream that speaks PostgreSQL's protocol with the node's own socket, as the operating system's user postgres */
export async function openTunnel(shell: SsmShell): Promise<Duplex> {
    const { openRelay } = await import("./aws/ssm.ts");
    return openRelay(shell);
}
