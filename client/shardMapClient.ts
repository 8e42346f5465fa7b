/** Keeps a shard map fresh, and does work where the tenant is. */
import type { Key } from "./key.ts";
import { type Found, type Place, ShardMap } from "./shardMap.ts";
import { isAway, isStale, neverBegan } from "./stale.ts";
import { inTenant, type Pools, type TenantDb } from "./tenant.ts";

export interface ShardMapClientOptions {
    /**
     * Gives the map: {@link fromDatabase}, or a file that is published.
     * @param known the version that is there already: null or undefined is the answer when it is still the newest
     */
    readonly fetch: (known?: string) => Promise<unknown>;
    /** Milliseconds, give or take a tenth, so that instances don't ask together. @default 30_000 */
    readonly refreshEvery?: number;
    /**
     * Milliseconds between two looks that errors are the reason for, however many requests fail. Doubled after each look that
     * fails itself, up to 30 s. @default 1_000
     */
    readonly refreshAtMost?: number;
    /** Milliseconds that a node is passed by after it did not answer; rows and schemas are asked for on the coordinator. @default 5_000 */
    readonly avoidFor?: number;
    /** Told when the map can't be had; the last one is kept. */
    readonly onError?: (error: unknown) => void;
}

/** What runs a query, such as `pg`'s Pool or Client. */
export interface Queryable {
    query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}

/** There is no such function, or this role may not run it: older clusters have the one without an argument only. */
const OLDER = ["42883", "42501"];

/**
 * The map from the coordinator's database. Where it has not changed, only its version goes over the network.
 * @param database connected to the coordinator, as a role that may run citus_as_code.shard_map()
 * @example new ShardMapClient({ fetch: fromDatabase(pool) })
 */
export function fromDatabase(database: Queryable): (known?: string) => Promise<unknown> {
    let asksVersion = true;
    const mapOf = ({ rows }: { rows: unknown[] }) => (rows[0] as { map?: unknown } | undefined)?.map;
    return async (known) => {
        if (asksVersion && known !== undefined) {
            try {
                return mapOf(await database.query("SELECT citus_as_code.shard_map($1::text) AS map", [known]));
            } catch (error) {
                if (!OLDER.includes(String((error as { code?: unknown } | null)?.code))) throw error;
                asksVersion = false;
            }
        }
        return mapOf(await database.query("SELECT citus_as_code.shard_map() AS map"));
    };
}

const MOST_BACK_OFF = 30_000;

const samePlace = (a: Place, b: Place) =>
    a.host === b.host && a.port === b.port && a.database === b.database && a.schema === b.schema;

/** Tenants of these are answered for by any node of the cluster. */
const anywhere = ({ model }: Found) => model === "row" || model === "schema";

/** Keeps a map fresh. */
export class ShardMapClient {
    private readonly options: ShardMapClientOptions;
    private map: ShardMap | undefined;
    private asking: Promise<boolean> | undefined;
    private timer: ReturnType<typeof setTimeout> | undefined;
    private failures = 0;
    private notBefore = 0;
    /** Nodes that did not answer, and until when they are passed by. */
    private readonly avoided = new Map<string, number>();

    constructor(options: ShardMapClientOptions) {
        this.options = options;
    }

    /** Gets the first map, and goes on refreshing it until `close`. */
    async start(): Promise<this> {
        await this.refresh();
        this.close();
        this.schedule();
        return this;
    }

    private schedule(): void {
        const every = this.options.refreshEvery ?? 30_000;
        const timer = setTimeout(
            () => {
                void this.refresh()
                    .catch((error: unknown) => this.options.onError?.(error))
                    .finally(() => {
                        if (this.timer === timer) this.schedule();
                    });
            },
            every * (0.9 + Math.random() * 0.2),
        );
        this.timer = timer;
        // a map is no reason for a process to stay
        (timer as { unref?: () => void }).unref?.();
    }

    close(): void {
        clearTimeout(this.timer);
        this.timer = undefined;
    }

    /** @throws Error before the first map is there */
    get current(): ShardMap {
        if (!this.map) throw new Error("there is no shard map yet: await start() first");
        return this.map;
    }

    /** @throws TypeError when the key can't be one, Error before the first map is there */
    lookup(tenant: Key, group?: string): Place {
        return this.current.lookup(tenant, group);
    }

    /**
     * Asks for the map now; those who ask meanwhile get the same answer.
     * @returns whether it is another one
     * @throws Error what `fetch` throws, or that there is no map
     */
    refresh(): Promise<boolean> {
        this.asking ??= this.ask().finally(() => {
            this.asking = undefined;
        });
        return this.asking;
    }

    private async ask(): Promise<boolean> {
        const least = this.options.refreshAtMost ?? 1000;
        try {
            const known = this.map?.version;
            const answer = await this.options.fetch(known);
            this.failures = 0;
            this.notBefore = Date.now() + least;
            if (known !== undefined && (answer === null || answer === undefined)) return false;
            const map = ShardMap.from(answer);
            if (map.version === known) return false;
            this.map = map;
            this.avoided.clear();
            return true;
        } catch (error) {
            const wait = Math.min(MOST_BACK_OFF, least * 2 ** this.failures);
            this.failures++;
            // instances that failed together don't come back together
            this.notBefore = Date.now() + wait * (0.5 + Math.random() / 2);
            throw error;
        }
    }

    /** Looks again, unless somebody did a moment ago; the last map is kept where there is no other. */
    private async lookAgain(): Promise<void> {
        if (this.asking === undefined && Date.now() < this.notBefore) return;
        await this.refresh().catch((error: unknown) => this.options.onError?.(error));
    }

    private placeFor(tenant: Key, group: string | undefined): Found {
        const found = this.current.find(tenant, group);
        const until = this.avoided.get(found.place.node);
        if (until === undefined || !anywhere(found)) return found;
        if (Date.now() >= until) {
            this.avoided.delete(found.place.node);
            return found;
        }
        return { ...found, place: this.onCoordinator(found.place) };
    }

    private onCoordinator({ schema }: Place): Place {
        return { ...this.current.coordinator, ...(schema === undefined ? {} : { schema }) };
    }

    /** Where the tenant is after an error of its place; undefined where it is still there, or the error has other reasons. */
    private async placeAfter(error: unknown, found: Found, tenant: Key, group?: string): Promise<Found | undefined> {
        if (!isStale(error)) return undefined;
        const { node } = found.place;
        if (isAway(error) && anywhere(found) && node !== this.current.json.default)
            this.avoided.set(node, Date.now() + (this.options.avoidFor ?? 5000));
        await this.lookAgain();
        const now = this.placeFor(tenant, group);
        return samePlace(found.place, now.place) ? undefined : now;
    }

    /**
     * After an error of a statement: looks at the map again when the error may come from a tenant that moved or a node that
     * left.
     * @returns whether the map is another one, so that the tenant should be looked up again
     */
    async failed(error: unknown): Promise<boolean> {
        if (!isStale(error)) return false;
        const before = this.map?.version;
        await this.lookAgain();
        return this.map?.version !== before;
    }

    /**
     * Does something where the tenant is. It is done once more at another place only when nothing can have been done at the
     * first: no server was reached, or it let nobody in. With `mayRepeat` also after any other error of a place that the
     * tenant left.
     * @param options.mayRepeat the work only reads, or does no harm when it is done twice @default false
     * @throws whatever `use` throws
     */
    async at<T>(
        tenant: Key,
        group: string | undefined,
        use: (place: Place) => Promise<T>,
        options: { readonly mayRepeat?: boolean } = {},
    ): Promise<T> {
        const found = this.placeFor(tenant, group);
        try {
            return await use(found.place);
        } catch (error) {
            const now = await this.placeAfter(error, found, tenant, group);
            if (now === undefined || !(options.mayRepeat === true || neverBegan(error))) throw error;
            return use(now.place);
        }
    }

    /**
     * Runs a function in one transaction of the tenant: its statements see this tenant's rows and no others. `use` is called
     * once. Only before that another place is tried, when the first does not answer or the tenant has left it.
     *
     * @param pools one pool, or a function from a place to its pool
     * @param use what it throws rolls everything back
     * @returns what `use` returns, after COMMIT
     * @throws CommitUnknown when the connection ended while COMMIT ran; else what the database or `use` throws
     * @example await map.withTenant(pool, 42, "billing", (db) => db.query("SELECT * FROM users WHERE company_id = 42"))
     */
    async withTenant<T>(pools: Pools, tenant: Key, group: string, use: (db: TenantDb) => Promise<T>): Promise<T> {
        let found = this.placeFor(tenant, group);
        for (let attempt = 1; ; attempt++) {
            let began = false;
            try {
                return await inTenant(pools, found, this.current.json.database, use, () => {
                    began = true;
                });
            } catch (error) {
                const now = await this.placeAfter(error, found, tenant, group);
                if (began || now === undefined || attempt > 1) throw error;
                found = now;
            }
        }
    }
}
