/** Reading what scripts/node/repository.sh prints of a repository, and asking it for no more than is wanted. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import type { PointNode, RestorePoint, Stanza } from "../../../core/restore/points.ts";
import { parseContents, RepositoryError, readRepository, type Wanted } from "../../../core/restore/repository.ts";

const stanza = (name: string, labels: readonly string[] = []) =>
    ({
        name,
        status: { code: 0, message: "ok" },
        db: [],
        backup: labels.map((label) => ({ label })),
    }) as unknown as Stanza;
const point = (name: string, time: string) =>
    ({ version: 1, name, cluster: "c1", time, nodes: [], tables: [] }) as unknown as RestorePoint;

const FIRST = point("first", "2026-11-22T10:00:00.000Z");
const SECOND = point("second", "2026-11-22T10:05:00.000Z");
const STANZAS = [stanza("c1-coordinator"), stanza("c1-worker-1")];
const EMPTY = { points: [], listed: {}, stanzas: [], segments: {} };

const line = (kind: string, value: unknown) => `${kind} ${JSON.stringify(value)}\n`;
const list = (hash: string, value: unknown) => line(`LIST ${hash}`, value);
const pointLine = ({ tables: _tables, ...one }: RestorePoint, nodes = "n0") => line(`POINT ${nodes} t0`, one);
const NO_NODES = list("n0", []);

describe("parseContents", () => {
    test("reads the list of backups, the points and the segments", () => {
        const text =
            line("INFO", STANZAS) +
            "LISTED c1 600 first second\n" +
            NO_NODES +
            pointLine(SECOND) +
            pointLine(FIRST) +
            "SEGMENTS c1-coordinator/17-1 000000010000000000000009-0B 000000010000000000000010-10\n" +
            "SEGMENTS c1-worker-1/17-1 0000000100000000000000FF-FF\n" +
            "SEGMENTS c1-worker-1/17-2 00000002.history 000000020000000000000001-01\n";
        assert.deepEqual(parseContents(text), {
            points: [FIRST, SECOND],
            listed: { c1: { count: 600, oldest: "first", newest: "second" } },
            stanzas: STANZAS,
            segments: {
                "c1-coordinator/17-1": [
                    "000000010000000000000009",
                    "00000001000000000000000A",
                    "00000001000000000000000B",
                    "000000010000000000000010",
                ],
                "c1-worker-1/17-1": ["0000000100000000000000FF"],
                "c1-worker-1/17-2": ["00000002.history", "000000020000000000000001"],
            },
        });
    });

    test("a point is its own part with its lists'", () => {
        const fixed = { groupId: 1, node: "worker-1", label: "F" };
        const moving = { groupId: 1, lastSegment: "00", time: "2026-11-22T10:00:00.100Z" };
        const tables = [{ name: "public.a b", method: "h", replicated: false, shards: 4, rows: 10 }];
        const text =
            list("n1", [{ groupId: 0, node: "coordinator" }, fixed]) +
            list("t0", tables) +
            pointLine({ ...FIRST, nodes: [moving as PointNode] }, "n1");
        assert.deepEqual(parseContents(text).points, [{ ...FIRST, nodes: [{ ...fixed, ...moving }], tables }]);
    });

    test("a point whose list is not there is an error", () => {
        assert.throws(() => parseContents(pointLine(FIRST)), /the list n0 of the nodes of first is missing/);
    });

    test("an empty repository", () => {
        for (const text of ["", "INFO []\n"]) assert.deepEqual(parseContents(text), EMPTY);
    });

    test("the versions of the image that read it", () => {
        const versions = { postgres: "17.6", citus: "14.0-1" };
        assert.deepEqual(parseContents("VERSIONS 17.6 14.0-1\nINFO []\n"), { ...EMPTY, versions });
        // an image without Citus has none, which is another than any point's
        assert.deepEqual(parseContents("VERSIONS 17.6 \n").versions, { postgres: "17.6", citus: "" });
        assert.ok(!("versions" in parseContents("INFO []\n")));
    });

    test("a database without a segment yet", () => {
        assert.deepEqual(parseContents("INFO []\nSEGMENTS c1-coordinator/17-1 \n").segments, {
            "c1-coordinator/17-1": [],
        });
    });

    test("spaces inside of a point are kept", () => {
        const spaced = { ...FIRST, database: "a  b" };
        assert.deepEqual(parseContents(NO_NODES + pointLine(spaced)).points, [spaced]);
    });

    test("other lines are passed over", () => {
        const text = `\nWARN something\n${NO_NODES}${pointLine(FIRST)}SEGMENTS\nend`;
        assert.deepEqual(parseContents(text), { ...EMPTY, points: [FIRST] });
    });

    test("a line that is cut is an error, not a point less", () => {
        assert.throws(() => parseContents(NO_NODES + pointLine(FIRST).slice(0, 30)), SyntaxError);
    });

    test("runs of segments are the names in them", () => {
        const two = (n: number) => n.toString(16).toUpperCase().padStart(2, "0");
        fc.assert(
            fc.property(fc.nat({ max: 255 }), fc.nat({ max: 255 }), (a, b) => {
                const [from, to] = [Math.min(a, b), Math.max(a, b)];
                const log = "0000000A000000FF000000";
                const { segments } = parseContents(`SEGMENTS s/17-1 ${log}${two(from)}-${two(to)}\n`);
                assert.equal(segments["s/17-1"]?.length, to - from + 1);
                assert.equal(segments["s/17-1"]?.[0], log + two(from));
                assert.equal(segments["s/17-1"]?.at(-1), log + two(to));
            }),
        );
    });
});

/** A repository with a point a minute, of which the newest ones have lost the backup that they rest on. */
function repository(count: number, broken: number) {
    const at = (i: number) => new Date(Date.UTC(2026, 10, 22, 10, i));
    const nameOf = (i: number) =>
        `c1_${at(i)
            .toISOString()
            .replace(/[-:]|\.\d+/g, "")}_00ff`;
    const names = Array.from({ length: count }, (_, i) => nameOf(i));
    const asked: string[] = [];
    const run = async (words: readonly string[]) => {
        asked.push(words.slice(1).join(" "));
        const [, kind, , a = "", how, b = ""] = words;
        const newestFirst = names.toReversed();
        const fitting =
            kind === "point"
                ? names.filter((name) => name === a)
                : newestFirst
                      .filter((name) => how !== "before" || name < b)
                      .filter((name) => how !== "at" || (name.split("_")[1] ?? "") <= b)
                      .slice(0, Number(a));
        const segment = "000000010000000000000003";
        const where = { node: "coordinator", stanza: "c1-coordinator", archiveId: "17-1", timeline: 1, history: null };
        const node = (label: string) => [{ groupId: 0, ...where, label, backupStart: segment }];
        const text = [
            ...(count > 0 ? [`LISTED c1 ${count} ${names[0]} ${names.at(-1)}`] : []),
            ...(words.at(-1) === "bare" ? [] : [`INFO ${JSON.stringify([stanza("c1-coordinator", ["kept"])])}`]),
            `SEGMENTS c1-coordinator/17-1 ${segment}-03`,
            `LIST kept ${JSON.stringify(node("kept"))}`,
            `LIST lost ${JSON.stringify(node("lost"))}`,
            ...(kind === "point" ? ['LIST t0 [{"name":"public.t"}]'] : []),
            ...fitting.map((name) => {
                const i = names.indexOf(name);
                const own = { ...point(name, at(i).toISOString()), nodes: [{ groupId: 0, lastSegment: segment }] };
                return `POINT ${i >= count - broken ? "lost" : "kept"} t0 ${JSON.stringify({ ...own, tables: undefined })}`;
            }),
        ].join("\n");
        return { code: 0, stdout: text, stderr: "" };
    };
    const read = (wanted: Wanted) => readRepository("r", {}, { group: "restore", version: "", files: {} }, run, wanted);
    return { names, asked, read };
}

describe("readRepository", () => {
    const LATEST = { kind: "restore", cluster: "c1", point: "latest" } as const;

    test("the latest point: a few are read, and the tables of the one", async () => {
        const { names, asked, read } = repository(6000, 0);
        const contents = await read(LATEST);
        const newest = names.at(-1);
        assert.deepEqual(asked, ["points c1 4 newest", `point c1 ${newest} bare`]);
        assert.equal(contents.points.at(-1)?.name, newest);
        assert.deepEqual(contents.points.at(-1)?.tables, [{ name: "public.t" }]);
        assert.equal(contents.listed?.c1?.count, 6000);
    });

    test("newer ones that can't be restored are passed over, in steps that grow", async () => {
        const { names, asked, read } = repository(6000, 50);
        const contents = await read(LATEST);
        assert.deepEqual(
            asked.map((words) => words.split(" ").slice(0, 4).join(" ")),
            ["points c1 4 newest", "points c1 16 before", "points c1 64 before", `point c1 ${names[5949]} bare`],
        );
        assert.equal(contents.points.length, 84);
        assert.deepEqual(
            contents.points.map(({ name }) => name),
            names.slice(-84),
        );
    });

    test("where none can be restored all were looked at, once", async () => {
        const { asked, read } = repository(30, 30);
        const contents = await read(LATEST);
        assert.equal(contents.points.length, 30);
        assert.equal(asked.length, 3);
    });

    test("a name is that point alone", async () => {
        const { names, asked, read } = repository(100, 0);
        const contents = await read({ ...LATEST, point: names[7] ?? "" });
        assert.deepEqual(asked, [`point c1 ${names[7]}`]);
        assert.deepEqual(
            contents.points.map(({ name }) => name),
            [names[7]],
        );
        assert.deepEqual((await read({ ...LATEST, point: "c1_x" })).points, []);
    });

    test("a moment is asked for as names have it", async () => {
        const { names, asked, read } = repository(100, 0);
        const contents = await read({ ...LATEST, point: "2026-11-22T12:07:30.250+02:00" });
        assert.deepEqual(asked, ["points c1 3 at 20261122T100730Z", `point c1 ${names[7]} bare`]);
        assert.equal(contents.points.at(-1)?.name, names[7]);
    });

    test("without a cluster's name the only one is meant", async () => {
        const { names, asked, read } = repository(5, 0);
        await read({ kind: "restore", point: "latest" });
        assert.deepEqual(asked, ["points - 4 newest", `point c1 ${names[4]} bare`]);
    });

    test("a worker that is rebuilt: the newest point that has it", async () => {
        const { names, asked, read } = repository(5, 5);
        const contents = await read({ ...LATEST, onlyWorker: "coordinator" });
        assert.deepEqual(asked, ["points c1 4 newest", `point c1 ${names[4]} bare`]);
        assert.deepEqual(contents.points.at(-1)?.tables, [{ name: "public.t" }]);
        assert.equal((await read({ ...LATEST, onlyWorker: "worker-9" })).points.length, 5);
    });

    test("an empty repository", async () => {
        for (const point of ["latest", "c1_x", "2026-11-22T12:00:00Z"])
            assert.deepEqual((await repository(0, 0).read({ ...LATEST, point })).points, []);
    });

    test("a list is one question", async () => {
        const { asked, read } = repository(100, 0);
        assert.equal((await read({ kind: "list", cluster: "c1", count: 20 })).points.length, 20);
        assert.deepEqual(asked, ["points c1 20 newest"]);
    });

    test("what can't be read says so, and which passphrase is meant", async () => {
        const run = async () => ({ code: 11, stdout: "", stderr: "it is another's\n" });
        const secrets = { group: "restore", version: "", files: {} } as const;
        await assert.rejects(
            readRepository("r", {}, secrets, run, LATEST),
            (error) =>
                error instanceof RepositoryError &&
                /^the repository r: it is another's \(its passphrase must be in citus:restorePassphrase/.test(
                    error.message,
                ),
        );
    });
});
