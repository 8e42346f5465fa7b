/**
 * Where a tenant is, for an application. Needs nothing but the JSON that `citus_as_code.shard_map()` gives (or
 * `npm run tenants -- map`), and no package.
 *
 * A map that is behind costs a detour and never a wrong row where Citus knows the tenant (row, schema): any node of the
 * cluster answers. A node that left, and a database that went elsewhere, answer with an error: `ShardMapClient` looks again
 * then.
 */
import { hashOf } from "./hash.ts";
import { canonicalKey, type Key, keyText } from "./key.ts";

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
    /** Type of the tenant's key; maps of older clusters don't have it. */
    readonly keyType?: string;
}

export type Group = RowGroup | SchemaGroup | DatabaseGroup | RoutedGroup | SharedGroup;

/** What is left of a tenant; with `movedTo` its data is in another group, as `group/tenant`. */
export interface Tombstone {
    readonly movedTo?: string;
}

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
    readonly tombstones: Readonly<Record<string, Readonly<Record<string, Tombstone>>>>;
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
    /**
     * Whether the map says that whatever the tenant has is at this place. In models row and rls the map has no list of
     * tenants, so that it does not say that there is such a tenant. False is the coordinator, which finds the tenant or says
     * that there is none.
     */
    readonly exact: boolean;
    /** Whether the map knows that the tenant was deleted. */
    readonly deleted?: true;
}

/** A tenant that was looked up, after whatever change of model it went through. */
export interface Found {
    readonly place: Place;
    /** Undefined where no group was named and none is known to have it. */
    readonly group?: string;
    /** Undefined where the map does not have the group. */
    readonly model?: Group["model"];
    /** As PostgreSQL writes it, as far as that is known here. */
    readonly key: string;
}

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

/** Names of a group that are in the map one by one. */
function namesOf(group: Group): string[] {
    switch (group.model) {
        case "schema":
            return Object.keys(group.schemas);
        case "database":
            return Object.keys(group.databases);
        case "routed":
            return Object.keys(group.routed);
        default:
            return [];
    }
}

const typeOf = (group: Group | undefined): string | undefined =>
    group?.model === "row" || group?.model === "rls" ? group.keyType : undefined;

/** Groups that know a name, made once for each map. */
interface Names {
    readonly living: ReadonlyMap<string, readonly string[]>;
    readonly gone: ReadonlyMap<string, readonly string[]>;
    /** What is left of tenants, by group and key as PostgreSQL writes it. */
    readonly tombstones: ReadonlyMap<string, ReadonlyMap<string, Tombstone>>;
    /** Groups of model row, which know no names. */
    readonly rows: readonly (readonly [string, Group])[];
}

function indexOf(map: ShardMapJson): Names {
    const living = new Map<string, string[]>();
    const gone = new Map<string, string[]>();
    const add = (to: Map<string, string[]>, name: string, group: string) => {
        const groups = to.get(name);
        if (groups) groups.push(group);
        else to.set(name, [group]);
    };
    const groups = Object.entries(map.groups);
    for (const [name, group] of groups)
        for (const tenant of namesOf(group))
            if (own(own(map.tombstones, name), tenant) === undefined) add(living, tenant, name);
    const tombstones = new Map<string, ReadonlyMap<string, Tombstone>>();
    for (const [name, tenants] of Object.entries(map.tombstones)) {
        const type = typeOf(own(map.groups, name));
        const left = new Map<string, Tombstone>();
        for (const [tenant, tombstone] of Object.entries(tenants)) {
            const key = canonicalKey(type, tenant) ?? tenant;
            left.set(key, tombstone);
            add(gone, key, name);
        }
        tombstones.set(name, left);
    }
    return { living, gone, tombstones, rows: groups.filter(([, group]) => group.model === "row") };
}

export class ShardMap {
    readonly json: ShardMapJson;
    private readonly names: Names;

    private constructor(json: ShardMapJson) {
        this.json = json;
        this.names = indexOf(json);
    }

    /** @throws Error when it is no map that this client reads */
    static from(json: unknown): ShardMap {
        const map = (typeof json === "string" ? JSON.parse(json) : json) as ShardMapJson | null | undefined;
        if (map?.format !== 1)
            throw new Error(`this is no shard map of format 1, but ${JSON.stringify(map?.format) ?? "something else"}`);
        return new ShardMap(map);
    }

    get version(): string {
        return this.json.version;
    }

    /**
     * Where a tenant is. What the map does not know is on the coordinator, with `exact: false`.
     *
     * @param tenant its key or name, in any spelling that PostgreSQL reads as the same value
     * @param group needed when several groups know the name, or there are several of model row
     * @throws TypeError when the key is no text, safe integer or bigint, such as undefined
     * @example map.lookup(42, "billing").host
     */
    lookup(tenant: Key, group?: string): Place {
        return this.find(tenant, group).place;
    }

    /** The same, with the group and the key that it was found by. @throws TypeError as `lookup` does */
    find(tenant: Key, group?: string): Found {
        return this.follow(tenant, group, 8);
    }

    /** Any node answers in models row and schema; this one always. */
    get coordinator(): Place {
        const node = this.json.default;
        const place = this.onNode(node);
        if (!place) throw new Error(`the shard map has no address of ${node}, where what it does not know would be`);
        return { ...place, exact: false };
    }

    private follow(tenant: Key, group: string | undefined, hops: number): Found {
        const given = keyText(tenant);
        const name = group ?? this.groupOf(given);
        if (name === undefined) return { place: this.coordinator, key: given };
        const of = own(this.json.groups, name);
        const key = canonicalKey(typeOf(of), given);
        const about = { group: name, ...(of === undefined ? {} : { model: of.model }), key: key ?? given };
        // only PostgreSQL can read it, or refuse it
        if (key === undefined) return { ...about, place: this.coordinator };
        const gone = this.names.tombstones.get(name)?.get(key);
        if (gone?.movedTo !== undefined && hops > 0) {
            const [to, ...rest] = gone.movedTo.split("/");
            return this.follow(rest.join("/"), to, hops - 1);
        }
        if (gone) return { ...about, place: { ...this.coordinator, deleted: true } };
        return { ...about, place: (of && this.inGroup(of, key)) ?? this.coordinator };
    }

    /** The one group that can hold the name. */
    private groupOf(tenant: string): string | undefined {
        const { living, gone, rows } = this.names;
        const named = living.get(tenant);
        if (named) return named.length === 1 ? named[0] : undefined;
        const only = rows.length === 1 ? rows[0]?.[0] : undefined;
        const left = gone.get(tenant);
        if (left === undefined) return only;
        // a row group that can hold the key may hold it still
        const able = rows.filter(([, group]) => canonicalKey(typeOf(group), tenant) !== undefined);
        if (able.every(([name]) => left.includes(name))) return left.length === 1 ? left[0] : undefined;
        return only;
    }

    /** @param key as PostgreSQL writes it */
    private inGroup(group: Group, key: string): Place | undefined {
        switch (group.model) {
            case "rls":
                return { ...this.coordinator, exact: true };
            case "row": {
                const hash = hashOf(group.hash, key);
                const range = hash === undefined ? undefined : rangeOf(group.ranges, hash);
                return range && this.onNode(range[2]);
            }
            case "schema": {
                const node = own(group.schemas, key);
                const place = node === undefined ? undefined : this.onNode(node);
                return place && { ...place, schema: key };
            }
            case "database": {
                const found = own(group.databases, key);
                const place = found && this.onNode(found.node);
                return place && { ...place, database: found.database };
            }
            case "routed": {
                const found = own(group.routed, key);
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
}
