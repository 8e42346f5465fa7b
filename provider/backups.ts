/** Archive and backups of a living cluster, looked at and never changed. */

import { archiveFindings, readArchive } from "../core/citus/health/read/archive.ts";
import { sentence } from "../core/citus/health/read/finding.ts";
import { ANSWERS_WITHIN } from "../core/citus/silent.ts";
import type { Access } from "../core/node/reach.ts";
import { withSession } from "../core/reach/session.ts";
import { comparable, silentNodes } from "./coordinator.ts";
import type { Ask, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

export interface BackupsInputs {
    coordinator: Access;
    /** Citus in full; empty when it is not known. */
    citus: string;
}

/** Below 14.0 the locks of a restore point are taken on the coordinator only. */
export function writersMustUseCoordinator(citus: string): boolean {
    return Number(citus.split(".")[0]) < 14;
}

function sayVersion(ask: Ask, inputs: BackupsInputs): void {
    if (inputs.citus !== "" && !unknown(inputs.citus) && writersMustUseCoordinator(inputs.citus)) {
        ask.note(
            `Citus ${inputs.citus} is older than 14.0: a restore point is one moment of the cluster only if every write enters through the coordinator`,
        );
    }
}

async function look(ask: Ask, { coordinator }: BackupsInputs): Promise<void> {
    const health = await withSession(
        coordinator,
        "coordinator",
        (session) => readArchive(session, silentNodes(coordinator)),
        { timeout: ANSWERS_WITHIN, nodeTimeout: ANSWERS_WITHIN },
    ).catch(
        // a node that does not answer is said by the placement
        () => undefined,
    );
    const problems = health ? archiveFindings(health).map(sentence) : [];
    if (problems.length > 0) ask.warn(problems.join("\n"));
}

export class BackupsKind implements ResourceKind<BackupsInputs, BackupsInputs> {
    readonly type = "citus-clusters:index:Backups";
    readonly description = "Looks whether the cluster's archive and backups are well, and changes nothing.";
    readonly inputs = {
        coordinator: { type: "object", secret: true, description: "How the coordinator is reached." },
        citus: { type: "string", description: "Citus in full, such as 14.1.0." },
    } as const;
    readonly outputs = {};

    async create(ask: Ask, inputs: BackupsInputs) {
        sayVersion(ask, inputs);
        return { id: "backups", outs: inputs };
    }

    async update(_ask: Ask, _id: string, _olds: BackupsInputs, news: BackupsInputs) {
        return { outs: news };
    }

    async diff(ask: Ask, _id: string, olds: BackupsInputs, news: BackupsInputs) {
        if (unknown(news.coordinator)) return { changes: true };
        sayVersion(ask, news);
        await look(ask, news);
        return { changes: comparable(olds) !== comparable(news) };
    }

    /** The repository has its own resource. */
    async delete() {}
}
