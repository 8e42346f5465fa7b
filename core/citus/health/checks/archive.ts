/** Whether what was written can be restored. */
import { archiveFindings } from "../read/archive.ts";
import type { HealthCheck } from "./check.ts";

const POINTS = "restore-point";

/** A node that answers, and of which nothing was heard. */
const silent: HealthCheck["silent"] = ({ nodes, archive }) =>
    nodes
        .filter(({ name, state }) => state === "ready" && !archive.nodes.some(({ node }) => node === name))
        .map(({ name }) => name);

export const archive: HealthCheck = {
    id: "archive",
    title: "each node's WAL reaches the repository, and its backups are made",
    asks: "health",
    silent,
    judge: ({ archive: health }) => archiveFindings(health).filter(({ check }) => check !== POINTS),
};

export const restorePoint: HealthCheck = {
    id: POINTS,
    title: "there is a restore point that is recent and can be restored",
    asks: "health",
    silent,
    judge: ({ archive: health }) => archiveFindings(health).filter(({ check }) => check === POINTS),
};
