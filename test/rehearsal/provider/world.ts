/** What exists: one JSON file, shared by all plugin processes of a test, written whole or not at all. */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { type Ami, defaultAmis, defaultParameters } from "./catalogue.ts";
import type { Props } from "./values.ts";

/** The account that everything is in. */
export const ACCOUNT = "123456789012";

/** One thing as AWS would describe it. */
export interface Row {
    readonly type: string;
    readonly id: string;
    props: Props;
}

/** What the file holds. A test may edit it by hand: that is drift. */
export interface WorldData {
    /** By `type::id`: several types share an id, such as a bucket and its versioning. */
    rows: Record<string, Row>;
    amis: Ami[];
    /** SSM's public parameters. */
    parameters: Record<string, string>;
    /** Names of secrets in their recovery window. */
    deletedSecrets: string[];
    /** Last address given out in a subnet. */
    addresses: Record<string, number>;
}

export const emptyWorld = (): WorldData => ({
    rows: {},
    amis: defaultAmis(),
    parameters: defaultParameters(),
    deletedSecrets: [],
    addresses: {},
});

export const rowKey = (type: string, id: string): string => `${type}::${id}`;

/** The world during one look at it or one change of it. */
export class World {
    readonly data: WorldData;
    readonly region: string;

    constructor(data: WorldData, region: string) {
        this.data = data;
        this.region = region;
    }

    find(type: string, id: unknown): Row | undefined {
        return this.data.rows[rowKey(type, String(id))];
    }

    all(type: string): Row[] {
        return Object.values(this.data.rows).filter((row) => row.type === type);
    }

    add(row: Row): void {
        this.data.rows[rowKey(row.type, row.id)] = row;
    }

    remove(type: string, id: string): void {
        delete this.data.rows[rowKey(type, id)];
    }

    /** An id as EC2 makes them. */
    newId(prefix: string): string {
        return `${prefix}-0${randomBytes(8).toString("hex")}`;
    }

    arn(service: string, path: string, region = this.region): string {
        return `arn:aws:${service}:${region}:${ACCOUNT}:${path}`;
    }

    zones(): string[] {
        return ["a", "b", "c"].map((letter) => this.region + letter);
    }

    /** @returns such as `euc1-az1` */
    zoneId(zone: string): string {
        const [area = "", side = "", count = ""] = this.region.split("-");
        return `${area}${side[0] ?? ""}${count}-az${zone.charCodeAt(zone.length - 1) - 96}`;
    }
}

const path = (): string => {
    const file = process.env.STANDIN_WORLD;
    if (!file) throw new Error("STANDIN_WORLD is not set: the stand-in for aws needs a world file");
    return file;
};

export function readWorld(file: string): WorldData {
    return existsSync(file)
        ? { ...emptyWorld(), ...(JSON.parse(readFileSync(file, "utf8")) as WorldData) }
        : emptyWorld();
}

export function writeWorld(file: string, data: WorldData): void {
    const whole = `${file}.${process.pid}.new`;
    writeFileSync(whole, `${JSON.stringify(data, null, 1)}\n`, { mode: 0o600 });
    renameSync(whole, file);
}

/** Only short, synchronous work is done under the lock: one that is older was left by a killed process. */
const STALE_LOCK_MS = 10_000;

async function lock(file: string): Promise<() => void> {
    const held = `${file}.lock`;
    for (;;) {
        try {
            closeSync(openSync(held, "wx"));
            return () => rmSync(held, { force: true });
        } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
        }
        const since = statSync(held, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
        if (Date.now() - since > STALE_LOCK_MS) rmSync(held, { force: true });
        await pause(5);
    }
}

/** What was last read or written, so that a large world is not parsed again for each call. */
let cached: { readonly stamp: string; readonly data: WorldData } | undefined;

/** Tells two versions of the file apart: each is a new file. */
function stamp(file: string): string {
    const found = statSync(file, { bigint: true, throwIfNoEntry: false });
    return found ? `${found.ino} ${found.mtimeNs} ${found.size}` : "none";
}

function load(file: string): WorldData {
    const now = stamp(file);
    if (cached?.stamp !== now) cached = { stamp: now, data: readWorld(file) };
    return cached.data;
}

/** Looks at the world, which `see` must not change. */
export function look<T>(region: string, see: (world: World) => T): T {
    return see(new World(load(path()), region));
}

/** Changes the world; nothing is changed when `change` throws. */
export async function inWorld<T>(region: string, change: (world: World) => T): Promise<T> {
    const file = path();
    const unlock = await lock(file);
    try {
        const data = load(file);
        const result = change(new World(data, region));
        writeWorld(file, data);
        cached = { stamp: stamp(file), data };
        return result;
    } catch (error) {
        // it may be half changed
        cached = undefined;
        throw error;
    } finally {
        unlock();
    }
}

/** Hexadecimal that is always the same for the same text. */
export const hex = (from: string, length: number): string =>
    createHash("sha1").update(from).digest("hex").slice(0, length);
