/** prune.sh deletes nothing on an answer that was not had: each call to the repository fails once. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

const ROOT = join(import.meta.dirname, "..", "..");
const DAYS = ["2026-11-28", "2026-11-29", "2026-11-30"];
const NEWEST = "2026-11-30";

interface Repository {
    /** Days whose points can all be restored no more. @default ["2026-11-28"] */
    readonly old?: readonly string[];
    /** Days whose points need the backups of worker-3, which left. @default none */
    readonly needing?: readonly string[];
    /** Which call fails, counted from 1. @default none */
    readonly fails?: number;
    /** A day whose file comes empty although the call succeeds. */
    readonly empty?: string;
    /** Days that the listing has. @default all */
    readonly listed?: readonly string[];
    /** What PostgreSQL says of a day's file instead of t or f. */
    readonly answer?: string;
}

/** Runs it and says what it read, what it removed, and how it ended. */
function prune(repository: Repository = {}): { code: number; said: string; calls: string[]; removed: string[] } {
    const { old = ["2026-11-28"], needing = [], fails = 0, empty, listed = DAYS, answer } = repository;
    const dir = mkdtempSync(join(tmpdir(), "citus-prune-"));
    try {
        for (const name of ["prune.sh", "point-useful.sql"])
            copyFileSync(join(ROOT, "scripts/node", name), join(dir, name));
        mkdirSync(join(dir, "repo"));
        mkdirSync(join(dir, "current"));
        writeFileSync(join(dir, "current", "database"), "app\n");
        for (const day of DAYS) {
            const stanzas = ["c-coordinator", "c-worker-1", ...(needing.includes(day) ? ["c-worker-3"] : [])];
            const point = JSON.stringify({ day, nodes: stanzas.map((stanza) => ({ stanza })) }).replaceAll(
                '":"',
                '": "',
            );
            writeFileSync(join(dir, "repo", day), day === empty ? "" : `${point}\n`);
        }
        writeFileSync(join(dir, "manifest"), '{"nodes": [{"stanza": "c-coordinator"}, {"stanza": "c-worker-1"}]}\n');
        writeFileSync(join(dir, "info"), "[]\n");
        writeFileSync(
            join(dir, "psql"),
            `#!/usr/bin/env bash
for word; do case $word in day_file=*) file=\${word#day_file=} ;; esac; done
${answer === undefined ? `case $(basename "$file") in ${[...old, "none"].join("|")}) echo f ;; *) echo t ;; esac` : answer}
`,
            { mode: 0o755 },
        );
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
    if [ "$(wc -l < ${dir}/calls)" = ${fails} ]; then echo "ERROR: [039]: 503" >&2; return 39; fi
    case $1 in
        repo-ls) case $2 in backup) printf 'c-coordinator\\nc-worker-1\\nc-worker-3\\nother-worker-3\\n' ;; *) printf '%s.jsonl\\n' ${listed.join(" ")} ;; esac ;;
        repo-get) cat "${dir}/repo/$(basename "$2" .jsonl)" ;;
        repo-rm) : ;;
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

describe("prune.sh", () => {
    test("removes a day that can't be restored, and the backups of a worker that nobody needs; another cluster's stay", () => {
        const { code, removed, said } = prune();
        assert.equal(code, 0, said);
        assert.deepEqual(removed, [
            "repo-rm restore-points/c/2026-11-28.jsonl",
            "repo-rm --recurse backup/c-worker-3",
            "repo-rm --recurse archive/c-worker-3",
        ]);
    });

    test("removes nothing where all is needed, and never the newest day", () => {
        assert.deepEqual(prune({ old: [], needing: ["2026-11-29"] }).removed, []);
        assert.deepEqual(prune({ old: [NEWEST], needing: [NEWEST] }).removed, []);
    });

    const reads = prune().calls.filter((call) => !call.startsWith("repo-rm"));
    for (const [i, call] of reads.entries()) {
        test(`removes nothing when this fails: ${call}`, () => {
            const { code, removed, said } = prune({ fails: i + 1 });
            assert.equal(code, 77, said);
            assert.deepEqual(removed, []);
            assert.match(said, /nothing is removed.*503/);
        });
    }

    test("reads everything before it removes anything", () => {
        assert.equal(reads.length, 1 + DAYS.length + 1);
        assert.ok(
            prune()
                .calls.slice(0, reads.length)
                .every((call) => !call.startsWith("repo-rm")),
        );
    });

    for (const [what, repository, said] of [
        ["a day's file comes empty", { empty: "2026-11-29" }, /restore points of 2026-11-29 are empty/],
        ["the listing comes empty", { listed: [] }, /lacks the newest one/],
        ["the listing lacks the newest day", { listed: DAYS.slice(0, 2) }, /lacks the newest one/],
        [
            "PostgreSQL can't read a day",
            { answer: "echo 'ERROR: invalid json' >&2; exit 3" },
            /can't be read.*invalid json/,
        ],
        ["PostgreSQL says nothing", { answer: ":" }, /whether the points of 2026-11-28 can be restored is not known/],
    ] as const) {
        test(`removes nothing when ${what}`, () => {
            const ran = prune(repository);
            assert.equal(ran.code, 77, ran.said);
            assert.deepEqual(ran.removed, []);
            assert.match(ran.said, said);
        });
    }
});
