/** A person's word that a change may go on to the next wave of a group's tenants. */

import type { Session } from "../../reach/session.ts";
import { readGroup } from "../group/converge.ts";
import type { GroupSpec } from "../group/spec.ts";
import { makeLedger } from "../ledger/schema.ts";
import { type FoundMigrations, migrations, stopsOf } from "./migrations.ts";

/**
 * Approves what waits for it now, with the content that it has.
 * @param by who says so
 * @returns what was approved, a line each
 * @throws Error when nothing waits for approval
 */
export async function approve(session: Session, group: GroupSpec, by: string): Promise<string[]> {
    await makeLedger(session);
    const found = await readGroup(session, group, [migrations], "");
    const stops = stopsOf(group, found.migrations as FoundMigrations | undefined);
    const waiting = stops.filter((stop) => stop.waiting.for === "approval");
    if (waiting.length === 0) {
        const why = group.rollout.approve
            ? "No file has reached a wave of its tenants and not the next."
            : "The group does not ask for it (rollout.approve).";
        throw new Error(`Nothing of ${group.name} waits for approval. ${why}`);
    }
    const sha256 = new Map(group.template.map((file) => [file.path, file.sha256]));
    await session.query(
        `INSERT INTO citus_as_code.tenant_approval (grp, path, sha256, wave, approved_by)
         SELECT $1, path, sha256, wave, $5 FROM unnest($2::text[], $3::text[], $4::text[]) AS a (path, sha256, wave)
         ON CONFLICT DO NOTHING`,
        [
            group.name,
            waiting.map(({ path }) => path),
            waiting.map(({ path }) => sha256.get(path) ?? ""),
            waiting.map(({ wave }) => wave),
            by,
        ],
    );
    return waiting.map(({ path, wave }) => `${path} may reach the ${wave} of ${group.name}: run pulumi up`);
}
