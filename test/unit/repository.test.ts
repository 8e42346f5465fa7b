/** Reading what scripts/node/repository.sh prints of a repository. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { RestorePoint, Stanza } from "../../components/restore/points.ts";
import { parseContents } from "../../components/restore/repository.ts";

const stanza = (name: string) => ({ name, status: { code: 0, message: "ok" }, db: [], backup: [] }) as Stanza;
const point = (name: string, time: string) => ({ version: 1, name, cluster: "c1", time }) as RestorePoint;

const FIRST = point("first", "2026-11-22T10:00:00.000Z");
const SECOND = point("second", "2026-11-22T10:05:00.000Z");
const STANZAS = [stanza("c1-coordinator"), stanza("c1-worker-1")];

const line = (kind: string, value: unknown) => `${kind} ${JSON.stringify(value)}\n`;

describe("parseContents", () => {
    test("reads the list of backups, the points and the segments", () => {
        const text =
            line("INFO", STANZAS) +
            line("POINT", FIRST) +
            line("POINT", SECOND) +
            "SEGMENTS c1-coordinator/17-1 000000010000000000000003 000000010000000000000004 \n" +
            "SEGMENTS c1-worker-1/17-1 000000010000000000000005 \n" +
            "SEGMENTS c1-worker-1/17-2 00000002.history 000000020000000000000001 \n";
        assert.deepEqual(parseContents(text), {
            points: [FIRST, SECOND],
            stanzas: STANZAS,
            segments: {
                "c1-coordinator/17-1": ["000000010000000000000003", "000000010000000000000004"],
                "c1-worker-1/17-1": ["000000010000000000000005"],
                "c1-worker-1/17-2": ["00000002.history", "000000020000000000000001"],
            },
        });
    });

    test("an empty repository", () => {
        for (const text of ["", "INFO []\n"])
            assert.deepEqual(parseContents(text), { points: [], stanzas: [], segments: {} });
    });

    test("the versions of the image that read it", () => {
        assert.deepEqual(parseContents("VERSIONS 17.6 14.0-1\nINFO []\n"), {
            points: [],
            stanzas: [],
            segments: {},
            versions: { postgres: "17.6", citus: "14.0-1" },
        });
        // an image without Citus has none, which is another than any point's
        assert.deepEqual(parseContents("VERSIONS 17.6 \n").versions, { postgres: "17.6", citus: "" });
        assert.ok(!("versions" in parseContents("INFO []\n")));
    });

    test("a database without a segment yet", () => {
        assert.deepEqual(parseContents("INFO []\nSEGMENTS c1-coordinator/17-1 \n").segments, {
            "c1-coordinator/17-1": [],
        });
    });

    test("points of many days and clusters come out oldest first", () => {
        const other = { ...point("other", "2026-11-21T23:59:59.999Z"), cluster: "c0" };
        const text = line("POINT", SECOND) + line("POINT", FIRST) + line("INFO", []) + line("POINT", other);
        assert.deepEqual(parseContents(text).points, [other, FIRST, SECOND]);
    });

    test("spaces inside of a point are kept", () => {
        const spaced = { ...FIRST, database: "a  b" };
        assert.deepEqual(parseContents(line("POINT", spaced)).points, [spaced]);
    });

    test("other lines are passed over", () => {
        const text = `\nWARN something\n${line("POINT", FIRST)}SEGMENTS\nend`;
        assert.deepEqual(parseContents(text), { points: [FIRST], stanzas: [], segments: {} });
    });

    test("a line that is cut is an error, not a point less", () => {
        assert.throws(() => parseContents(line("POINT", FIRST).slice(0, 30)), SyntaxError);
    });

    test("whatever was printed is read", () => {
        const hex = fc.stringMatching(/^[0-9A-F]{24}$/);
        const key = fc.stringMatching(/^[a-z]{1,8}-worker-[1-9]\/17-[1-9]$/);
        const time = fc.integer({ min: 1_795_000_000_000, max: 1_796_000_000_000 });
        fc.assert(
            fc.property(fc.dictionary(key, fc.array(hex)), fc.uniqueArray(time), (segments, times) => {
                const points = times.map((t) => point(`p${t}`, new Date(t).toISOString()));
                const text =
                    line("INFO", STANZAS) +
                    points.map((p) => line("POINT", p)).join("") +
                    Object.entries(segments)
                        .map(([name, list]) => `SEGMENTS ${name} ${list.map((s) => `${s} `).join("")}\n`)
                        .join("");
                const found = parseContents(text);
                assert.deepEqual({ ...found.segments }, { ...segments });
                assert.deepEqual(found.stanzas, STANZAS);
                assert.deepEqual(
                    found.points.map((p) => p.name),
                    times.toSorted((a, b) => a - b).map((t) => `p${t}`),
                );
            }),
        );
    });
});
