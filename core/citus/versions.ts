/**
 * Citus is two things on a node: the library that its server loads, and the extension in its database. An image brings the
 * first; only `ALTER EXTENSION citus UPDATE` changes the second.
 */
import { nodeOf } from "../node/topology.ts";
import type { Session } from "../reach/session.ts";
import { onNodes } from "./catalog.ts";

export interface CitusVersions {
    /** The node's name. */
    readonly node: string;
    /** The extension in its database, such as `14.0-1`. */
    readonly installed: string;
    /** What `ALTER EXTENSION citus UPDATE` would bring it to, such as `14.1-1`: the version of its library. */
    readonly available: string;
}

const VERSIONS = `SELECT extversion || ' ' || (SELECT default_version FROM pg_available_extensions WHERE name = 'citus')
   FROM pg_extension WHERE extname = 'citus'`;

const parse = (node: string, printed: string): CitusVersions[] => {
    const [installed, available] = printed.split(" ");
    return installed && available ? [{ node, installed, available }] : [];
};

/** The coordinator's own. Asks no other node, which a library that refuses the extension does not do. */
export async function readOwnVersions(coordinator: Session): Promise<CitusVersions[]> {
    const [own] = await coordinator.query<{ said: string }>(`SELECT (${VERSIONS}) AS said`);
    return parse("coordinator", own?.said ?? "");
}

/** Whether the library refuses the extension: then every statement on a distributed table fails. */
export const isRefused = ({ installed, available }: CitusVersions): boolean => !compatible(installed, available);

/**
 * The versions on the coordinator, and on every worker where the coordinator's library asks others at all.
 * @param silent hosts of workers that are not asked
 */
export async function readVersions(coordinator: Session, silent: readonly string[] = []): Promise<CitusVersions[]> {
    const own = await readOwnVersions(coordinator);
    if (own.some(isRefused)) return own;
    const rows = await coordinator.query<{ host: string; result: string }>(
        `SELECT r.node_name AS host, r.result FROM ${onNodes("groupid <> 0 AND nodename <> ALL ($2)", "$1")} WHERE r.success`,
        [VERSIONS, silent],
    );
    return [...own, ...rows.flatMap(({ host, result }) => parse(nodeOf(host), result))].sort((a, b) =>
        a.node < b.node ? -1 : 1,
    );
}

interface Release {
    readonly major: number;
    readonly minor: number;
}

/** @param version `14.1.0` or `14.1-1` */
function releaseOf(version: string): Release | undefined {
    const match = /^([0-9]+)\.([0-9]+)/.exec(version);
    return match ? { major: Number(match[1]), minor: Number(match[2]) } : undefined;
}

/** Whether a library runs an extension, as Citus decides it: the same major release, at most one minor release apart. */
export function compatible(left: string, right: string): boolean {
    const [a, b] = [releaseOf(left), releaseOf(right)];
    return a !== undefined && b !== undefined && a.major === b.major && Math.abs(a.minor - b.minor) <= 1;
}

/** Whether the first of two versions is of an older release. */
export function isOlder(left: string, right: string): boolean {
    const [a, b] = [releaseOf(left), releaseOf(right)];
    if (a === undefined || b === undefined) return false;
    return a.major < b.major || (a.major === b.major && a.minor < b.minor);
}

/** Of Citus' own images, such as `citusdata/citus:14.1.0-pg17`, what they hold; undefined for any other. */
export const namedVersion = (image: string): string | undefined =>
    /^(?:docker\.io\/)?citusdata\/citus:([0-9]+\.[0-9]+\.[0-9]+)/.exec(image)?.[1];

/** Brings the extension to the version of the library, on every node. */
export const UPDATE_EXTENSION = [
    "npm run backup",
    `npm run psql -- -c "ALTER EXTENSION citus UPDATE"`,
    `npm run psql -- -c "SELECT * FROM run_command_on_workers('ALTER EXTENSION citus UPDATE')"`,
    `npm run psql -- -c "CALL citus_finish_citus_upgrade()"`,
] as const;

const commands = () => UPDATE_EXTENSION.map((line) => `  ${line}`);

const list = (nodes: readonly CitusVersions[]) =>
    nodes.map(({ node, installed, available }) => `  ${node}: the extension is ${installed}, the library ${available}`);

/**
 * Why the nodes can't be given another Citus; undefined when they can.
 * @param next in full, such as `14.2.0`
 */
export function refuseVersion(next: string, nodes: readonly CitusVersions[]): string | undefined {
    const wanted = releaseOf(next);
    if (wanted === undefined) return undefined;
    const refused = nodes.flatMap((node) => {
        const has = releaseOf(node.installed);
        if (has === undefined) return [];
        const back = isOlder(next, node.installed);
        return back || !compatible(next, node.installed) ? [{ node, has, back }] : [];
    });
    const [first] = refused;
    if (first === undefined) return undefined;
    const why = first.back
        ? "Citus can't go back to an older release: its own tables are of the newer one."
        : "A library runs an extension of the same major release that is at most one minor release apart. With any other every statement on a distributed table fails.";
    const step = `${first.has.major}.${first.has.minor + 1}`;
    const behind = refused.filter(({ node }) => node.installed !== node.available);
    return [
        `Citus ${next} can't run this cluster's databases:`,
        ...list(refused.map(({ node }) => node)),
        why,
        "No container and no machine was replaced. Put citus:citusVersion or citus:image back.",
        ...(first.back || first.has.major !== wanted.major
            ? []
            : behind.length > 0
              ? [`To go on to ${next}, first bring the extension to the library's version:`, ...commands()]
              : [
                    `To get to ${next}, go to a version ${step} first (citus:citusVersion, pulumi up), then bring the extension to it:`,
                    ...commands(),
                ]),
    ].join("\n");
}

/** What is said as long as the extension of a node is not of its library's version; undefined when all are. */
export function describeApart(nodes: readonly CitusVersions[]): string | undefined {
    const apart = nodes.filter(({ installed, available }) => installed !== available);
    if (apart.length === 0) return undefined;
    return [
        "The Citus extension of a database is not of the version of the library that its server runs:",
        ...list(apart),
        apart.some(isRefused)
            ? "Citus refuses statements on distributed tables as long as this is so."
            : "Queries work as long as they are at most one minor release apart. A new worker can't join: its database is made with the library's version.",
        "Bring the extension to the library's version:",
        ...commands(),
    ].join("\n");
}
