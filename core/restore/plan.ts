/** From a restore point to what each node of a stack has to do, or every reason why not. Pure. */
import { describeAge } from "../util/age.ts";
import { type Contents, choosePoint, type PointNode, type RestorePoint } from "./points.ts";

/** A node of the stack that is restored into. */
export interface TargetNode {
    readonly name: string;
    readonly role: "coordinator" | "worker";
    readonly host: string;
    readonly port: number;
}

export interface RestoreRequest {
    /** The cluster whose points are meant. @default the only one in the repository */
    readonly cluster?: string;
    readonly point: string;
    readonly onlyWorker?: string;
    readonly database: string;
    readonly nodes: readonly TargetNode[];
}

export interface PlannedNode extends TargetNode {
    readonly from: PointNode;
}

export interface RestorePlan {
    readonly point: RestorePoint;
    /** How much earlier than the asked moment, in milliseconds. */
    readonly before?: number;
    /** How many newer points could not be restored, when the latest was asked for. */
    readonly passedOver?: number;
    /** To the end of its archive instead of the point: one worker alone. */
    readonly toTheEnd: boolean;
    /** Every node of the stack, by group; of a rebuild only the one. */
    readonly nodes: readonly PlannedNode[];
    /** The nodes whose data is restored; all but in a rebuild of one worker. */
    readonly restored: readonly PlannedNode[];
    /** Workers of the stack that the point does not have: their data is put aside, and they join the restored cluster empty. */
    readonly surplus: readonly TargetNode[];
}

const count = (n: number) => (n === 1 ? "1 worker" : `${n} workers`);

/** `14.0-1` or `14.0.1` as `14.0`. */
const minor = (version: string) => /^[0-9]+\.[0-9]+/.exec(version)?.[0] ?? version;
const major = (version: string) => version.split(".")[0];

/** The cluster whose restore points are meant. */
function clusterOf(request: RestoreRequest, contents: Contents): { cluster: string } | { refusal: string } {
    const clusters = [
        ...new Set([...Object.keys(contents.listed ?? {}), ...contents.points.map((p) => p.cluster)]),
    ].sort();
    if (request.cluster !== undefined) {
        if (clusters.length > 0 && !clusters.includes(request.cluster)) {
            return {
                refusal: `the repository has no restore point of ${request.cluster}; it has ${clusters.join(", ")} (citus:restoreFrom.cluster)`,
            };
        }
        return { cluster: request.cluster };
    }
    if (clusters.length > 1) {
        return { refusal: `the repository holds ${clusters.join(", ")}: say which with citus:restoreFrom.cluster` };
    }
    return { cluster: clusters[0] ?? "" };
}

/** What is wrong with a repository as such: not readable, another passphrase. */
export function repositoryTrouble(contents: Contents): string[] {
    const why: string[] = [];
    for (const stanza of contents.stanzas) {
        const said = stanza.repo?.find((repo) => repo.status.code === 99)?.status.message;
        if (said === undefined) continue;
        why.push(
            /FormatError|CryptoError|unable to flush|cipher/i.test(said)
                ? `${stanza.name}: its list of backups can't be read with this passphrase (citus:restorePassphrase, else citus:backupPassphrase)`
                : `${stanza.name}: ${said.split("\n")[0]}`,
        );
    }
    return why;
}

/** The plan, or every reason why there is none. Nothing is touched before there is a plan. */
export function planRestore(request: RestoreRequest, contents: Contents): Planned {
    const trouble = repositoryTrouble(contents);
    if (trouble.length > 0) return { refusals: trouble };
    const found = clusterOf(request, contents);
    if ("refusal" in found) return { refusals: [found.refusal] };
    const own: Contents = { ...contents, points: contents.points.filter((p) => p.cluster === found.cluster) };
    return request.onlyWorker === undefined
        ? planCluster(request, own)
        : planRebuild({ ...request, onlyWorker: request.onlyWorker }, own);
}

type Planned = { readonly plan: RestorePlan } | { readonly refusals: readonly string[] };

/** What keeps any node of a point from running in this stack. */
function misfits(request: RestoreRequest, contents: Contents, point: RestorePoint): string[] {
    const { versions } = contents;
    const why: string[] = [];
    if (point.database !== request.database) {
        why.push(
            `${point.name} has the database ${point.database}, this stack ${request.database}: set citus:database to ${point.database}`,
        );
    }
    if (versions && minor(versions.citus) !== minor(point.citus)) {
        why.push(
            `${point.name} has Citus ${point.citus}, this stack's image ${versions.citus}: restore with the same (citus:citusVersion ${point.citus}), upgrade afterwards`,
        );
    }
    if (versions && major(versions.postgres) !== major(point.postgres)) {
        why.push(
            `${point.name} has PostgreSQL ${point.postgres}, this stack's image ${versions.postgres}: restore with the same, upgrade afterwards`,
        );
    }
    return why;
}

/** One worker to the end of its archive: known by its name, for its stanza has no other. What the other nodes have does not matter. */
function planRebuild(request: RestoreRequest & { readonly onlyWorker: string }, contents: Contents): Planned {
    const name = request.onlyWorker;
    const targets = request.nodes.filter((node) => node.role === "worker");
    const target = targets.find((node) => node.name === name);
    if (!target) {
        return {
            refusals: [`there is no ${name}; this stack has ${targets.map((t) => t.name).join(", ") || "no worker"}`],
        };
    }
    const found = [...contents.points]
        .sort((a, b) => (a.time < b.time ? 1 : -1))
        .flatMap((point) => point.nodes.map((from) => ({ point, from })))
        .find(({ from }) => from.node === name);
    if (!found) return { refusals: [`no restore point has ${name}, so it is not known what to rebuild it from`] };
    const { point, from } = found;
    const refusals = misfits(request, contents, point);
    if (refusals.length > 0) return { refusals };
    const only = [{ ...target, from }];
    return { plan: { point, nodes: only, restored: only, surplus: [], toTheEnd: true } };
}

function planCluster(request: RestoreRequest, contents: Contents): Planned {
    const choice = choosePoint(request.point, contents);
    if ("refusal" in choice) return { refusals: [choice.refusal] };
    const { point } = choice;
    const workers = point.nodes.filter((node) => node.groupId !== 0).sort((a, b) => a.groupId - b.groupId);
    const targets = request.nodes.filter((node) => node.role === "worker");
    const refusals = misfits(request, contents, point);
    if (workers.length > targets.length) {
        refusals.unshift(
            `${point.name} has ${count(workers.length)} (${workers.map((w) => `${w.node} is group ${w.groupId}`).join(", ")}), this stack has ${targets.length}: ` +
                `set citus:workers to ${workers.length}. The cluster can shrink once it is restored`,
        );
    }
    if (refusals.length > 0) return { refusals };
    const coordinator = request.nodes.find((node) => node.role === "coordinator");
    const from = point.nodes.find((node) => node.groupId === 0);
    if (!coordinator || !from) return { refusals: [`${point.name} has no coordinator`] };
    // the same worker where it still has its name, so that a restore in place changes no volume's owner
    const nodes: PlannedNode[] = [{ ...coordinator, from }, ...pair(targets, workers)];
    return {
        plan: {
            point,
            ...(choice.before === undefined ? {} : { before: choice.before }),
            ...(choice.passedOver === undefined ? {} : { passedOver: choice.passedOver }),
            nodes,
            restored: nodes,
            surplus: targets.filter((target) => nodes.every(({ name }) => name !== target.name)),
            toTheEnd: false,
        },
    };
}

/** Each group with a target: by name where every group's name is there, by order otherwise. */
function pair(targets: readonly TargetNode[], groups: readonly PointNode[]): PlannedNode[] {
    const byName = groups.every(({ node }) => targets.some(({ name }) => name === node));
    return targets.flatMap((target, i) => {
        const from = byName ? groups.find(({ node }) => node === target.name) : groups[i];
        return from === undefined ? [] : [{ ...target, from }];
    });
}

const namesOf = (nodes: readonly TargetNode[]) => nodes.map(({ name }) => name).join(", ");

/** The plan in a line, for preview. */
export function describePlan(plan: RestorePlan): string {
    const { point } = plan;
    const bytes = plan.restored.reduce((sum, node) => sum + Number(node.from.bytes), 0);
    const size = `${(bytes / 1e9).toFixed(2)} GB`;
    if (plan.toTheEnd) {
        const names = plan.restored.map((node) => node.name).join(", ");
        return `rebuilds ${names} alone to the end of its archive, ${size}; transactions that touched other nodes may be split`;
    }
    const snapped =
        plan.before !== undefined && plan.before > 0
            ? `, the last point before it (${describeAge(plan.before / 1000)})`
            : "";
    const pairs = plan.restored
        .filter((node) => node.name !== node.from.node)
        .map((node) => `${node.from.node} → ${node.name}`);
    return [
        `restores ${point.cluster} to ${point.name} of ${point.time}${snapped}: ${plan.restored.length} ${plan.restored.length === 1 ? "node" : "nodes"}, ${size}`,
        ...(plan.passedOver ? [`${plan.passedOver} newer can't be restored (npm run backups says why)`] : []),
        ...(pairs.length > 0 ? [pairs.join(", ")] : []),
        ...(plan.surplus.length > 0
            ? [
                  `the point does not have ${namesOf(plan.surplus)}: ${plan.surplus.length === 1 ? "it joins" : "they join"} the restored cluster empty`,
              ]
            : []),
        ...(point.writesEnterAnywhere
            ? []
            : [
                  `Citus ${point.citus} is older than 14.0: this point is one moment of the cluster only if every write entered through the coordinator`,
              ]),
    ].join("; ");
}
