/**
 * Where a tenant is, for an application. Needs nothing but the JSON that `citus_as_code.shard_map()` gives (or
 * `npm run tenants -- map`), and no package.
 *
 * A map that is behind costs a detour and never a wrong row where Citus knows the tenant (row, schema): any node answers.
 * A database of its own is at one place only, so what its old place answers is a reason to look again: `ShardMapClient`
 * does.
 */
import { hashOf } from "./hash.ts";

/** Lowest and highest hash, both included, and the node. */
export type Range = readonly [number, number, string];

export interface RowGroup {
    readonly model: "row";
    readonly anchor: string;
    /** Type of the tenant's key. */
    readonly keyType: string;
    /** PostgreSQL's hash function of that type. */
    readonly hash: string;
    /** In the order of their hashes. */
    readonly ranges: readonly Range[];
}

export interface SchemaGroup {
    readonly model: "schema";
    /** Node by schema. */
    readonly schemas: Readonly<Record<string, string>>;
}

export interface DatabaseGroup {
    readonly model: "database";
    readonly databases: Readonly<Record<string, { readonly node: string; readonly database: string }>>;
}

export interface RoutedGroup {
    readonly model: "routed";
    readonly routed: Readonly<
        Record<string, { readonly host: string; readonly port: number; readonly database: string }>
    >;
}

/** All on the coordinator, told apart by policies. */
export interface SharedGroup {
    readonly model: "rls";
}

export type Group = RowGroup | SchemaGroup | DatabaseGroup | RoutedGroup | SharedGroup;

export interface ShardMapJson {
    readonly format: 1;
    /** Another one when anything else in the map is another. */
    readonly version: string;
    readonly generatedAt: string;
    /** The cluster's database: rows and schemas are in it. */
    readonly database: string;
    /** Node for whatever the map does not know. */
    readonly default: string;
    readonly nodes: Readonly<
        Record<string, { readonly host: string; readonly port: number; readonly poolPort?: number }>
    >;
    readonly groups: Readonly<Record<string, Group>>;
    /** Tenants that are no longer there, by group; `movedTo` is `group/tenant`. */
    readonly tombstones: Readonly<Record<string, Readonly<Record<string, { readonly movedTo?: string }>>>>;
}

export interface Place {
    /** Name of the node; of a routed tenant its server. */
    readonly node: string;
    readonly host: string;
    readonly port: number;
    /** Where the node's pool listens, if it has one. */
    readonly poolPort?: number;
    readonly database: string;
    /** The tenant's schema, in model schema. */
    readonly schema?: string;
    /** Whether the map knows that the tenant is there; else it is the coordinator, which finds it or says that it is not there. */
    readonly exact: boolean;
    /** Whether the map knows that the tenant was deleted. */
    readonly deleted?: true;
}

export type Key = string | number | bigint;

/** Own keys only: a tenant may be called constructor. */
function own<T>(map: Readonly<Record<string, T>> | undefined, key: string): T | undefined {
    return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;
}

/** The range that holds the hash. */
function rangeOf(ranges: readonly Range[], hash: number): Range | undefined {
    let low = 0;
    let high = ranges.length - 1;
    while (low <= high) {
        const middle = (low + high) >> 1;
        const range = ranges[middle];
        if (range === undefined) return undefined;
        if (hash < range[0]) high = middle - 1;
        else if (hash > range[1]) low = middle + 1;
        else return range;
    }
    return undefined;
}

export class ShardMap {
    readonly json: ShardMapJson;

    private constructor(json: ShardMapJson) {
        this.json = json;
    }

    /** @throws Error when it is no map that this client reads */
    static from(json: unknown): ShardMap {
        const map = (typeof json === "string" ? JSON.parse(json) : json) as ShardMapJson | null;
        if (map?.format !== 1)
            throw new Error(`this is no shard map of format 1, but ${JSON.stringify(map?.format) ?? "something else"}`);
        return new ShardMap(map);
    }

    get version(): string {
        return this.json.version;
    }

    /**
     * Where a tenant is. What the map does not know is on the coordinator, with `exact: false`.
     * @param group needed when several groups know the name, or there are several of model row
     */
    lookup(tenant: Key, group?: string): Place {
        return this.find(tenant, group, 8);
    }

    private find(tenant: Key, group: string | undefined, hops: number): Place {
        const name = group ?? this.groupOf(String(tenant));
        if (name === undefined) return this.coordinator();
        const gone = own(own(this.json.tombstones, name), String(tenant));
        if (gone?.movedTo !== undefined && hops > 0) {
            const [to, ...rest] = gone.movedTo.split("/");
            return this.find(rest.join("/"), to, hops - 1);
        }
        if (gone) return { ...this.coordinator(), deleted: true };
        const found = own(this.json.groups, name);
        return (found && this.inGroup(found, tenant)) ?? this.coordinator();
    }

    /** The one group that can hold the name. */
    private groupOf(tenant: string): string | undefined {
        const named = Object.entries(this.json.groups).filter(
            ([name, group]) =>
                (group.model === "schema" && Object.hasOwn(group.schemas, tenant)) ||
                (group.model === "database" && Object.hasOwn(group.databases, tenant)) ||
                (group.model === "routed" && Object.hasOwn(group.routed, tenant)) ||
                own(own(this.json.tombstones, name), tenant) !== undefined,
        );
        const living = named.filter(([name]) => own(own(this.json.tombstones, name), tenant) === undefined);
        const some = living.length > 0 ? living : named;
        if (some.length > 0) return some.length === 1 ? some[0]?.[0] : undefined;
        const rows = Object.entries(this.json.groups).filter(([, group]) => group.model === "row");
        return rows.length === 1 ? rows[0]?.[0] : undefined;
    }

    private inGroup(group: Group, tenant: Key): Place | undefined {
        const name = String(tenant);
        switch (group.model) {
            case "rls":
                return { ...this.coordinator(), exact: true };
            case "row": {
                const hash = hashOf(group.hash, tenant);
                const range = hash === undefined ? undefined : rangeOf(group.ranges, hash);
                return range && this.onNode(range[2]);
            }
            case "schema": {
                const node = own(group.schemas, name);
                const place = node === undefined ? undefined : this.onNode(node);
                return place && { ...place, schema: name };
            }
            case "database": {
                const found = own(group.databases, name);
                const place = found && this.onNode(found.node);
                return place && { ...place, database: found.database };
            }
            case "routed": {
                const found = own(group.routed, name);
                return found && { node: found.host, ...found, exact: true };
            }
            default:
                return undefined;
        }
    }

    private onNode(node: string): Place | undefined {
        const address = own(this.json.nodes, node);
        return address && { node, ...address, database: this.json.database, exact: true };
    }

    private coordinator(): Place {
        const node = this.json.default;
        const place = this.onNode(node);
        if (!place) throw new Error(`the shard map has no address of ${node}, where what it does not know would be`);
        return { ...place, exact: false };
    }
}

/**
 * What a place answers that a tenant has left: its database is not there (3D000), takes no connections (55000) or no more
 * (53300), the role may not (42501), or only reads are let through (25006).
 */
const LEFT = new Set(["3D000", "55000", "53300", "42501", "25006"]);

/** Whether an error is a reason to look where the tenant is now. */
export function isStale(error: unknown): boolean {
    return LEFT.has(String((error as { code?: unknown } | null | undefined)?.code));
}

export interface ShardMapClientOptions {
    /** Gives the map, such as `SELECT citus_as_code.shard_map()` or a file that is published. */
    readonly fetch: () => Promise<unknown>;
    /** Milliseconds. @default 30_000 */
    readonly refreshEvery?: number;
    /** Told when the map can't be had; the last one is kept. */
    readonly onError?: (error: unknown) => void;
}

const samePlace = (a: Place, b: Place) =>
    a.host === b.host && a.port === b.port && a.database === b.database && a.schema === b.schema;

/** Keeps a map fresh. */
export class ShardMapClient {
    private readonly options: ShardMapClientOptions;
    private map: ShardMap | undefined;
    private asking: Promise<boolean> | undefined;
    private timer: ReturnType<typeof setInterval> | undefined;

    constructor(options: ShardMapClientOptions) {
        this.options = options;
    }

    /** Gets the first map, and goes on refreshing it until `close`. */
    async start(): Promise<this> {
        await this.refresh();
        clearInterval(this.timer);
        this.timer = setInterval(
            () => this.refresh().catch((error: unknown) => this.options.onError?.(error)),
            this.options.refreshEvery ?? 30_000,
        );
        // a map is no reason for a process to stay
        this.timer.unref?.();
        return this;
    }

    close(): void {
        clearInterval(this.timer);
        this.timer = undefined;
    }

    /** @throws Error before the first map is there */
    get current(): ShardMap {
        if (!this.map) throw new Error("there is no shard map yet: await start() first");
        return this.map;
    }

    lookup(tenant: Key, group?: string): Place {
        return this.current.lookup(tenant, group);
    }

    /**
     * Asks for the map now; those who ask meanwhile get the same answer.
     * @returns whether it is another one
     */
    refresh(): Promise<boolean> {
        this.asking ??= this.ask().finally(() => {
            this.asking = undefined;
        });
        return this.asking;
    }

    private async ask(): Promise<boolean> {
        const map = ShardMap.from(await this.options.fetch());
        const changed = map.version !== this.map?.version;
        if (changed) this.map = map;
        return changed;
    }

    /** After an error of a statement: refreshes when it may come from a tenant that moved. @returns whether to look it up again */
    async failed(error: unknown): Promise<boolean> {
        return isStale(error) && (await this.refresh());
    }

    /** Does something where the tenant is; once more when it turns out to have moved. */
    async at<T>(tenant: Key, group: string | undefined, use: (place: Place) => Promise<T>): Promise<T> {
        const place = this.lookup(tenant, group);
        try {
            return await use(place);
        } catch (error) {
            if (!isStale(error)) throw error;
            await this.refresh().catch((reason: unknown) => this.options.onError?.(reason));
            const now = this.lookup(tenant, group);
            if (samePlace(place, now)) throw error;
            return use(now);
        }
    }
}
