/** prune.sh deletes nothing on an answer that was not had: each call to the repository fails once. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, test } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..", "..");
/** Lists of nodes by their hashes, which are made up: one of old backups, one of present ones. */
const OLD = "aaaaaaaaaaaaaaaa";
const PRESENT = "bbbbbbbbbbbbbbbb";
const TABLES = "cccccccccccccccc";
const OLD_TABLES = "dddddddddddddddd";
const NEWEST = `2026-11-30/c_20261130T100000Z_0003.${PRESENT}.${TABLES}`;
const POINTS = [
    `2026-11-28/c_20261128T100000Z_0001.${OLD}.${OLD_TABLES}`,
    `2026-11-29/c_20261129T100000Z_0002.${PRESENT}.${TABLES}`,
    NEWEST,
];

interface Repository {
    /** Paths below the cluster's folder. @default one point a day, of which the first has lost its backups */
    readonly points?: readonly string[];
    /** Workers of the old points. @default 1 and 3, which left */
    readonly oldWorkers?: readonly number[];
    /** Labels that are in the repository. @default those of the present list */
    readonly labels?: readonly string[];
    /** The call that fails. @default none */
    readonly fails?: string;
    /** What a list's file has instead. */
    readonly list?: { readonly hash: string; readonly text: string };
    /** What PostgreSQL does instead of naming the backups. */
    readonly psql?: string;
    /** Folders of backups that pgBackRest does not name, as `<stanza>/<label>`. @default none */
    readonly unnamed?: readonly string[];
    /** Folders in backup/. @default those of the coordinator, of workers 1 and 3, and of another cluster */
    readonly stanzas?: readonly string[];
}

const nodesList = (workers: readonly number[], label: string) =>
    [
        '[{"groupId": 0}]',
        ...["coordinator", ...workers.map((n) => `worker-${n}`)].map(
            (node, i) => `${i} c-${node} 17-1 ${label} 000000010000000000000003 1`,
        ),
        "",
    ].join("\n");

/** Runs it and says what it read, what it removed, and how it ended. */
function prune(repository: Repository = {}): { code: number; said: string; calls: string[]; removed: string[] } {
    const {
        points = POINTS,
        oldWorkers = [1, 3],
        labels = ["c-coordinator new", "c-worker-1 new"],
        fails = "none",
        list,
        psql,
        unnamed = [],
        stanzas = ["c-coordinator", "c-worker-1", "c-worker-3", "other-worker-3"],
    } = repository;
    const dir = mkdtempSync(join(tmpdir(), "citus-prune-"));
    try {
        for (const name of ["prune.sh", "points.sh"]) copyFileSync(join(ROOT, "scripts/node", name), join(dir, name));
        const lists: Record<string, string> = {
            [OLD]: nodesList(oldWorkers, "old"),
            [PRESENT]: nodesList([1], "new"),
            ...(list ? { [list.hash]: list.text } : {}),
        };
        mkdirSync(join(dir, "lists"));
        for (const [hash, text] of Object.entries(lists)) writeFileSync(join(dir, "lists", hash), gzipSync(text));
        mkdirSync(join(dir, "current"));
        writeFileSync(join(dir, "current", "database"), "app\n");
        writeFileSync(join(dir, "current", "pgbackrest.conf"), "repo1-type=s3\n");
        const folders = [...labels.map((line) => line.replace(" ", "/")), ...unnamed];
        for (const stanza of stanzas)
            writeFileSync(
                join(dir, `folder.${stanza}`),
                folders.flatMap((path) => (path.startsWith(`${stanza}/`) ? `${path.split("/")[1]}\n` : [])).join(""),
            );
        const there = [...points, ...[...Object.keys(lists), TABLES, OLD_TABLES].map((hash) => `lists/${hash}`)];
        writeFileSync(join(dir, "all"), there.map((path) => `${path}\n`).join(""));
        writeFileSync(join(dir, "stanzas"), stanzas.map((name) => `${name}\n`).join(""));
        writeFileSync(join(dir, "labels"), labels.map((line) => `${line}\n`).join(""));
        writeFileSync(join(dir, "manifest"), nodesList([1], "new"));
        writeFileSync(join(dir, "info"), "[]\n");
        writeFileSync(join(dir, "psql"), `#!/usr/bin/env bash\n${psql ?? `cat ${dir}/labels`}\n`, { mode: 0o755 });
        writeFileSync(
            join(dir, "lib.sh"),
            `set -euo pipefail
current=${dir}/current pgbin=${dir} socket=${dir}
die() { code=$1; shift; echo "$*" >&2; exit "$code"; }
say() { echo "$*" >&2; }
one_line() { cat; }
read_backup_conf() { cluster=c; }
pgb() {
    echo "$*" >> ${dir}/calls
    if [ "$*" = "${fails}" ]; then echo "ERROR: [039]: 503" >&2; return 39; fi
    case $* in
        "repo-ls --recurse restore-points/c") cat ${dir}/all ;;
        "repo-ls restore-points/c/lists") sed -n 's|^lists/||p' ${dir}/all ;;
        "repo-ls backup") cat ${dir}/stanzas ;;
        "repo-ls backup/"*) cat "${dir}/folder.\${2##*/}" ;;
        repo-get*) cat "${dir}/lists/\${2##*/}" ;;
        repo-rm*) : ;;
    esac
}
`,
        );
        const ran = spawnSync("bash", [join(dir, "prune.sh"), join(dir, "info"), join(dir, "manifest"), NEWEST]);
        const calls = existsSync(join(dir, "calls")) ? readFileSync(join(dir, "calls"), "utf8").trim().split("\n") : [];
        return {
            code: ran.status ?? -1,
            said: String(ran.stderr),
            calls,
            removed: calls.filter((call) => call.startsWith("repo-rm")),
        };
    } finally {
        rmSync(dir, { recursive: true });
    }
}

const REMOVES_DAY = "repo-rm --recurse restore-points/c/2026-11-28";
const REMOVES_LISTS = [OLD, OLD_TABLES].map((hash) => `repo-rm restore-points/c/lists/${hash}`);
const REMOVES_WORKER = ["repo-rm --recurse backup/c-worker-3", "repo-rm --recurse archive/c-worker-3"];

describe("prune.sh", () => {
    test("removes a day that can't be restored with its lists, and the backups of a worker that nobody needs; another cluster's stay", () => {
        const { code, removed, said } = prune();
        assert.equal(code, 0, said);
        assert.deepEqual(removed, [...REMOVES_WORKER, REMOVES_DAY, ...REMOVES_LISTS]);
    });

    test("removes nothing where all is needed", () => {
        const labels = ["c-coordinator new", "c-worker-1 new", "c-coordinator old", "c-worker-1 old", "c-worker-3 old"];
        const { code, removed, said } = prune({ labels });
        assert.equal(code, 0, said);
        assert.deepEqual(removed, []);
    });

    test("a day stays while one of its points is of use, with the lists of all of them", () => {
        const points = [POINTS[0] ?? "", POINTS[1]?.replace("2026-11-29", "2026-11-28") ?? "", NEWEST];
        // what its useless points need of a worker that left is no use either
        assert.deepEqual(prune({ points }).removed, REMOVES_WORKER);
    });

    test("never removes the newest day, nor what the newest point needs", () => {
        const labels = ["c-coordinator other"];
        const { removed } = prune({ labels, points: [NEWEST], oldWorkers: [1] });
        assert.deepEqual(removed, REMOVES_LISTS);
    });

    test("the backups of a worker that is just joining stay: no point has named it yet", () => {
        const stanzas = ["c-coordinator", "c-worker-1", "c-worker-2"];
        assert.deepEqual(prune({ stanzas, oldWorkers: [1] }).removed, [REMOVES_DAY, ...REMOVES_LISTS]);
    });

    test("what was cut short is made up for: a stanza goes before the points that name it", () => {
        const { code, removed } = prune({ fails: REMOVES_WORKER[1] ?? "" });
        assert.notEqual(code, 0);
        assert.deepEqual(removed, REMOVES_WORKER);
    });

    const reads = prune().calls.filter((call) => !call.startsWith("repo-rm"));
    for (const call of reads) {
        test(`removes nothing when this fails: ${call}`, () => {
            const { code, removed, said } = prune({ fails: call });
            assert.equal(code, 77, said);
            assert.deepEqual(removed, []);
            assert.match(said, /nothing is removed.*503/s);
        });
    }

    test("reads everything before it removes anything", () => {
        assert.deepEqual(reads.toSorted(), [
            `repo-get restore-points/c/lists/${OLD}`,
            `repo-get restore-points/c/lists/${PRESENT}`,
            "repo-ls --recurse restore-points/c",
            "repo-ls backup",
            "repo-ls backup/c-coordinator",
            "repo-ls backup/c-worker-1",
            "repo-ls backup/c-worker-3",
            "repo-ls restore-points/c/lists",
        ]);
        assert.ok(
            prune()
                .calls.slice(0, reads.length)
                .every((call) => !call.startsWith("repo-rm")),
        );
    });

    for (const [what, repository, said] of [
        ["a list comes empty", { list: { hash: PRESENT, text: "" } }, /list bbbbbbbbbbbbbbbb .* is not whole/],
        [
            "a list is cut",
            { list: { hash: OLD, text: nodesList([1, 3], "old").slice(0, -30) } },
            /list aaaaaaaaaaaaaaaa .* is not whole/,
        ],
        ["the listing comes empty", { points: [] }, /lacks the newest one/],
        ["the listing lacks the newest point", { points: POINTS.slice(0, 2) }, /lacks the newest one/],
        [
            "PostgreSQL can't read the backups",
            { psql: "echo 'ERROR: bad json' >&2; exit 3" },
            /can't be read.*bad json/,
        ],
        [
            "pgBackRest can't read a stanza's list of backups, and their folders are there",
            { unnamed: ["c-worker-3/old"] },
            /does not name the backup old of c-worker-3, and its files are there/,
        ],
        ["PostgreSQL names no backup", { labels: [] }, /there is no backup although/],
    ] as const) {
        test(`removes nothing when ${what}`, () => {
            const ran = prune(repository);
            assert.equal(ran.code, 77, ran.said);
            assert.deepEqual(ran.removed, []);
            assert.match(ran.said, said);
        });
    }
});
