/** How the node scripts find restore points and segments in a repository, on a volume and in a bucket. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, test } from "vitest";
import { parseContents } from "../../../core/restore/repository.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");

/** Runs functions of points.sh on a repository that is a folder; `fails` is a call that gets no answer. */
function run(
    script: string,
    given: { files?: Record<string, string | Buffer>; type?: "posix" | "s3"; input?: string; fails?: string } = {},
) {
    const dir = mkdtempSync(join(tmpdir(), "citus-points-"));
    try {
        for (const [name, content] of Object.entries(given.files ?? {})) {
            mkdirSync(dirname(join(dir, "repo", name)), { recursive: true });
            writeFileSync(join(dir, "repo", name), content);
        }
        mkdirSync(join(dir, "work"));
        const type = given.type ?? "posix";
        writeFileSync(join(dir, "pgbackrest.conf"), `[global]\nrepo1-type=${type}\nrepo1-path=${join(dir, "repo")}\n`);
        const lib = `
set -euo pipefail
current=${dir}
pgb() {
    if [ "$*" = "${given.fails ?? "none"}" ]; then echo "ERROR: [039]: 503" >&2; return 39; fi
    case $1 in
        repo-get) cat "${dir}/repo/$2" ;;
        repo-put) mkdir -p "$(dirname "${dir}/repo/$2")"; cat > "${dir}/repo/$2" ;;
        repo-ls)
            if [ "$2" = --recurse ]; then
                if [ -d "${dir}/repo/$3" ]; then (cd "${dir}/repo/$3" && find . -mindepth 1 | sed 's|^./||'); fi
            elif [ -d "${dir}/repo/$2" ]; then ls "${dir}/repo/$2"; fi ;;
    esac
}
. ${join(ROOT, "scripts/node/points.sh")}
`;
        const ran = spawnSync("bash", ["-c", `${lib}\n${script}`, "test", join(dir, "work")], {
            encoding: "utf8",
            input: given.input ?? "",
        });
        const at = join(dir, "repo", "restore-points/c/lists/x");
        const put = existsSync(at) ? readFileSync(at) : undefined;
        return { code: ran.status, lines: ran.stdout.split("\n").filter(Boolean), stderr: ran.stderr, put };
    } finally {
        rmSync(dir, { recursive: true });
    }
}

const POINTS = {
    "restore-points/c/2026-11-29/c_20261129T100000Z_0001.aaaa.bbbb": "",
    "restore-points/c/2026-11-30/c_20261130T000000Z_0003.aaaa.cccc": "",
    "restore-points/c/2026-11-30/c_20261130T100000Z_0002.aaaa.bbbb": "",
    "restore-points/c/lists/aaaa": "",
    "restore-points/c/2026-11-28.jsonl": "a list as it was before",
};

describe("points", () => {
    test("are listed by their names, the oldest first", () => {
        assert.deepEqual(run('list_points c "$1/said"', { files: POINTS }).lines, [
            "c_20261129T100000Z_0001 aaaa bbbb 2026-11-29",
            "c_20261130T000000Z_0003 aaaa cccc 2026-11-30",
            "c_20261130T100000Z_0002 aaaa bbbb 2026-11-30",
        ]);
        assert.deepEqual(run('list_points c "$1/said"'), { code: 0, lines: [], stderr: "", put: undefined });
    });

    test("the newest of them", () => {
        assert.deepEqual(run("newest_point c", { files: POINTS }).lines, [
            "c_20261130T100000Z_0002 aaaa bbbb 2026-11-30",
        ]);
        assert.deepEqual(run("newest_point c").lines, []);
    });

    test("a listing that was not had is no empty one", () => {
        const fails = "repo-ls --recurse restore-points/c";
        assert.notEqual(run('list_points c "$1/said" || exit 9', { files: POINTS, fails }).code, 0);
        for (const call of ["repo-ls restore-points/c", "repo-ls restore-points/c/2026-11-30"])
            assert.notEqual(run("newest_point c", { files: POINTS, fails: call }).code, 0, call);
    });

    test("files are packed, and come unpacked under their names", () => {
        const files = { "restore-points/c/lists/a": gzipSync("one\n"), "restore-points/c/lists/b": gzipSync("two\n") };
        const input = Object.keys(files).join("\n");
        assert.deepEqual(run('get_packed "$1"; cat "$1/a" "$1/b"', { files, input }).lines, ["one", "two"]);
        const { put } = run('printf x > "$1/f"; put_packed "$1/f" restore-points/c/lists/x');
        assert.equal(gunzipSync(put ?? Buffer.alloc(0)).toString(), "x");
    });

    test("one that can't be read, or is not whole, is an error", () => {
        const whole = gzipSync("one two three four\n");
        const files = { a: whole, b: whole.subarray(0, whole.length - 6) };
        assert.notEqual(run('get_packed "$1"', { files, input: "a\nb\n" }).code, 0);
        assert.notEqual(run('get_packed "$1"', { files: { a: whole }, input: "a\n", fails: "repo-get a" }).code, 0);
        assert.equal(run('get_packed "$1"', { files: { a: whole }, input: "a\n" }).code, 0);
    });
});

const name = (segment: string) => `${segment}-0123456789abcdef.zst`;
const folder = "archive/c-worker-1/17-1";
const SEGMENTS = [
    "0000000100000000000000FE",
    "0000000100000000000000FF",
    "000000010000000100000000",
    "000000010000000100000002",
    "00000002000000010000000A",
];
const FILES = {
    ...Object.fromEntries(SEGMENTS.map((segment) => [`${folder}/${segment.slice(0, 16)}/${name(segment)}`, ""])),
    [`${folder}/00000002.history`]: "",
    [`${folder}/0000000100000001/000000010000000100000005.00000028.backup`]: "",
};

describe("segments", () => {
    test("the folders that have them, of each timeline on the way", () => {
        const input = "c-worker-1/17-1 0000000100000000000000FE 000000020000000100000003 1 2\n";
        assert.deepEqual(run("segment_folders", { input }).lines, [
            `${folder}/0000000100000000`,
            `${folder}/0000000200000000`,
            `${folder}/0000000100000001`,
            `${folder}/0000000200000001`,
            folder,
        ]);
        assert.deepEqual(
            run("segment_folders", { input: "s/17-1 00000001000000FF000000FE 000000010000010000000000 1\n" }).lines,
            ["archive/s/17-1/00000001000000FF", "archive/s/17-1/0000000100000100"],
        );
    });

    for (const type of ["posix", "s3"] as const) {
        const input = [
            folder,
            `${folder}/0000000100000000`,
            `${folder}/0000000100000001`,
            `${folder}/0000000200000001`,
            `${folder}/0000000300000000`,
        ];

        test(`what lies in folders, as runs (${type})`, () => {
            // its caller has a file of that name there
            const { code, lines, stderr } = run('touch "$1/folders"; list_folders "$1" | segment_runs', {
                files: FILES,
                type,
                input: input.join("\n"),
            });
            assert.equal(code, 0, stderr);
            assert.deepEqual(lines.length, 1);
            const { segments } = parseContents(`SEGMENTS ${lines[0]}`);
            assert.deepEqual(segments["c-worker-1/17-1"]?.toSorted(), ["00000002.history", ...SEGMENTS].toSorted());
        });
    }

    test("a folder of a bucket that can't be read is an error", () => {
        const given = { files: FILES, type: "s3", input: `${folder}/0000000100000000\n` } as const;
        assert.equal(run('list_folders "$1"', given).code, 0);
        assert.notEqual(run('list_folders "$1"', { ...given, fails: `repo-ls ${folder}/0000000100000000` }).code, 0);
    });
});
