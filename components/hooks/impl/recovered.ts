/** A restored cluster, once all its nodes run. */
import {
    differencesFrom,
    differingMetadata,
    readTables,
    resolvePrepared,
    resumeRepairs,
    unreachablePairs,
} from "../../citus/recover.ts";
import { connect, type Session } from "../../citus/session.ts";
import type { RestorePoint } from "../../restore/points.ts";
import { runScript } from "../../shell.ts";
import type { RecoveredInputs } from "../recovered.ts";
import { note, progress, warn } from "./engine.ts";

const PATIENCE = 60_000;

async function prove(inputs: RecoveredInputs): Promise<void> {
    const report = progress(inputs.self);
    const point = JSON.parse(inputs.manifest) as RestorePoint;
    const sessions: Session[] = [];
    try {
        for (const node of inputs.nodes) sessions.push(await connect(node.access, node.name, { patience: PATIENCE }));
        const [coordinator] = sessions;
        if (!coordinator) return;
        report("resolving prepared transactions");
        const { resolved, own } = await resolvePrepared(sessions);
        if (own.length > 0)
            warn(
                inputs.self,
                `transactions that were prepared by hand before the restore point are still open: ${own.join(", ")}. End each with COMMIT PREPARED or ROLLBACK PREPARED.`,
            );
        report("comparing metadata");
        const tables = inputs.partial ? { unreadable: [], empty: [] } : await readTables(point, coordinator);
        const wrong = [
            ...(await differingMetadata(sessions)).map((node) => `${node}'s metadata differs from the coordinator's`),
            ...(await unreachablePairs(coordinator)),
            ...(inputs.partial ? [] : await differencesFrom(point, coordinator)),
            ...tables.unreadable,
        ];
        if (wrong.length > 0) {
            throw new Error(
                [
                    `The cluster was restored to ${point.name} and is not whole:`,
                    ...wrong.map((line) => `  ${line}`),
                    "Citus' own repairs stay off. Run pulumi up again, which is safe to repeat, or restore to an earlier point (npm run backups lists them).",
                ].join("\n"),
            );
        }
        if (tables.empty.length > 0)
            warn(
                inputs.self,
                `${tables.empty.join(", and ")}. This is right if the rows were deleted shortly before the restore point; otherwise restore to an earlier one.`,
            );
        await Promise.all(sessions.map(resumeRepairs));
        note(
            inputs.self,
            `whole: ${point.tables.length === 1 ? "1 table" : `${point.tables.length} tables`} on ${sessions.length} nodes; ${resolved === 0 ? "no transaction was" : resolved === 1 ? "1 transaction was" : `${resolved} transactions were`} between the two phases of a commit`,
        );
    } finally {
        for (const session of sessions) await session.close().catch(() => undefined);
    }
}

/** A restored cluster is on a timeline of its own, so its backups begin anew. */
async function firstBackup(inputs: RecoveredInputs): Promise<void> {
    const report = progress(inputs.self);
    report("making a first backup of every node");
    const results = await Promise.all(
        inputs.nodes.map(async (node) => ({
            name: node.name,
            ...(await runScript(node.shell, ["backup.sh", "full", "keep"])),
        })),
    );
    const bad = results.filter((result) => result.code !== 0).map(({ name, stderr }) => `${name}: ${stderr.trim()}`);
    const coordinator = inputs.nodes[0];
    if (bad.length === 0 && coordinator) {
        report("taking a first restore point");
        const point = await runScript(coordinator.shell, ["restore-point.sh"]);
        if (point.code !== 0) bad.push(`coordinator: ${point.stderr.trim()}`);
    }
    if (bad.length > 0) {
        warn(
            inputs.self,
            [
                "the cluster is restored, but it has no backup of its own yet:",
                ...bad,
                "Its nodes try again every minute. npm run status shows the result.",
            ].join("\n  "),
        );
    }
}

/** The restore is in Pulumi's state now: from here on the same request starts a new restore and does not resume this one. */
async function accept(inputs: RecoveredInputs): Promise<void> {
    await Promise.all(inputs.nodes.map((node) => runScript(node.shell, ["accept.sh"])));
}

async function recover(inputs: RecoveredInputs): Promise<RecoveredInputs> {
    await accept(inputs);
    await prove(inputs);
    if (inputs.backups) await firstBackup(inputs);
    return inputs;
}

export async function create(inputs: RecoveredInputs) {
    return { id: "recovered", outs: await recover(inputs) };
}

export async function update(_id: string, olds: RecoveredInputs, news: RecoveredInputs) {
    return { outs: olds.restoreId === news.restoreId ? news : await recover(news) };
}

export async function diff(_id: string, olds: RecoveredInputs, news: RecoveredInputs) {
    return { changes: olds.restoreId !== news.restoreId };
}

export async function read(id: string, props: RecoveredInputs) {
    return { id, props };
}

/** Nothing to undo. */
export async function remove() {}
