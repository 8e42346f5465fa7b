/** Carries out what a finding says mends it. Each step is safe to repeat. */
import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { readNodes } from "../catalog.ts";
import { keepIdsApart } from "../sequences.ts";
import type { Finding, Fix } from "./read/finding.ts";

/** What it runs, for a person, one line each. Pure. */
export const describeFix = (fix: Fix): string[] =>
    fix.kind === "sql"
        ? fix.statements.map((statement) => `on ${fix.node}: ${statement}`)
        : [
              `on coordinator: SELECT citus_activate_node(nodename, nodeport) FROM pg_dist_node, for ${fix.node}: Citus sends it the metadata again`,
              `on ${fix.node}: setval of each sequence past every id of its range that is in use`,
          ];

/** Findings of a check that can be mended, each thing once. Pure. */
export function fixesOf(findings: readonly Finding[], check: string): Fix[] {
    const found = findings.flatMap((finding) => (finding.check === check && finding.fix ? [finding.fix] : []));
    const keys = found.map((fix) => JSON.stringify(fix));
    return found.filter((_, i) => keys.indexOf(keys[i] ?? "") === i);
}

/** @throws DatabaseError naming the node and what the database said; what ran before it stays done */
export async function runFix(
    fix: Fix,
    coordinator: Session,
    open: (node: string) => Promise<Session | Error>,
): Promise<void> {
    const session = await open(fix.node);
    if (session instanceof Error) throw new Error(`${fix.node} can't be mended: ${session.message}`);
    if (fix.kind === "sql") {
        for (const statement of fix.statements) await session.query(statement);
        return;
    }
    const node = (await readNodes(coordinator)).find(({ host, groupId }) => groupId !== 0 && nodeOf(host) === fix.node);
    if (node === undefined) throw new Error(`${fix.node} is not registered. Nothing was changed: npm run pulumi -- up`);
    await keepIdsApart(coordinator, session, node.groupId, () =>
        coordinator.query("SELECT citus_activate_node($1, $2)", [node.host, node.port]),
    );
}
