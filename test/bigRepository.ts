/** A repository as a large cluster fills it in weeks, made up: what reads it must not grow with it. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { packTar, type TarEntry } from "../core/util/tar.ts";

export const BIG = { cluster: "big", nodes: 200, tables: 5000, days: 21, pointsADay: 288 };
/** Segments that each node sends in a day: one a point and some more. */
const SEGMENTS_A_DAY = 400;
const FIRST_DAY = Date.UTC(2026, 10, 1);
const DAY = 86_400_000;
const two = (n: number) => String(n).padStart(2, "0");

const label = (at: Date) =>
    `${at.getUTCFullYear()}${two(at.getUTCMonth() + 1)}${two(at.getUTCDate())}-${two(at.getUTCHours())}${two(at.getUTCMinutes())}${two(at.getUTCSeconds())}`;
const hex = (n: number, digits: number) => n.toString(16).toUpperCase().padStart(digits, "0");
export const segmentAt = (n: number) => `00000001${hex(Math.floor(n / 256), 8)}${hex(n % 256, 8)}`;
export const nodeAt = (n: number) => (n === 0 ? "coordinator" : `worker-${n}`);
const systemId = (n: number) => `77140115350266${String(n).padStart(5, "0")}`;
/** Numbers that look like any, and are the same in each run. */
const some = (seed: string, below: number) => createHash("sha256").update(seed).digest().readUInt32BE() % below;

/** As pgBackRest writes its own: with a checksum over the same as JSON. */
function infoFile(sections: Readonly<Record<string, Readonly<Record<string, string>>>>): string {
    const names = Object.keys(sections).sort();
    const json = names.map((name) => {
        const entries = Object.entries(sections[name] ?? {}).map(([key, value]) => `"${key}":${value}`);
        return `"${name}":{${entries.join(",")}}`;
    });
    const sum = createHash("sha1")
        .update(`{${json.join(",")}}`)
        .digest("hex");
    const text = names.map((name) => {
        const entries = Object.entries(sections[name] ?? {}).map(([key, value]) => `${key}=${value}\n`);
        return `[${name}]\n${entries.join("")}\n`;
    });
    return `${text.join("")}[backrest]\nbackrest-checksum="${sum}"\n`;
}

const BACKREST = (version: string) => ({ "backrest-format": "5", "backrest-version": `"${version}"` });

interface Backup {
    readonly label: string;
    readonly day: number;
    readonly start: number;
    readonly full: string;
}

/** A full backup a week and a differential one on each other day. */
function backupsOf(node: number): Backup[] {
    let full = "";
    return Array.from({ length: BIG.days }, (_, day) => {
        const start = FIRST_DAY + day * DAY + 3_600_000 + some(`${node} ${day}`, 600) * 1000;
        if (day % 7 === 0) full = `${label(new Date(start))}F`;
        return { day, start, full, label: day % 7 === 0 ? full : `${full}_${label(new Date(start))}D` };
    });
}

function backupInfo(node: number, version: string): string {
    const backups = backupsOf(node).map((backup): [string, string] => {
        const isFull = backup.label === backup.full;
        const size = 40_000_000_000 + some(`size ${node} ${backup.day}`, 1_000_000_000);
        const seconds = Math.floor(backup.start / 1000);
        return [
            backup.label,
            JSON.stringify({
                "backrest-format": 5,
                "backrest-version": version,
                "backup-archive-start": segmentAt(backup.day * SEGMENTS_A_DAY),
                "backup-archive-stop": segmentAt(backup.day * SEGMENTS_A_DAY + 1),
                "backup-error": false,
                "backup-info-repo-size": Math.floor(size / 5),
                "backup-info-repo-size-delta": Math.floor(size / (isFull ? 5 : 50)),
                "backup-info-repo-size-map": 26_021,
                "backup-info-repo-size-map-delta": 26_021,
                "backup-info-size": size,
                "backup-info-size-delta": size,
                "backup-lsn-start": "0/40001A0",
                "backup-lsn-stop": "0/402F540",
                ...(isFull ? {} : { "backup-prior": backup.full, "backup-reference": [backup.full] }),
                "backup-timestamp-start": seconds,
                "backup-timestamp-stop": seconds + 100 + some(`took ${node} ${backup.day}`, 500),
                "backup-type": isFull ? "full" : "diff",
                "db-id": 1,
                "option-archive-check": true,
                "option-archive-copy": false,
                "option-backup-standby": false,
                "option-checksum-page": true,
                "option-compress": true,
                "option-hardlink": false,
                "option-online": true,
            }),
        ];
    });
    const db = { "db-catalog-version": "202406281", "db-control-version": "1700" };
    return infoFile({
        backrest: BACKREST(version),
        "backup:current": Object.fromEntries(backups),
        db: { ...db, "db-id": "1", "db-system-id": systemId(node), "db-version": '"17"' },
        "db:history": {
            1: `{"db-catalog-version":202406281,"db-control-version":1700,"db-system-id":${systemId(node)},"db-version":"17"}`,
        },
    });
}

function archiveInfo(node: number, version: string): string {
    return infoFile({
        backrest: BACKREST(version),
        db: { "db-id": "1", "db-system-id": systemId(node), "db-version": '"17"' },
        "db:history": { 1: `{"db-id":${systemId(node)},"db-version":"17"}` },
    });
}

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 16);
const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);

function nodesList(day: number): string {
    const nodes = numbers(BIG.nodes).map((n) => {
        const backup = backupsOf(n)[day];
        return {
            host: `${nodeAt(n)}.big.node`,
            node: nodeAt(n),
            port: 5432,
            citus: "14.0-1",
            label: backup?.label ?? "",
            stanza: `${BIG.cluster}-${nodeAt(n)}`,
            groupId: n,
            history: null,
            postgres: "17.6",
            timeline: 1,
            archiveId: "17-1",
            backupTime: new Date(backup?.start ?? 0).toISOString(),
            backupBytes: 40_000_000_000 + some(`size ${n} ${day}`, 1_000_000_000),
            backupStart: segmentAt(day * SEGMENTS_A_DAY),
            holdsShards: n > 0,
            systemIdentifier: systemId(n),
        };
    });
    const lines = nodes.map((n) => `${n.groupId} ${n.stanza} ${n.archiveId} ${n.label} ${n.backupStart} 1\n`);
    return `${JSON.stringify(nodes)}\n${lines.join("")}`;
}

function tablesList(): string {
    const tables = numbers(BIG.tables).map((i) => ({
        name: `tenant_${Math.floor(i / 5)}.${["orders", "items", "customers", "events", "payments"][i % 5]}`,
        rows: 10 ** some(`rows ${i}`, 6),
        method: "h",
        shards: 1,
        replicated: false,
    }));
    return `${JSON.stringify(tables)}\n`;
}

/** Names of all points, the oldest first. */
export function pointNames(): string[] {
    return numbers(BIG.days * BIG.pointsADay).map((i) => {
        const at = new Date(FIRST_DAY + 7_200_000 + (i * DAY) / BIG.pointsADay);
        const time = at.toISOString().replace(/[-:]|\.\d+/g, "");
        return `${BIG.cluster}_${time}_${hex(some(`name ${i}`, 65_536), 4).toLowerCase()}`;
    });
}

function pointFile(name: string, i: number): string {
    const day = Math.floor(i / BIG.pointsADay);
    const at = new Date(FIRST_DAY + 7_200_000 + (i * DAY) / BIG.pointsADay);
    const nodes = numbers(BIG.nodes).map((n) => {
        const last = segmentAt(day * SEGMENTS_A_DAY + 2 + (i % BIG.pointsADay) + some(`last ${n} ${i}`, 3));
        return {
            lsn: `${hex(day, 1)}/${hex(some(`lsn ${n} ${i}`, 2 ** 31), 8)}`,
            time: new Date(at.getTime() + some(`time ${n} ${i}`, 900)).toISOString(),
            bytes: 40_000_000_000 + some(`bytes ${n} ${i}`, 1_000_000_000),
            groupId: n,
            placements: 25,
            lastSegment: last,
            firstSegment: last,
        };
    });
    const point = {
        name,
        time: at.toISOString(),
        citus: "14.0.1",
        nodes,
        cluster: BIG.cluster,
        notHeld: [],
        version: 1,
        database: "app",
        postgres: "17.6",
        pauseMilliseconds: 40,
        writesEnterAnywhere: true,
    };
    return `${JSON.stringify(point)}\n${nodes.map((n) => `${n.groupId} ${n.lastSegment}\n`).join("")}`;
}

/**
 * All of it but the segments, which are empty files: a script makes those of the last three days where the tar is unpacked,
 * a quarter of a million. Nothing that is looked for rests on older ones.
 * @param version of pgBackRest
 */
export async function bigRepository(version: string): Promise<{ tar: Buffer; segments: string }> {
    const entries: TarEntry[] = [];
    const add = (name: string, content: string | Buffer) => entries.push({ name, mode: 0o644, content });
    for (const n of numbers(BIG.nodes)) {
        const stanza = `${BIG.cluster}-${nodeAt(n)}`;
        for (const copy of ["", ".copy"]) {
            add(`backup/${stanza}/backup.info${copy}`, backupInfo(n, version));
            add(`archive/${stanza}/archive.info${copy}`, archiveInfo(n, version));
        }
    }
    const tables = tablesList();
    const lists = numbers(BIG.days).map(nodesList);
    for (const text of [tables, ...lists]) add(`restore-points/${BIG.cluster}/lists/${hashOf(text)}`, gzipSync(text));
    for (const [i, name] of pointNames().entries()) {
        const list = hashOf(lists[Math.floor(i / BIG.pointsADay)] ?? "");
        const day = new Date(FIRST_DAY + 7_200_000 + (i * DAY) / BIG.pointsADay).toISOString().slice(0, 10);
        const path = `restore-points/${BIG.cluster}/${day}/${name}.${list}.${hashOf(tables)}`;
        // only the last days are read whole; the others are as large, and all the same
        const content = i < (BIG.days - 2) * BIG.pointsADay ? OLDER : gzipSync(pointFile(name, i));
        add(path, content);
    }
    const segments = [
        `for stanza in archive/${BIG.cluster}-*; do`,
        `    for log in $(seq ${Math.floor(((BIG.days - 3) * SEGMENTS_A_DAY) / 256)} ${Math.floor((BIG.days * SEGMENTS_A_DAY) / 256)}); do`,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: of the shell
        '        folder=$(printf "%s/17-1/00000001%08X" "$stanza" "$log"); mkdir -p "$folder"; (cd "$folder" && printf "${folder##*/}%08X-0123456789abcdef0123456789abcdef01234567.zst\\n" $(seq 0 255) | xargs touch)',
        "    done",
        "done",
    ].join("\n");
    return { tar: await packTar(entries), segments };
}

const OLDER = gzipSync(pointFile("older", 0));
