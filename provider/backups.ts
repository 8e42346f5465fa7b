/** Archive and backups of a living cluster, looked at and never changed. */

import type { BackupsInputs } from "../components/resources/backups.ts";
import { archiveProblems, readArchive } from "../core/citus/health/archive.ts";
import { ANSWERS_WITHIN } from "../core/citus/silent.ts";
import { withSession } from "../core/reach/session.ts";
import { comparable, silentNodes, unknown } from "./coordinator.ts";
import { note, warn } from "./engine.ts";

/** Below 14.0 the locks of a restore point are taken on the coordinator only. */
export function writersMustUseCoordinator(citus: string): boolean {
    return Number(citus.split(".")[0]) < 14;
}

function sayVersion(inputs: BackupsInputs): void {
    if (inputs.citus !== "" && !unknown(inputs.citus) && writersMustUseCoordinator(inputs.citus)) {
        note(
            inputs.self,
            `Citus ${inputs.citus} is older than 14.0: a restore point is one moment of the cluster only if every write enters through the coordinator`,
        );
    }
}

async function look(inputs: BackupsInputs): Promise<void> {
    const { coordinator } = inputs;
    const health = await withSession(
        coordinator,
        "coordinator",
        (session) => readArchive(session, silentNodes(coordinator)),
        { timeout: ANSWERS_WITHIN, nodeTimeout: ANSWERS_WITHIN },
    ).catch(
        // a node that does not answer is said by the placement
        () => undefined,
    );
    const problems = health ? archiveProblems(health) : [];
    if (problems.length > 0) warn(inputs.self, problems.join("\n"));
}

export async function create(inputs: BackupsInputs) {
    sayVersion(inputs);
    return { id: "backups", outs: inputs };
}

export async function update(_id: string, _olds: BackupsInputs, news: BackupsInputs) {
    return { outs: news };
}

export async function diff(_id: string, olds: BackupsInputs, news: BackupsInputs) {
    if (unknown(news.coordinator)) return { changes: true };
    sayVersion(news);
    await look(news);
    return { changes: comparable(olds) !== comparable(news) };
}

export async function read(id: string, props: BackupsInputs) {
    return { id, props };
}

/** The repository has its own resource. */
export async function remove() {}
