/** Reading what is wanted of a repository, by a node script that has it at hand. */
import { renderRepositoryConf } from "../node/archive.ts";
import type { CommandResult, ScriptInput } from "../node/reach.ts";
import {
    type Contents,
    choosePoint,
    type Listed,
    type PointNode,
    type PointTable,
    type RestorePoint,
    type Stanza,
    whyNotRestorable,
} from "./points.ts";
import { parseTime } from "./request.ts";

/** Why a repository can't be used, in words for a person. */
export class RepositoryError extends Error {}

/** A run of segments: the first one's name and the last two digits of the last one's. */
function namesOf(run: string): string[] {
    const [, first = "", from = "", to = ""] = /^([0-9A-F]{22})([0-9A-F]{2})-([0-9A-F]{2})$/.exec(run) ?? [];
    if (first === "") return [run];
    const [at, end] = [Number.parseInt(from, 16), Number.parseInt(to, 16)];
    return Array.from({ length: end - at + 1 }, (_, i) => first + (at + i).toString(16).toUpperCase().padStart(2, "0"));
}

/**
 * What the lines of scripts/node/repository.sh say.
 * @throws SyntaxError when one is cut; Error when a point's list is not there
 */
export function parseContents(text: string): Contents {
    const lists = new Map<string, unknown>();
    const packed: { nodes: string; tables: string; point: RestorePoint }[] = [];
    const segments: Record<string, string[]> = {};
    const listed: Record<string, Listed> = {};
    let stanzas: Stanza[] = [];
    let versions: Contents["versions"];
    for (const line of text.split("\n")) {
        const [kind, rest] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
        const words = rest.split(" ");
        if (kind === "INFO") stanzas = JSON.parse(rest.replace(/"system-id":(\d+)/g, '"system-id":"$1"')) as Stanza[];
        if (kind === "LIST") lists.set(words[0] ?? "", JSON.parse(words.slice(1).join(" ")));
        if (kind === "POINT")
            packed.push({
                nodes: words[0] ?? "",
                tables: words[1] ?? "",
                point: JSON.parse(words.slice(2).join(" ")) as RestorePoint,
            });
        if (kind === "LISTED") {
            const [cluster = "", count, oldest = "", newest = ""] = words;
            listed[cluster] = { count: Number(count), oldest, newest };
        }
        if (kind === "VERSIONS") {
            const [postgres = "", citus = ""] = words;
            versions = { postgres, citus };
        }
        if (kind === "SEGMENTS") {
            const [key, ...runs] = rest.trim().split(/\s+/);
            if (key) segments[key] = runs.flatMap(namesOf);
        }
    }
    const points = packed.map(({ nodes, tables, point }): RestorePoint => {
        const list = lists.get(nodes) as readonly PointNode[] | undefined;
        if (list === undefined) throw new Error(`the list ${nodes} of the nodes of ${point.name} is missing`);
        const fixed = new Map(list.map((node) => [node.groupId, node]));
        return {
            ...point,
            nodes: point.nodes.map((node) => ({ ...fixed.get(node.groupId), ...node })),
            tables: (lists.get(tables) as readonly PointTable[] | undefined) ?? [],
        };
    });
    return {
        points: points.sort((a, b) => (a.time < b.time ? -1 : 1)),
        listed,
        stanzas,
        segments,
        ...(versions ? { versions } : {}),
    };
}

/** The secrets that scripts need for a repository, and for a restore from it. */
export function restoreSecrets(
    version: string,
    secrets: { readonly passphrase: string | undefined; readonly verifier?: string },
): NonNullable<ScriptInput["secrets"]> {
    const { passphrase, verifier } = secrets;
    const files = { ...(passphrase ? { passphrase } : {}), ...(verifier === undefined ? {} : { verifier }) };
    return { group: "restore", version, files };
}

/** What is looked for in a repository. */
export type Wanted =
    /** The point that is meant, with its tables, and the points that had to be passed over. */
    | {
          readonly kind: "restore";
          /** @default the only one there is */
          readonly cluster?: string;
          /** `latest`, a name, or a moment. */
          readonly point: string;
          /** Only points that have this node count, restorable or not. */
          readonly onlyWorker?: string;
      }
    /** The newest points, without their tables. */
    | { readonly kind: "list"; readonly cluster: string; readonly count: number }
    /** No points: only which timelines each stanza has, as the beginnings of names of segments. */
    | { readonly kind: "timelines" };

/** Points of the first look for the latest one, and by how much each further look is larger. */
const FIRST_LOOK = 4;
/** One that began before the moment and ended after it does not count. */
const AT_MOMENT = 3;

const joined = (a: Contents, b: Contents): Contents => {
    const segments: Record<string, readonly string[]> = { ...a.segments };
    for (const [key, names] of Object.entries(b.segments))
        segments[key] = [...new Set([...(segments[key] ?? []), ...names])];
    const points = [...b.points.filter(({ name }) => !a.points.some((one) => one.name === name)), ...a.points];
    return { ...a, points: points.sort((one, other) => (one.time < other.time ? -1 : 1)), segments };
};

type Ask = (...words: string[]) => Promise<Contents>;

/** `2026-11-22T10:00:00.250Z` as names of points have it. */
const inNames = (moment: number) => new Date(moment).toISOString().replace(/[-:]|\.\d+/g, "");

/** Looks from the newest point on until one will do, and no further. */
async function lookBack(ask: Ask, cluster: string, willDo: (point: RestorePoint, contents: Contents) => boolean) {
    let contents = await ask("points", cluster, String(FIRST_LOOK), "newest");
    for (let count = FIRST_LOOK ** 2; ; count *= FIRST_LOOK) {
        const oldest = contents.points[0];
        const total = oldest === undefined ? 0 : (contents.listed?.[oldest.cluster]?.count ?? 0);
        if (oldest === undefined || contents.points.length >= total) return contents;
        if (contents.points.some((point) => willDo(point, contents))) return contents;
        const older = await ask("points", oldest.cluster, String(count), "before", oldest.name, "bare");
        if (older.points.length === 0) return contents;
        contents = joined(contents, older);
    }
}

/** With the tables of the point that is chosen. */
async function withTables(ask: Ask, contents: Contents, point: RestorePoint | undefined): Promise<Contents> {
    if (point === undefined) return contents;
    const { points } = await ask("point", point.cluster, point.name, "bare");
    return { ...contents, points: contents.points.map((one) => points.find(({ name }) => name === one.name) ?? one) };
}

async function find(ask: Ask, wanted: Extract<Wanted, { kind: "restore" }>): Promise<Contents> {
    const cluster = wanted.cluster ?? "-";
    const { onlyWorker, point } = wanted;
    if (onlyWorker !== undefined) {
        const has = ({ nodes }: RestorePoint) => nodes.some(({ node }) => node === onlyWorker);
        const contents = await lookBack(ask, cluster, has);
        return withTables(ask, contents, contents.points.findLast(has));
    }
    const moment = parseTime(point);
    if (point !== "latest" && moment === undefined) return ask("point", cluster, point);
    const contents =
        moment === undefined
            ? await lookBack(ask, cluster, (one, all) => whyNotRestorable(one, all).length === 0)
            : await ask("points", cluster, String(AT_MOMENT), "at", inNames(moment));
    const chosen = choosePoint(point, contents);
    return withTables(ask, contents, "point" in chosen ? chosen.point : undefined);
}

/**
 * What a repository holds of what is wanted.
 * @param run runs a node script where the repository can be reached
 * @throws RepositoryError when it can't be read with this passphrase
 */
export async function readRepository(
    name: string,
    options: Readonly<Record<string, string>>,
    secrets: NonNullable<ScriptInput["secrets"]>,
    run: (words: readonly string[], input: ScriptInput) => Promise<CommandResult>,
    wanted: Wanted,
): Promise<Contents> {
    const files = { "pgbackrest.conf": renderRepositoryConf({ options }) };
    const ask: Ask = async (...words) => {
        const result = await run(["repository.sh", ...words], { files, secrets });
        if (result.code === 0) return parseContents(result.stdout);
        const hint =
            result.code === 11
                ? " (its passphrase must be in citus:restorePassphrase, or else in citus:backupPassphrase)"
                : "";
        throw new RepositoryError(`the repository ${name}: ${result.stderr.trim()}${hint}`);
    };
    if (wanted.kind === "timelines") return ask("timelines");
    if (wanted.kind === "list") return ask("points", wanted.cluster, String(wanted.count), "newest");
    return find(ask, wanted);
}
