/** Restore points as the repository lists them: which one is meant, and whether it is provably restorable. Pure. */
import { parseTime } from "./request.ts";

/** One node of a restore point: what it is restored from. Written by scripts/node/point-manifest.sql. */
export interface PointNode {
    readonly groupId: number;
    readonly node: string;
    readonly host: string;
    readonly port: number;
    readonly holdsShards: boolean;
    readonly stanza: string;
    readonly timeline: number;
    readonly systemIdentifier: string;
    readonly lsn: string;
    /** Size of the node's database at the point. */
    readonly bytes: number;
    readonly postgres: string;
    /** Version of the extension, such as 14.0-1. */
    readonly citus: string;
    readonly firstSegment: string;
    readonly lastSegment: string;
    /** What the node's own clock showed just after its record of the point was written, in ISO 8601 and UTC. */
    readonly time: string;
    /** The .history file of its timeline; null on the first one. */
    readonly history: string | null;
    /** Number of shard placements on the node; null when it changed while the point was taken. */
    readonly placements: number | null;
    /** The backup it is restored from. */
    readonly label: string;
    readonly archiveId: string;
    readonly backupStart: string;
    readonly backupBytes: number;
    readonly backupTime: string;
}

export interface PointTable {
    readonly name: string;
    readonly method: string;
    /** A reference table. */
    readonly replicated: boolean;
    readonly shards: number;
    /** Estimated by the planner's statistics, as a power of ten; null when nothing is known. */
    readonly rows: number | null;
}

/** A moment that every node has in its WAL. */
export interface RestorePoint {
    readonly version: 1;
    readonly name: string;
    readonly cluster: string;
    readonly time: string;
    /** How long writers could have waited. */
    readonly pauseMilliseconds: number;
    readonly database: string;
    readonly postgres: string;
    readonly citus: string;
    /** False below Citus 14.0: then the point holds only when every write enters through the coordinator. */
    readonly writesEnterAnywhere: boolean;
    /** Local tables of the coordinator whose writers were not held, and who was in the way. @default none */
    readonly notHeld?: readonly { readonly name: string; readonly why: string }[];
    readonly nodes: readonly PointNode[];
    /** Only of a point that is about to be restored; a list of points has none. */
    readonly tables: readonly PointTable[];
}

/** How many points a cluster has, and the names of the first and the last. */
export interface Listed {
    readonly count: number;
    readonly oldest: string;
    readonly newest: string;
}

/** When a point was begun, to the second, in ISO 8601: its name has it. */
export function timeOfName(name: string): string {
    return name.replace(/^.*_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z_[^_]*$/, "$1-$2-$3T$4:$5:$6Z");
}

export interface Backup {
    readonly label: string;
    readonly type: "full" | "diff" | "incr";
    readonly database: { readonly id: number };
    readonly timestamp: { readonly start: number; readonly stop: number };
    readonly info: { readonly size: number; readonly repository?: { readonly delta?: number } };
    readonly archive: { readonly start: string; readonly stop: string };
    readonly reference?: readonly string[] | null;
    readonly error?: boolean | null;
}

/** A stanza as `pgbackrest info --output=json` has it. */
export interface Stanza {
    readonly name: string;
    readonly status: { readonly code: number; readonly message: string };
    readonly repo?: readonly { readonly status: { readonly code: number; readonly message: string } }[];
    readonly db: readonly { readonly id: number; readonly "system-id": string; readonly version: string }[];
    readonly backup: readonly Backup[];
}

/** What a repository holds. */
export interface Contents {
    /** Those that were asked for, the oldest first. */
    readonly points: readonly RestorePoint[];
    readonly stanzas: readonly Stanza[];
    /** All points that there are, by cluster. @default `points` are all */
    readonly listed?: Readonly<Record<string, Listed>>;
    /** Between the backups and the ends of these points. By stanza and archive id, such as `dev-worker-1/17-1`: the names of its WAL segments, 24 digits each, and of its timelines' histories. */
    readonly segments: Readonly<Record<string, readonly string[]>>;
    /** Versions in the image that read the repository and will run; undefined when they were not asked for. */
    readonly versions?: { readonly postgres: string; readonly citus: string };
}

const segmentNumber = (name: string) =>
    Number.parseInt(name.slice(8, 16), 16) * 256 + Number.parseInt(name.slice(16, 24), 16);

const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, "0");

function segmentName(timeline: number, at: number): string {
    return `${hex(timeline)}${hex(Math.floor(at / 256))}${hex(at % 256)}`;
}

/**
 * The timeline on which a segment is read on the way to a point: an earlier one until the segment in which it was left.
 * A branch that was left may have the same segments, with other content.
 */
function timelineOf(at: number, node: Pick<PointNode, "timeline" | "history">): number {
    for (const [, timeline, high, low] of (node.history ?? "").matchAll(/^\s*(\d+)\s+([0-9A-F]+)\/([0-9A-F]+)/gim)) {
        const left =
            Number.parseInt(high as string, 16) * 256 + Math.floor(Number.parseInt(low as string, 16) / 2 ** 24);
        if (at < left) return Number(timeline);
    }
    return node.timeline;
}

/** The newest timeline of a stanza, by its segments and histories; 0 when it has none. */
export function newestTimeline(stanza: string, segments: Contents["segments"]): number {
    const names = Object.entries(segments)
        .filter(([key]) => key.startsWith(`${stanza}/`))
        .flatMap(([, found]) => found);
    return names.reduce((newest, name) => Math.max(newest, Number.parseInt(name.slice(0, 8), 16)), 0);
}

/** Why a node can't be restored to a point, in words; empty when everything that is needed lies in the repository. */
export function missingFor(node: PointNode, contents: Contents): string[] {
    const stanza = contents.stanzas.find((s) => s.name === node.stanza);
    if (!stanza) return [`${node.node}: the repository has no stanza ${node.stanza}`];
    const backup = stanza.backup.find((b) => b.label === node.label);
    if (!backup) return [`${node.node}: its backup ${node.label} is gone (expired or removed)`];
    const why: string[] = [];
    for (const label of backup.reference ?? []) {
        if (!stanza.backup.some((b) => b.label === label))
            why.push(`${node.node}: its backup ${node.label} rests on ${label}, which is gone`);
    }
    const names = new Set(contents.segments[`${node.stanza}/${node.archiveId}`] ?? []);
    const history = `${hex(node.timeline)}.history`;
    if (node.timeline > 1 && !names.has(history)) {
        why.push(`${node.node}: the history of its timeline is missing: ${history}`);
    }
    const lost: string[] = [];
    for (let at = segmentNumber(node.backupStart); at <= segmentNumber(node.lastSegment); at++) {
        const name = segmentName(timelineOf(at, node), at);
        if (!names.has(name)) lost.push(name);
    }
    if (lost.length > 0) {
        const shown = lost.slice(0, 3).join(", ");
        const more = lost.length > 3 ? ` and ${lost.length - 3} more` : "";
        why.push(`${node.node}: WAL is missing between its backup and the point: ${shown}${more}`);
    }
    return why;
}

/** Why a point can't be restored; empty when it provably can. */
export function whyNotRestorable(point: RestorePoint, contents: Contents): string[] {
    return point.nodes.flatMap((node) => missingFor(node, contents));
}

/** All clusters' points as one; undefined when there is none. */
function extent(points: readonly RestorePoint[], listed: Contents["listed"]): Listed | undefined {
    const [first, last] = [points[0], points.at(-1)];
    if (listed === undefined) return first && last && { count: points.length, oldest: first.name, newest: last.name };
    const byTime = (a: string, b: string) => (timeOfName(a) < timeOfName(b) ? -1 : 1);
    const all = Object.values(listed);
    const oldest = all.map((one) => one.oldest).sort(byTime)[0];
    const newest = all
        .map((one) => one.newest)
        .sort(byTime)
        .at(-1);
    if (oldest === undefined || newest === undefined) return undefined;
    return { count: all.reduce((sum, { count }) => sum + count, 0), oldest, newest };
}

export interface Chosen {
    readonly point: RestorePoint;
    /** Milliseconds between the asked moment and the point. */
    readonly before?: number;
    /** Newer points that can't be restored. */
    readonly passedOver?: number;
}

export type Choice = Chosen | { readonly refusal: string };

/**
 * The point that is meant.
 * @param asked `latest`, a name, or a moment
 */
export function choosePoint(asked: string, contents: Contents): Choice {
    const points = [...contents.points].sort((a, b) => (a.time < b.time ? -1 : 1));
    const all = extent(points, contents.listed);
    if (all === undefined) {
        return {
            refusal:
                "the repository has no restore point: one is taken when every node has a backup (npm run backup). To restore another stack's cluster, set citus:restoreFrom.stack",
        };
    }
    if (asked === "latest") {
        const at = points.findLastIndex((p) => whyNotRestorable(p, contents).length === 0);
        const point = points[at];
        const passedOver = points.length - 1 - at;
        if (point) return { point, ...(passedOver > 0 ? { passedOver } : {}) };
        const newest = points.at(-1);
        return {
            refusal: [`none of the ${all.count} restore points can be restored; the newest, ${newest?.name}:`]
                .concat((newest ? whyNotRestorable(newest, contents) : []).map((why) => `  ${why}`))
                .join("\n"),
        };
    }
    const moment = parseTime(asked);
    const point =
        moment === undefined
            ? points.find((p) => p.name === asked)
            : points.findLast((p) => Date.parse(p.time) <= moment);
    if (!point) {
        const oldest = points.find(({ name }) => name === all.oldest)?.time ?? timeOfName(all.oldest);
        return {
            refusal:
                moment === undefined
                    ? `there is no restore point ${asked}; the newest is ${all.newest} (npm run backups lists them)`
                    : `no restore point is as old as ${asked}; the oldest is ${all.oldest} of ${oldest}`,
        };
    }
    const missing = whyNotRestorable(point, contents);
    if (missing.length > 0) {
        return { refusal: [`${point.name} can't be restored:`, ...missing.map((why) => `  ${why}`)].join("\n") };
    }
    return moment === undefined ? { point } : { point, before: moment - Date.parse(point.time) };
}
