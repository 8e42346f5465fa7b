/** A restored cluster, once all its nodes run. */

import {
    differencesFrom,
    differingMetadata,
    readTables,
    resolvePrepared,
    restoredOnes,
    resumeRepairs,
    unreachablePairs,
} from "../core/citus/recover.ts";
import type { Access, Shell } from "../core/node/reach.ts";
import { runScript } from "../core/reach/run.ts";
import { connect, type Session } from "../core/reach/session.ts";
import type { RestorePoint } from "../core/restore/points.ts";
import type { Ask, ResourceKind } from "./kind.ts";

export interface RecoveredNode {
    name: string;
    access: Access;
    shell: Shell;
}

/** What is checked after a restore, as plain values. */
export interface RecoveredInputs {
    /** Another one for each restore. */
    restoreId: string;
    /** The restore point's manifest, as JSON. */
    manifest: string;
    /** A single worker was rebuilt: the manifest's numbers do not hold. */
    partial: boolean;
    /** The coordinator first. */
    nodes: RecoveredNode[];
    /** Whether a first backup and restore point are made. */
    backups: boolean;
}

const PATIENCE = 60_000;

/** How a person reaches the coordinator before the stack has outputs, where there is a command for it. Pure. */
function wayIn({ shell, access }: RecoveredNode): string {
    return shell.kind === "docker" ? ` (docker exec -it ${shell.container} psql ${access.database})` : "";
}

/** What a cluster that could not be proved whole is told with: what is true, and each way on. Pure. */
export function notProved(coordinator: RecoveredNode, point: string, what: string, why: readonly string[]): Error {
    return new Error(
        [
            `The cluster was restored to ${point}, and ${what}:`,
            ...why.flatMap((text) => text.split("\n")).map((line) => `  ${line}`),
            "Its data is in place, its nodes run, and Citus' own repairs are off on them until this is settled. There are three ways on:",
            `  Mend what is named${wayIn(coordinator)}, then run pulumi up: it looks again, and switches the repairs on.`,
            "  Restore to an earlier point (npm run backups lists them):",
            "    pulumi config set --path citus:restoreFrom.point NAME",
            "    pulumi config set --path citus:restoreFrom.overwrite true",
            "  Keep the cluster, without the tables that can't be mended (DROP TABLE). Then nothing looks again, and pulumi up switches the repairs on:",
            "    pulumi config rm citus:restoreFrom",
        ].join("\n"),
    );
}

async function prove(ask: Ask, inputs: RecoveredInputs): Promise<void> {
    const report = ask.progress;
    const point = JSON.parse(inputs.manifest) as RestorePoint;
    const all: Session[] = [];
    const notWhole = (what: string, why: readonly string[]) =>
        notProved(inputs.nodes[0] as RecoveredNode, point.name, what, why);
    try {
        for (const node of inputs.nodes)
            all.push(
                await connect(node.access, node.name, { patience: PATIENCE }).catch((error: Error) => {
                    throw notWhole("a node does not answer, so it is not known whether it is whole", [error.message]);
                }),
            );
        const sessions = await restoredOnes(all);
        const [coordinator] = sessions;
        if (!coordinator) return;
        report("resolving prepared transactions");
        const { resolved, own } = await resolvePrepared(sessions).catch((error: Error) => {
            throw notWhole("its transactions did not end", [error.message]);
        });
        if (own.length > 0)
            ask.warn(
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
        if (wrong.length > 0) throw notWhole("it is not whole", wrong);
        if (tables.empty.length > 0)
            ask.warn(
                `${tables.empty.join(", and ")}. This is right if the rows were deleted shortly before the restore point; otherwise restore to an earlier one.`,
            );
        await Promise.all(sessions.map(resumeRepairs));
        ask.note(
            `whole: ${point.tables.length === 1 ? "1 table" : `${point.tables.length} tables`} on ${sessions.length} nodes; ${resolved === 0 ? "no transaction was" : resolved === 1 ? "1 transaction was" : `${resolved} transactions were`} between the two phases of a commit`,
        );
    } finally {
        for (const session of all) await session.close().catch(() => undefined);
    }
}

/** A restored cluster is on a timeline of its own, so its backups begin anew. */
async function firstBackup(ask: Ask, inputs: RecoveredInputs): Promise<void> {
    const report = ask.progress;
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
        ask.warn(
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
    await Promise.all(inputs.nodes.map((node) => runScript(node.shell, ["accept.sh", "plan"])));
}

async function recover(ask: Ask, inputs: RecoveredInputs): Promise<RecoveredInputs> {
    await accept(inputs);
    await prove(ask, inputs);
    if (inputs.backups) await firstBackup(ask, inputs);
    return inputs;
}

export class RecoveredKind implements ResourceKind<RecoveredInputs, RecoveredInputs> {
    readonly type = "citus-clusters:index:Recovered";
    readonly description = "A restored cluster that is proved whole.";
    readonly inputs = {
        restoreId: { type: "string", description: "Another one for each restore." },
        manifest: { type: "string", description: "The restore point's manifest, as JSON." },
        partial: { type: "boolean", description: "A single worker was rebuilt." },
        nodes: { type: "array", secret: true, description: "The coordinator first, and how each is reached." },
        backups: { type: "boolean", description: "Whether a first backup and restore point are made." },
    } as const;
    readonly outputs = {};

    async create(ask: Ask, inputs: RecoveredInputs) {
        return { id: "recovered", outs: await recover(ask, inputs) };
    }

    async update(ask: Ask, _id: string, olds: RecoveredInputs, news: RecoveredInputs) {
        return { outs: olds.restoreId === news.restoreId ? news : await recover(ask, news) };
    }

    async diff(_ask: Ask, _id: string, olds: RecoveredInputs, news: RecoveredInputs) {
        return { changes: olds.restoreId !== news.restoreId };
    }

    /** Nothing to undo. */
    async delete() {}
}
