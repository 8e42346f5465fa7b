/** What a restore may be asked for, which point is meant, whether it is provably there, and what each node has to do. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import {
    describePlan,
    planRestore,
    type RestorePlan,
    type RestoreRequest,
    repositoryTrouble,
    type TargetNode,
} from "../../../core/restore/plan.ts";
import {
    type Contents,
    choosePoint,
    missingFor,
    type PointNode,
    type RestorePoint,
    type Stanza,
    whyNotRestorable,
} from "../../../core/restore/points.ts";
import { parseTime, refusedTarget } from "../../../core/restore/request.ts";

const ONLY_POINTS =
    "A cluster is restored to a restore point, which is the same moment on every node: give latest, a point's name, " +
    "or a time such as 2026-11-22T10:00:00Z, which snaps to the last point before it";

describe("refusedTarget", () => {
    const bad: readonly [what: string, value: unknown, message: string][] = [
        [
            "a log sequence number",
            "0/16B3748",
            `can't be a log sequence number: each node has its own, so one names no moment of the cluster. ${ONLY_POINTS}`,
        ],
        [
            "a transaction id",
            "73519",
            `can't be a transaction id: each node counts its own, so one names no moment of the cluster. ${ONLY_POINTS}`,
        ],
        [
            "a transaction id as pulumi config set --path stores it",
            73_519,
            `can't be a transaction id: each node counts its own, so one names no moment of the cluster. ${ONLY_POINTS}`,
        ],
        ["immediate", "immediate", `can't be "immediate": nodes would stop at different moments. ${ONLY_POINTS}`],
        ["current", "current", `can't be "current": nodes would stop at different moments. ${ONLY_POINTS}`],
        ["default", "default", `can't be "default": nodes would stop at different moments. ${ONLY_POINTS}`],
        ["end", "end", `can't be "end": nodes would stop at different moments. ${ONLY_POINTS}`],
        [
            "a point a node",
            { coordinator: "latest", "worker-1": "2026-11-22T10:00:00Z" },
            `can't be given node by node: nodes that stop at different moments split transactions between them. ${ONLY_POINTS}`,
        ],
        [
            "a list of points",
            ["latest", "latest"],
            `can't be given node by node: nodes that stop at different moments split transactions between them. ${ONLY_POINTS}`,
        ],
        ["a time without a zone", "2026-11-22T10:00:00", "must be a time with its zone, such as 2026-11-22T10:00:00Z"],
        ["a day", "2026-11-22", "must be a time with its zone, such as 2026-11-22T10:00:00Z"],
        ["a month that is none", "2026-13-22T10:00:00Z", "must be a time with its zone, such as 2026-11-22T10:00:00Z"],
        ["a day that is none", "2026-02-30T10:00:00Z", "must be a time with its zone, such as 2026-11-22T10:00:00Z"],
        [
            "a leap day that is none",
            "2027-02-29T10:00:00Z",
            "must be a time with its zone, such as 2026-11-22T10:00:00Z",
        ],
        ["a day of zero", "2026-11-00T10:00:00Z", "must be a time with its zone, such as 2026-11-22T10:00:00Z"],
        ["a zone by its name", "2026-11-22T10:00:00 CET", "must be a time with its zone, such as 2026-11-22T10:00:00Z"],
        ["words", "an hour ago", `must be latest, a restore point's name or a time. ${ONLY_POINTS}`],
        ["a path", "../latest", `must be latest, a restore point's name or a time. ${ONLY_POINTS}`],
        ["a quote", "a'b", `must be latest, a restore point's name or a time. ${ONLY_POINTS}`],
        [
            "a name that PostgreSQL would cut",
            "x".repeat(64),
            `must be latest, a restore point's name or a time. ${ONLY_POINTS}`,
        ],
        ["nothing", "", `must be latest, a restore point's name or a time. ${ONLY_POINTS}`],
        ["null", null, `must be latest, a restore point's name or a time. ${ONLY_POINTS}`],
    ];
    for (const [what, value, message] of bad)
        test(`${what} is refused: ${JSON.stringify(value)}`, () => assert.equal(refusedTarget(value), message));

    for (const good of [
        "latest",
        "citus-dev_20261122T100000Z_ab12",
        "before-migration",
        "x".repeat(63),
        "2026-11-22T10:00:00Z",
        "2026-11-22T10:00Z",
        "2026-11-22 10:00:00.250Z",
        "2026-11-22T10:00:00+01:00",
        "2026-11-22T10:00:00-05:30",
        "2028-02-29T10:00:00Z",
        // the last day of a month here is the next month's first there
        "2026-11-30T23:30:00-05:00",
        " latest\n",
    ])
        test(`${good} may be asked for`, () => assert.equal(refusedTarget(good), undefined));

    test("any log sequence number and any transaction id is refused, whatever its digits", () => {
        const hex = fc.integer({ min: 0, max: 0xffffffff });
        fc.assert(
            fc.property(hex, hex, fc.boolean(), (high, low, upper) => {
                const lsn = `${high.toString(16)}/${low.toString(16)}`;
                assert.match(refusedTarget(upper ? lsn.toUpperCase() : lsn) ?? "", /^can't be a log sequence number/);
                assert.match(refusedTarget(String(high)) ?? "", /^can't be a transaction id/);
            }),
        );
    });

    test("any moment with a zone may be asked for, and means that moment", () => {
        // years of four digits
        const moment = fc.date({
            min: new Date("1971-01-01T00:00:00Z"),
            max: new Date("9998-12-31T00:00:00Z"),
            noInvalidDate: true,
        });
        fc.assert(
            fc.property(moment, fc.integer({ min: -14 * 60, max: 14 * 60 }), (date, offset) => {
                assert.equal(refusedTarget(date.toISOString()), undefined);
                assert.equal(parseTime(date.toISOString()), date.getTime());
                const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
                const zone = `${offset < 0 ? "-" : "+"}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`;
                const local = new Date(date.getTime() + offset * 60_000).toISOString().replace("Z", zone);
                assert.equal(refusedTarget(local), undefined, local);
                assert.equal(parseTime(local), date.getTime(), local);
                assert.equal(parseTime(local.replace("T", " ")), date.getTime(), local);
            }),
        );
    });

    test("only moments with a zone are times", () => {
        for (const text of [
            "latest",
            "2026-11-22",
            "2026-11-22T10:00:00",
            "10:00Z",
            "2026-11-22T25:00:00Z",
            "2026-04-31T10:00:00Z",
            "2026-02-30T23:59:59-01:00",
            "1795341600",
        ])
            assert.equal(parseTime(text), undefined, text);
    });
});

/** A segment's name, made another way than the code does: by the address of its first byte. */
function segment(timeline: number, at: number): string {
    const address = BigInt(at) * 16n * 1024n ** 2n;
    const part = (value: bigint) => value.toString(16).toUpperCase().padStart(8, "0");
    return part(BigInt(timeline)) + part(address >> 32n) + part((address & 0xffff_ffffn) >> 24n);
}

const nodeName = (groupId: number) => (groupId === 0 ? "coordinator" : `worker-${groupId}`);

/** A node whose backup began in segment 3 and whose point is in segment 6. */
const pointNode = (groupId: number, more: Partial<PointNode> = {}): PointNode => ({
    groupId,
    node: nodeName(groupId),
    host: `${nodeName(groupId)}.c1.node`,
    port: 5432,
    holdsShards: groupId !== 0,
    stanza: `c1-${more.node ?? nodeName(groupId)}`,
    timeline: 1,
    systemIdentifier: `7${groupId}`,
    lsn: "0/6000100",
    bytes: 1_500_000_000,
    postgres: "17.6",
    citus: "14.0-1",
    firstSegment: segment(1, 6),
    lastSegment: segment(1, 6),
    time: "2026-11-22T10:00:00.000Z",
    history: null,
    placements: groupId === 0 ? 0 : 16,
    label: "20261122-090000F",
    archiveId: "17-1",
    backupStart: segment(1, 3),
    backupBytes: 1_000_000,
    backupTime: "2026-11-22T09:01:00Z",
    ...more,
});

const pointOf = (name: string, time: string, more: Partial<RestorePoint> = {}): RestorePoint => ({
    version: 1,
    name,
    cluster: "c1",
    time,
    pauseMilliseconds: 40,
    database: "app",
    postgres: "17.6",
    citus: "14.0.1",
    writesEnterAnywhere: true,
    nodes: [pointNode(0), pointNode(1), pointNode(2)],
    tables: [],
    ...more,
});

const backup = (label: string, reference: readonly string[] | null = null) => ({
    label,
    type: label.endsWith("F") ? ("full" as const) : label.endsWith("D") ? ("diff" as const) : ("incr" as const),
    database: { id: 1 },
    timestamp: { start: 1_795_338_000, stop: 1_795_338_060 },
    info: { size: 1_000_000 },
    archive: { start: segment(1, 3), stop: segment(1, 3) },
    reference,
});

const stanza = (name: string, more: Partial<Stanza> = {}): Stanza => ({
    name,
    status: { code: 0, message: "ok" },
    repo: [{ status: { code: 0, message: "ok" } }],
    db: [{ id: 1, "system-id": "7", version: "17" }],
    backup: [backup("20261122-090000F")],
    ...more,
});

/** A history as PostgreSQL writes it: which timelines were left, each in the middle of which segment. */
const left = (...timelines: readonly (readonly [timeline: number, at: number])[]) =>
    timelines
        .map(([timeline, at]) => {
            const address = BigInt(at) * 16n * 1024n ** 2n + 0x100n;
            const part = (value: bigint) => value.toString(16).toUpperCase();
            return `${timeline}\t${part(address >> 32n)}/${part(address & 0xffff_ffffn)}\tat restore point "p"\n`;
        })
        .join("");

const range = (timeline: number, first: number, last: number) =>
    Array.from({ length: last - first + 1 }, (_, i) => segment(timeline, first + i));

/** A repository that has all that these points need. */
function repository(points: readonly RestorePoint[], more: Partial<Contents> = {}): Contents {
    const names = [...new Set(points.flatMap((point) => point.nodes.map((node) => node.stanza)))];
    return {
        points,
        stanzas: names.map((name) => stanza(name)),
        segments: Object.fromEntries(names.map((name) => [`${name}/17-1`, range(1, 3, 6)])),
        ...more,
    };
}

describe("missingFor", () => {
    const node = pointNode(1);
    const whole = repository([pointOf("p", "2026-11-22T10:00:00.000Z")]);
    const withSegments = (segments: readonly string[]) => ({ ...whole, segments: { "c1-worker-1/17-1": segments } });

    test("nothing, when stanza, backup and every segment are there", () => {
        assert.deepEqual(missingFor(node, whole), []);
        assert.deepEqual(missingFor(node, withSegments(range(1, 3, 6))), []);
    });

    test("the stanza", () => {
        assert.deepEqual(missingFor(node, { ...whole, stanzas: [stanza("c1-worker-2")] }), [
            "worker-1: the repository has no stanza c1-worker-1",
        ]);
    });

    test("the backup, which retention may have taken", () => {
        const stanzas = [stanza("c1-worker-1", { backup: [backup("20261123-090000F")] })];
        assert.deepEqual(missingFor(node, { ...whole, stanzas }), [
            "worker-1: its backup 20261122-090000F is gone (expired or removed)",
        ]);
    });

    test("a backup that its backup rests on", () => {
        const full = "20261122-090000F";
        const diff = `${full}_20261122-093000D`;
        const incr = `${full}_20261122-095000I`;
        const of = (...labels: string[]) => ({
            ...whole,
            stanzas: [
                stanza("c1-worker-1", { backup: labels.map((l) => backup(l, l === incr ? [full, diff] : null)) }),
            ],
        });
        const wanted = { ...node, label: incr };
        assert.deepEqual(missingFor(wanted, of(full, diff, incr)), []);
        assert.deepEqual(missingFor(wanted, of(full, incr)), [
            `worker-1: its backup ${incr} rests on ${diff}, which is gone`,
        ]);
        assert.deepEqual(missingFor(wanted, of(incr)), [
            `worker-1: its backup ${incr} rests on ${full}, which is gone`,
            `worker-1: its backup ${incr} rests on ${diff}, which is gone`,
        ]);
    });

    test("one segment in the middle", () => {
        const lost = range(1, 3, 6).filter((name) => name !== segment(1, 4));
        assert.deepEqual(missingFor(node, withSegments(lost)), [
            "worker-1: WAL is missing between its backup and the point: 000000010000000000000004",
        ]);
    });

    test("the first and the last segment", () => {
        assert.deepEqual(missingFor(node, withSegments(range(1, 4, 5))), [
            "worker-1: WAL is missing between its backup and the point: 000000010000000000000003, 000000010000000000000006",
        ]);
    });

    test("of many segments three are named and the others counted", () => {
        const far = { ...node, firstSegment: segment(1, 12), lastSegment: segment(1, 12) };
        assert.deepEqual(missingFor(far, withSegments([segment(1, 3)])), [
            "worker-1: WAL is missing between its backup and the point: " +
                "000000010000000000000004, 000000010000000000000005, 000000010000000000000006 and 6 more",
        ]);
    });

    test("segments before the backup and after the point are not asked for, and more do no harm", () => {
        assert.deepEqual(missingFor(node, withSegments(range(1, 1, 9))), []);
    });

    test("segments of another database of the same stanza do not count", () => {
        const segments = { "c1-worker-1/17-2": range(1, 3, 6), "c1-worker-2/17-1": range(1, 3, 6) };
        assert.deepEqual(missingFor(node, { ...whole, segments }), [
            "worker-1: WAL is missing between its backup and the point: " +
                "000000010000000000000003, 000000010000000000000004, 000000010000000000000005 and 1 more",
        ]);
    });

    test("a node whose database is the stanza's second has its segments there", () => {
        const second = { ...node, archiveId: "17-2" };
        const segments = { "c1-worker-1/17-2": range(1, 3, 6) };
        assert.deepEqual(missingFor(second, { ...whole, segments }), []);
        assert.equal(missingFor(second, withSegments(range(1, 3, 6))).length, 1);
    });

    describe("after a switch to another timeline", () => {
        // the backup is of timeline 1; the node went on as timeline 2 in segment 4, and the point lies in 6 and 7
        const HISTORY = "00000002.history";
        const later = {
            ...node,
            timeline: 2,
            firstSegment: segment(2, 6),
            lastSegment: segment(2, 7),
            history: left([1, 4]),
        };
        const lost = (...names: string[]) => [
            `worker-1: WAL is missing between its backup and the point: ${names.join(", ")}`,
        ];

        test("segments before the switch are read on the earlier one, that of the switch and later ones on its own", () => {
            const segments = [HISTORY, segment(1, 3), ...range(2, 4, 7)];
            assert.deepEqual(missingFor(later, withSegments(segments)), []);
            for (const name of segments.slice(1)) {
                assert.deepEqual(missingFor(later, withSegments(segments.filter((s) => s !== name))), lost(name));
            }
        });

        test("the branch that was left hides nothing: it has the same segments with other content", () => {
            const old = [HISTORY, ...range(1, 3, 9)];
            assert.deepEqual(missingFor(later, withSegments([...old, ...range(2, 4, 5)])), lost(...range(2, 6, 7)));
            assert.deepEqual(missingFor(later, withSegments([...old, ...range(2, 5, 7)])), lost(segment(2, 4)));
            assert.deepEqual(
                missingFor(later, withSegments([...old, segment(2, 4), ...range(2, 6, 7)])),
                lost(segment(2, 5)),
            );
        });

        test("before the switch its own timeline is no way", () => {
            assert.deepEqual(missingFor(later, withSegments([HISTORY, ...range(2, 3, 7)])), lost(segment(1, 3)));
        });

        test("a later timeline is no way to it, and hides nothing that is there", () => {
            const gap = [HISTORY, segment(1, 3), segment(2, 4), ...range(3, 4, 9), ...range(2, 6, 7)];
            assert.deepEqual(missingFor(later, withSegments(gap)), lost(segment(2, 5)));
            const whole = [HISTORY, segment(1, 3), ...range(2, 4, 7), "00000003.history", ...range(3, 4, 9)];
            assert.deepEqual(missingFor(later, withSegments(whole)), []);
        });

        test("a point on a branch that was left is read on that branch", () => {
            const segments = [...range(1, 3, 6), HISTORY, ...range(2, 4, 9)];
            assert.deepEqual(missingFor(node, withSegments(segments)), []);
            assert.deepEqual(
                missingFor(node, withSegments(segments.filter((s) => s !== segment(1, 5)))),
                lost(segment(1, 5)),
            );
        });

        test("a switch at the first byte of a segment is read on the new timeline from there on", () => {
            const exactly = { ...later, history: "1\t0/4000000\tno recovery target specified\n" };
            assert.deepEqual(missingFor(exactly, withSegments([HISTORY, segment(1, 3), ...range(2, 4, 7)])), []);
        });

        test("a backup that began after the switch needs nothing of an earlier timeline", () => {
            const own = { ...later, backupStart: segment(2, 5) };
            assert.deepEqual(missingFor(own, withSegments([HISTORY, ...range(2, 5, 7)])), []);
        });

        test("two switches, as a history says them", () => {
            const third = {
                ...later,
                timeline: 3,
                lastSegment: segment(3, 8),
                history: left([1, 4], [2, 6]),
            };
            const segments = ["00000003.history", segment(1, 3), ...range(2, 4, 5), ...range(3, 6, 8)];
            assert.deepEqual(missingFor(third, withSegments(segments)), []);
            for (const name of segments.slice(1)) {
                assert.deepEqual(missingFor(third, withSegments(segments.filter((s) => s !== name))), lost(name));
            }
        });

        test("two switches in one segment: what lay between them has no segment that is read", () => {
            const third = { ...later, timeline: 3, lastSegment: segment(3, 7), history: left([1, 4], [2, 4]) };
            const segments = ["00000003.history", segment(1, 3), ...range(3, 4, 7)];
            assert.deepEqual(missingFor(third, withSegments(segments)), []);
        });

        test("comments and empty lines of a history are passed over", () => {
            const commented = { ...later, history: `# written by hand\n\n${left([1, 4])}\n` };
            assert.deepEqual(missingFor(commented, withSegments([HISTORY, segment(1, 3), ...range(2, 4, 7)])), []);
        });

        test("without the history of its timeline there is no way to it, another one does not help", () => {
            const segments = [segment(1, 3), ...range(2, 4, 7)];
            const why = ["worker-1: the history of its timeline is missing: 00000002.history"];
            assert.deepEqual(missingFor(later, withSegments(segments)), why);
            assert.deepEqual(missingFor(later, withSegments(["00000003.history", ...segments])), why);
        });

        test("a timeline's number is hexadecimal in names and decimal in a history", () => {
            const tenth = {
                ...later,
                timeline: 16,
                firstSegment: segment(16, 6),
                lastSegment: segment(16, 7),
                history: left([1, 4], [10, 6]),
            };
            const segments = [segment(1, 3), ...range(10, 4, 5), ...range(16, 6, 7)];
            assert.deepEqual(missingFor(tenth, withSegments([...segments, "00000010.history"])), []);
            assert.deepEqual(missingFor(tenth, withSegments([...segments, "00000016.history"])), [
                "worker-1: the history of its timeline is missing: 00000010.history",
            ]);
        });

        test("the first timeline has none", () => {
            assert.equal(node.history, null);
            assert.deepEqual(missingFor(node, withSegments(range(1, 3, 6))), []);
        });

        test("a history is no segment", () => {
            const segments = [HISTORY, segment(1, 3), ...range(2, 4, 5), segment(2, 7)];
            assert.deepEqual(missingFor(later, withSegments(segments)), lost(segment(2, 6)));
        });

        test("whatever timelines there were, each segment is wanted on exactly one", () => {
            // how many segments each lasted, the last one being the point's own
            const lengths = fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 5 });
            const start = fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 2 ** 24 - 3, max: 2 ** 24 }));
            fc.assert(
                fc.property(start, lengths, fc.infiniteStream(fc.boolean()), (first, lasted, kept) => {
                    const ends = lasted.map((_, i) => first + lasted.slice(0, i + 1).reduce((sum, n) => sum + n, 0));
                    const own = ends.length + 1;
                    const last = (ends.at(-1) ?? first) + 2;
                    const wanted = lasted.flatMap((n, i) =>
                        n === 0 ? [] : range(i + 1, (ends[i] ?? 0) - n, (ends[i] ?? 0) - 1),
                    );
                    wanted.push(...range(own, last - 2, last));
                    const there = wanted.filter(() => kept.next().value);
                    // all other branches have everything
                    const others = Array.from({ length: own + 1 }, (_, i) => range(i + 1, first, last))
                        .flat()
                        .filter((name) => !wanted.includes(name));
                    const missed = wanted.filter((name) => !there.includes(name));
                    assert.deepEqual(
                        missingFor(
                            {
                                ...node,
                                timeline: own,
                                backupStart: wanted[0] ?? "",
                                firstSegment: segment(own, last),
                                lastSegment: segment(own, last),
                                history: left(...ends.map((at, i) => [i + 1, at] as const)),
                            },
                            withSegments([...there, ...others, `${segment(own, 0).slice(0, 8)}.history`]),
                        ),
                        missed.length === 0
                            ? []
                            : [
                                  `worker-1: WAL is missing between its backup and the point: ${missed.slice(0, 3).join(", ")}` +
                                      (missed.length > 3 ? ` and ${missed.length - 3} more` : ""),
                              ],
                    );
                }),
            );
        });
    });

    test("segment numbers go on after FF", () => {
        const crossing = {
            ...node,
            backupStart: "0000000100000000000000FE",
            firstSegment: "000000010000000100000001",
            lastSegment: "000000010000000100000001",
        };
        const names = [
            "0000000100000000000000FE",
            "0000000100000000000000FF",
            "000000010000000100000000",
            "000000010000000100000001",
        ];
        assert.deepEqual(missingFor(crossing, withSegments(names)), []);
        for (const lost of names) {
            assert.deepEqual(missingFor(crossing, withSegments(names.filter((name) => name !== lost))), [
                `worker-1: WAL is missing between its backup and the point: ${lost}`,
            ]);
        }
    });

    test("any segments that are lost, and no others, are missed", () => {
        const start = fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 2 ** 32 - 300, max: 2 ** 32 }));
        fc.assert(
            fc.property(
                start,
                fc.integer({ min: 1, max: 40 }),
                fc.integer({ min: 1, max: 0xffff_ffff }),
                fc.infiniteStream(fc.boolean()),
                (first, length, timeline, kept) => {
                    const wanted = range(timeline, first, first + length - 1);
                    const there = wanted.filter(() => kept.next().value);
                    const found = missingFor(
                        {
                            ...node,
                            timeline,
                            backupStart: wanted[0] ?? "",
                            firstSegment: wanted.at(-1) ?? "",
                            lastSegment: wanted.at(-1) ?? "",
                        },
                        withSegments([segment(timeline, 0).slice(0, 8).concat(".history"), ...there]),
                    );
                    const lost = wanted.filter((name) => !there.includes(name));
                    assert.deepEqual(
                        found,
                        lost.length === 0
                            ? []
                            : [
                                  `worker-1: WAL is missing between its backup and the point: ${lost.slice(0, 3).join(", ")}` +
                                      (lost.length > 3 ? ` and ${lost.length - 3} more` : ""),
                              ],
                    );
                },
            ),
        );
    });
});

describe("whyNotRestorable", () => {
    test("says it of every node", () => {
        const point = pointOf("p", "2026-11-22T10:00:00.000Z");
        const whole = repository([point]);
        assert.deepEqual(whyNotRestorable(point, whole), []);
        const stanzas = whole.stanzas.filter((s) => s.name !== "c1-worker-2");
        const segments = { ...whole.segments, "c1-coordinator/17-1": range(1, 3, 5) };
        assert.deepEqual(whyNotRestorable(point, { ...whole, stanzas, segments }), [
            "coordinator: WAL is missing between its backup and the point: 000000010000000000000006",
            "worker-2: the repository has no stanza c1-worker-2",
        ]);
    });
});

describe("choosePoint", () => {
    const first = pointOf("first", "2026-11-22T10:00:00.000Z");
    const second = pointOf("second", "2026-11-22T10:05:00.250Z");
    const third = pointOf("third", "2026-11-22T10:10:00.000Z");
    // not in their order
    const contents = repository([second, third, first]);
    /** Without worker-1's last segment from now on, as if the newest point needed more. */
    const newestBroken = {
        ...contents,
        points: [second, first, { ...third, nodes: third.nodes.map((n) => ({ ...n, lastSegment: segment(1, 7) })) }],
    };

    test("latest is the newest", () => assert.deepEqual(choosePoint("latest", contents), { point: third }));

    test("latest passes over points that can't be restored, and says how many", () => {
        assert.deepEqual(choosePoint("latest", newestBroken), { point: second, passedOver: 1 });
        const two = newestBroken.points.map((p) =>
            p.name === "second" ? { ...third, name: p.name, time: p.time } : p,
        );
        const broken = two.map((p) =>
            p.name === "first" ? p : { ...p, nodes: p.nodes.map((n) => ({ ...n, lastSegment: segment(1, 7) })) },
        );
        assert.deepEqual(choosePoint("latest", { ...newestBroken, points: broken }), { point: first, passedOver: 2 });
    });

    test("older points that can't be restored are not passed over", () => {
        const oldestBroken = [second, third, { ...first, nodes: newestBroken.points[2]?.nodes ?? [] }];
        assert.deepEqual(choosePoint("latest", { ...contents, points: oldestBroken }), { point: third });
    });

    test("only latest passes over: a name or a time is that point", () => {
        assert.deepEqual(choosePoint("second", newestBroken), { point: second });
        assert.deepEqual(choosePoint("2026-11-22T10:05:01.250Z", newestBroken), { point: second, before: 1000 });
    });

    test("latest, when none can be restored, says why the newest can't", () => {
        assert.deepEqual(choosePoint("latest", { ...contents, stanzas: [] }), {
            refusal:
                "none of the 3 restore points can be restored; the newest, third:\n" +
                "  coordinator: the repository has no stanza c1-coordinator\n" +
                "  worker-1: the repository has no stanza c1-worker-1\n" +
                "  worker-2: the repository has no stanza c1-worker-2",
        });
    });

    test("a name is that point", () => assert.deepEqual(choosePoint("first", contents), { point: first }));

    test("a name that is not there", () => {
        assert.deepEqual(choosePoint("fourth", contents), {
            refusal: "there is no restore point fourth; the newest is third (npm run backups lists them)",
        });
    });

    test("a point that can't be restored is refused by name and by time, and no other put in its place", () => {
        const why =
            "third can't be restored:\n" +
            ["coordinator", "worker-1", "worker-2"]
                .map((name) => `  ${name}: WAL is missing between its backup and the point: 000000010000000000000007`)
                .join("\n");
        assert.deepEqual(choosePoint("third", newestBroken), { refusal: why });
        assert.deepEqual(choosePoint("2026-11-22T10:11:00Z", newestBroken), { refusal: why });
    });

    test("a time snaps to the last point before it, and says how far", () => {
        assert.deepEqual(choosePoint("2026-11-22T10:06:00Z", contents), { point: second, before: 59_750 });
        assert.deepEqual(choosePoint("2026-11-22 11:06:00+01:00", contents), { point: second, before: 59_750 });
        assert.deepEqual(choosePoint("2026-11-23T10:10:00Z", contents), { point: third, before: 86_400_000 });
    });

    test("exactly a point's time is that point", () => {
        assert.deepEqual(choosePoint("2026-11-22T10:05:00.250Z", contents), { point: second, before: 0 });
        assert.deepEqual(choosePoint("2026-11-22T10:05:00.249Z", contents), { point: first, before: 300_249 });
    });

    test("a time before the first", () => {
        assert.deepEqual(choosePoint("2026-11-22T09:59:59.999Z", contents), {
            refusal:
                "no restore point is as old as 2026-11-22T09:59:59.999Z; the oldest is first of 2026-11-22T10:00:00.000Z",
        });
    });

    test("no point at all, whatever is asked for", () => {
        for (const asked of ["latest", "first", "2026-11-22T10:00:00Z"]) {
            assert.deepEqual(choosePoint(asked, { ...contents, points: [] }), {
                refusal:
                    "the repository has no restore point: one is taken when every node has a backup (npm run backup). To restore another stack's cluster, set citus:restoreFrom.stack",
            });
        }
    });

    test("a time always snaps to the newest point that is not after it", () => {
        const time = fc.integer({ min: 1_795_000_000_000, max: 1_795_000_000_100 });
        fc.assert(
            fc.property(fc.uniqueArray(time, { minLength: 1, maxLength: 20 }), time, (times, asked) => {
                const points = times.map((t) => pointOf(`p${t}`, new Date(t).toISOString(), { nodes: [] }));
                const choice = choosePoint(new Date(asked).toISOString(), repository(points));
                const before = times.filter((t) => t <= asked);
                if (before.length === 0) {
                    const oldest = Math.min(...times);
                    assert.deepEqual(choice, {
                        refusal: `no restore point is as old as ${new Date(asked).toISOString()}; the oldest is p${oldest} of ${new Date(oldest).toISOString()}`,
                    });
                } else {
                    assert.ok("point" in choice);
                    assert.equal(choice.point.name, `p${Math.max(...before)}`);
                    assert.equal(choice.before, asked - Math.max(...before));
                }
            }),
        );
    });

    test("does not change the list that it is given", () => {
        const points = Object.freeze([third, first, second]);
        choosePoint("latest", { ...contents, points });
        assert.deepEqual(
            points.map((p) => p.name),
            ["third", "first", "second"],
        );
    });
});

const target = (name: string): TargetNode => ({
    name,
    role: name === "coordinator" ? "coordinator" : "worker",
    host: `${name}.copy.node`,
    port: 5432,
});

const request = (workers: readonly string[], more: Partial<RestoreRequest> = {}): RestoreRequest => ({
    point: "latest",
    database: "app",
    nodes: ["coordinator", ...workers].map(target),
    ...more,
});

function planned(wanted: RestoreRequest, contents: Contents): RestorePlan {
    const result = planRestore(wanted, contents);
    assert.ok("plan" in result, "refusals" in result ? result.refusals.join("\n") : "");
    return result.plan;
}

const pairs = (plan: RestorePlan) => plan.nodes.map((node) => [node.name, node.from.node, node.from.groupId]);

describe("repositoryTrouble", () => {
    const broken = (code: number, message: string, name = "c1-worker-1"): Contents => ({
        points: [],
        stanzas: [stanza(name, { status: { code, message }, repo: [{ status: { code, message } }] }), stanza("c1-b")],
        segments: {},
    });

    test("none when every stanza is read", () => {
        assert.deepEqual(repositoryTrouble(repository([pointOf("p", "2026-11-22T10:00:00.000Z")])), []);
    });

    test("a stanza without a backup yet is no trouble", () => {
        assert.deepEqual(repositoryTrouble(broken(2, "no valid backups")), []);
    });

    for (const said of [
        "[FormatError] unable to load info file '/backup/c1-worker-1/backup.info' or '/backup/c1-worker-1/backup.info.copy'",
        "[CryptoError] unable to load info file\nCryptoError: cipher header invalid",
        "unable to flush",
    ]) {
        test(`another passphrase: ${said.split("\n")[0]}`, () => {
            assert.deepEqual(repositoryTrouble(broken(99, said)), [
                "c1-worker-1: its list of backups can't be read with this passphrase (citus:restorePassphrase, else citus:backupPassphrase)",
            ]);
        });
    }

    test("anything else in pgBackRest's own words, one line of it", () => {
        assert.deepEqual(
            repositoryTrouble(broken(99, "[FileOpenError] unable to open file '/x': [13] Permission denied\nmore")),
            ["c1-worker-1: [FileOpenError] unable to open file '/x': [13] Permission denied"],
        );
    });

    test("is all that is said: what follows from it is not", () => {
        const contents = broken(99, "[FormatError] unable to load info file");
        assert.deepEqual(planRestore(request(["worker-1"]), contents), { refusals: repositoryTrouble(contents) });
    });

    test("every stanza of a repository with another passphrase has it", () => {
        const contents = broken(99, "[FormatError] x");
        const stanzas = [...contents.stanzas, ...broken(99, "[CryptoError] x", "c1-worker-2").stanzas];
        assert.deepEqual(
            repositoryTrouble({ ...contents, stanzas }).map((why) => why.split(":")[0]),
            ["c1-worker-1", "c1-worker-2"],
        );
    });
});

describe("planRestore", () => {
    const point = pointOf("c1_point", "2026-11-22T10:00:00.000Z");
    const contents = repository([point]);
    const refusals = (wanted: RestoreRequest, from = contents) => {
        const result = planRestore(wanted, from);
        assert.ok("refusals" in result, JSON.stringify(result));
        return result.refusals;
    };

    test("every node of the stack has the group that it becomes, with its own name and address", () => {
        assert.deepEqual(planRestore(request(["worker-1", "worker-2"]), contents), {
            plan: {
                point,
                nodes: [
                    {
                        name: "coordinator",
                        role: "coordinator",
                        host: "coordinator.copy.node",
                        port: 5432,
                        from: point.nodes[0],
                    },
                    { name: "worker-1", role: "worker", host: "worker-1.copy.node", port: 5432, from: point.nodes[1] },
                    { name: "worker-2", role: "worker", host: "worker-2.copy.node", port: 5432, from: point.nodes[2] },
                ],
                restored: planned(request(["worker-1", "worker-2"]), contents).nodes,
                surplus: [],
                toTheEnd: false,
            },
        });
    });

    test("a time's distance is part of the plan", () => {
        const plan = planned(request(["worker-1", "worker-2"], { point: "2026-11-22T10:00:07Z" }), contents);
        assert.equal(plan.before, 7000);
    });

    test("fewer workers than the point has are refused, with how many are needed", () => {
        assert.deepEqual(refusals(request(["worker-1"])), [
            "c1_point has 2 workers (worker-1 is group 1, worker-2 is group 2), this stack has 1: " +
                "set citus:workers to 2. The cluster can shrink once it is restored",
        ]);
        const one = pointOf("one", "2026-11-22T10:00:00.000Z", { nodes: [pointNode(0), pointNode(1)] });
        assert.match(refusals(request([]), repository([one]))[0] ?? "", /^one has 1 worker \(worker-1 is group 1\), /);
    });

    test("workers that the point does not have are no part of it: they are put aside", () => {
        const wider = planned(request(["worker-1", "worker-2", "worker-3"]), contents);
        assert.deepEqual(pairs(wider), pairs(planned(request(["worker-1", "worker-2"]), contents)));
        assert.deepEqual(
            wider.surplus.map(({ name }) => name),
            ["worker-3"],
        );
        // by name, whatever the order
        const moved = planned(request(["worker-5", "worker-2", "worker-1"]), contents);
        assert.deepEqual(pairs(moved), [
            ["coordinator", "coordinator", 0],
            ["worker-2", "worker-2", 2],
            ["worker-1", "worker-1", 1],
        ]);
        assert.deepEqual(
            moved.surplus.map(({ name }) => name),
            ["worker-5"],
        );
    });

    test("a point of the coordinator alone", () => {
        const alone = pointOf("alone", "2026-11-22T10:00:00.000Z", { nodes: [pointNode(0)] });
        assert.deepEqual(pairs(planned(request([]), repository([alone]))), [["coordinator", "coordinator", 0]]);
        assert.deepEqual(
            planned(request(["worker-1"]), repository([alone])).surplus.map(({ name }) => name),
            ["worker-1"],
        );
    });

    test("another database is refused", () => {
        assert.deepEqual(refusals(request(["worker-1", "worker-2"], { database: "shop" })), [
            "c1_point has the database app, this stack shop: set citus:database to app",
        ]);
    });

    describe("versions", () => {
        const both = request(["worker-1", "worker-2"]);
        const image = (citus: string, postgres = "17.6") => ({ ...contents, versions: { postgres, citus } });

        test("another Citus minor is refused, in either direction", () => {
            assert.deepEqual(refusals(both, image("14.1-1")), [
                "c1_point has Citus 14.0.1, this stack's image 14.1-1: restore with the same (citus:citusVersion 14.0.1), upgrade afterwards",
            ]);
            for (const other of ["13.2-1", "13.0-1", "15.0-1", "14.10-1", "4.0-1", ""])
                assert.match(
                    refusals(both, image(other))[0] ?? "",
                    /^c1_point has Citus 14\.0\.1, this stack's image /,
                    other,
                );
        });

        test("another patch, and another way to write the same, are not", () => {
            for (const same of ["14.0-1", "14.0-7", "14.0.7", "14.0"])
                assert.equal(planned(both, image(same)).point.name, "c1_point", same);
        });

        test("a minor of two digits is not that of one", () => {
            const old = pointOf("old", "2026-11-22T10:00:00.000Z", { citus: "13.10.0" });
            const from = (citus: string) => ({ ...repository([old]), versions: { postgres: "17.6", citus } });
            planned(both, from("13.10-1"));
            assert.equal(refusals(both, from("13.1-1")).length, 1);
        });

        test("another PostgreSQL major is refused, another minor is not", () => {
            assert.deepEqual(refusals(both, image("14.0-1", "18.1")), [
                "c1_point has PostgreSQL 17.6, this stack's image 18.1: restore with the same, upgrade afterwards",
            ]);
            assert.equal(refusals(both, image("14.0-1", "16.10")).length, 1);
            planned(both, image("14.0-1", "17.9"));
            planned(both, image("14.0-1", "17"));
        });

        test("nobody asked: nothing is compared", () => {
            assert.equal(planned(both, contents).point.name, "c1_point");
            const old = pointOf("old", "2026-11-22T10:00:00.000Z", { citus: "12.1.0", postgres: "16.1" });
            assert.equal(planned(both, repository([old])).point.name, "old");
        });

        test("one worker alone has to fit too", () => {
            assert.equal(refusals({ ...both, onlyWorker: "worker-1" }, image("14.1-1")).length, 1);
        });
    });

    test("every reason is given at once", () => {
        const found = refusals(request(["worker-1"], { database: "shop" }), {
            ...contents,
            versions: { postgres: "18.0", citus: "14.1-1" },
        });
        assert.deepEqual(
            found.map((why) => why.replace(/^c1_point has (the )?(\w+).*$/, "$2")),
            ["2", "database", "Citus", "PostgreSQL"],
        );
    });

    test("a point that can't be had is the only reason", () => {
        assert.deepEqual(refusals(request(["worker-1"], { point: "gone", database: "shop" })), [
            "there is no restore point gone; the newest is c1_point (npm run backups lists them)",
        ]);
    });

    describe("clusters in the repository", () => {
        const other = pointOf("c2_point", "2026-11-22T11:00:00.000Z", {
            cluster: "c2",
            nodes: [0, 1, 2].map((g) => pointNode(g, { stanza: `c2-${nodeName(g)}` })),
        });
        const both = repository([point, other]);

        test("of two without a name it is not guessed which", () => {
            assert.deepEqual(refusals(request(["worker-1", "worker-2"]), both), [
                "the repository holds c1, c2: say which with citus:restoreFrom.cluster",
            ]);
        });

        test("only the points of the one that was named are looked at", () => {
            const plan = planned(request(["worker-1", "worker-2"], { cluster: "c1" }), both);
            assert.equal(plan.point.name, "c1_point");
            assert.deepEqual(refusals(request(["worker-1", "worker-2"], { cluster: "c1", point: "c2_point" }), both), [
                "there is no restore point c2_point; the newest is c1_point (npm run backups lists them)",
            ]);
        });

        test("one that is not there", () => {
            assert.deepEqual(refusals(request(["worker-1", "worker-2"], { cluster: "c3" }), both), [
                "the repository has no restore point of c3; it has c1, c2 (citus:restoreFrom.cluster)",
            ]);
        });

        test("the only one needs no name", () => {
            assert.equal(planned(request(["worker-1", "worker-2"]), repository([other])).point.name, "c2_point");
        });

        test("none at all", () => {
            for (const cluster of [undefined, "c1"]) {
                const wanted = request(["worker-1"], cluster === undefined ? {} : { cluster });
                assert.deepEqual(refusals(wanted, { points: [], stanzas: [], segments: {} }), [
                    "the repository has no restore point: one is taken when every node has a backup (npm run backup). To restore another stack's cluster, set citus:restoreFrom.stack",
                ]);
            }
        });
    });

    describe("pairing", () => {
        // registered in another order than their numbers
        const swapped = repository([
            pointOf("swapped", "2026-11-22T10:00:00.000Z", {
                nodes: [pointNode(0), pointNode(2, { node: "worker-1" }), pointNode(1, { node: "worker-2" })],
            }),
        ]);

        test("by name where every name is there", () => {
            assert.deepEqual(pairs(planned(request(["worker-1", "worker-2"]), swapped)), [
                ["coordinator", "coordinator", 0],
                ["worker-1", "worker-1", 2],
                ["worker-2", "worker-2", 1],
            ]);
        });

        test("by the groups' order where one is not, and then for all", () => {
            assert.deepEqual(pairs(planned(request(["worker-1", "worker-3"]), swapped)), [
                ["coordinator", "coordinator", 0],
                ["worker-1", "worker-2", 1],
                ["worker-3", "worker-1", 2],
            ]);
        });

        test("every group is restored exactly once, whatever the names, and every other worker is put aside", () => {
            const names = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 8 });
            fc.assert(
                fc.property(names, names, (have, want) => {
                    const size = Math.min(have.length, want.length);
                    const nodes = have.slice(0, size).map((n, i) => pointNode(i + 1, { node: `worker-${n}` }));
                    const from = repository([
                        pointOf("p", "2026-11-22T10:00:00.000Z", { nodes: [...nodes.toReversed(), pointNode(0)] }),
                    ]);
                    const plan = planned(request(want.map((n) => `worker-${n}`)), from);
                    assert.deepEqual(
                        [...plan.nodes, ...plan.surplus].map(({ name }) => name).sort(),
                        ["coordinator", ...want.map((n) => `worker-${n}`)].sort(),
                    );
                    assert.deepEqual(
                        plan.nodes.map((node) => node.from.groupId).sort((a, b) => a - b),
                        Array.from({ length: size + 1 }, (_, i) => i),
                    );
                    const same = plan.nodes.filter((node) => node.name === node.from.node).length;
                    if (have.slice(0, size).every((n) => want.includes(n))) assert.equal(same, size + 1);
                }),
            );
        });
    });

    describe("onlyWorker", () => {
        test("is that one and nothing else, to the end of its archive", () => {
            const plan = planned(request(["worker-1", "worker-2"], { onlyWorker: "worker-2" }), contents);
            const only = [{ ...target("worker-2"), from: point.nodes[2] }];
            assert.deepEqual(plan, { point, nodes: only, restored: only, surplus: [], toTheEnd: true });
        });

        test("of a stack that has grown or shrunk since", () => {
            for (const names of [["worker-2"], ["worker-2", "worker-3", "worker-4"]]) {
                const plan = planned(request(names, { onlyWorker: "worker-2" }), contents);
                assert.deepEqual(pairs(plan), [["worker-2", "worker-2", 2]]);
            }
        });

        test("is matched by its name, whatever the groups' order", () => {
            const swapped = repository([
                pointOf("swapped", "2026-11-22T10:00:00.000Z", {
                    nodes: [pointNode(0), pointNode(2, { node: "worker-1" }), pointNode(1, { node: "worker-2" })],
                }),
            ]);
            for (const [name, group] of [
                ["worker-1", 2],
                ["worker-2", 1],
            ] as const) {
                // worker-9 is none of the point's, so names do not agree for all
                const plan = planned(request([name, "worker-9"], { onlyWorker: name }), swapped);
                assert.deepEqual(pairs(plan), [[name, name, group]]);
            }
        });

        test("a worker that is not there", () => {
            assert.deepEqual(refusals(request(["worker-1", "worker-2"], { onlyWorker: "worker-7" })), [
                "there is no worker-7; this stack has worker-1, worker-2",
            ]);
            assert.deepEqual(refusals(request([], { onlyWorker: "worker-7" })), [
                "there is no worker-7; this stack has no worker",
            ]);
        });

        test("a worker that is younger than the point takes no other's place", () => {
            assert.deepEqual(refusals(request(["worker-1", "worker-3"], { onlyWorker: "worker-3" })), [
                "no restore point has worker-3, so it is not known what to rebuild it from",
            ]);
        });

        test("the coordinator is no worker", () => {
            assert.deepEqual(refusals(request(["worker-1", "worker-2"], { onlyWorker: "coordinator" })), [
                "there is no coordinator; this stack has worker-1, worker-2",
            ]);
        });

        test("another database is refused", () => {
            const wanted = request(["worker-1"], { onlyWorker: "worker-1", database: "shop" });
            assert.deepEqual(refusals(wanted), [
                "c1_point has the database app, this stack shop: set citus:database to app",
            ]);
        });
    });

    test("how many newer points were passed over is part of the plan", () => {
        const newer = pointOf("newer", "2026-11-22T10:05:00.000Z", {
            nodes: point.nodes.map((n) => ({ ...n, lastSegment: segment(1, 7) })),
        });
        const from = repository([point, newer]);
        const plan = planned(request(["worker-1", "worker-2"]), from);
        assert.equal(plan.point.name, "c1_point");
        assert.equal(plan.passedOver, 1);
        // a rebuild goes to the end of its own archive, whatever another node lacks
        const rebuild = planned(request(["worker-1"], { onlyWorker: "worker-1" }), from);
        assert.deepEqual([rebuild.point.name, rebuild.passedOver, rebuild.toTheEnd], ["newer", undefined, true]);
        assert.ok(!("passedOver" in planned(request(["worker-1", "worker-2"], { point: "c1_point" }), from)));
        // another cluster's points are not among them
        const other = { ...newer, cluster: "c2" };
        const both = repository([point, other]);
        assert.ok(!("passedOver" in planned(request(["worker-1", "worker-2"], { cluster: "c1" }), both)));
    });
});

describe("describePlan", () => {
    const point = pointOf("c1_point", "2026-11-22T10:00:00.000Z");
    const workers = ["worker-1", "worker-2"];

    test("says from what to what, how many nodes and how much", () => {
        assert.equal(
            describePlan(planned(request(workers), repository([point]))),
            "restores c1 to c1_point of 2026-11-22T10:00:00.000Z: 3 nodes, 4.50 GB",
        );
    });

    test("says how far a time was from its point", () => {
        const say = (asked: string) => describePlan(planned(request(workers, { point: asked }), repository([point])));
        assert.equal(
            say("2026-11-22T10:02:05Z"),
            "restores c1 to c1_point of 2026-11-22T10:00:00.000Z, the last point before it (2 min): 3 nodes, 4.50 GB",
        );
        assert.equal(
            say("2026-11-22T10:00:00Z"),
            "restores c1 to c1_point of 2026-11-22T10:00:00.000Z: 3 nodes, 4.50 GB",
        );
    });

    test("says who joins the restored cluster empty", () => {
        const say = (...names: string[]) => describePlan(planned(request([...workers, ...names]), repository([point])));
        assert.match(say("worker-3"), /; the point does not have worker-3: it joins the restored cluster empty$/);
        assert.match(
            say("worker-3", "worker-4"),
            /; the point does not have worker-3, worker-4: they join the restored cluster empty$/,
        );
    });

    test("says which nodes become others", () => {
        assert.equal(
            describePlan(planned(request(["worker-2", "worker-3"]), repository([point]))),
            "restores c1 to c1_point of 2026-11-22T10:00:00.000Z: 3 nodes, 4.50 GB; worker-1 → worker-2, worker-2 → worker-3",
        );
    });

    test("says of a rebuild that it is no point, of whom, and what it costs", () => {
        assert.equal(
            describePlan(planned(request(workers, { onlyWorker: "worker-1" }), repository([point]))),
            "rebuilds worker-1 alone to the end of its archive, 1.50 GB; transactions that touched other nodes may be split",
        );
    });

    test("says how many newer points can't be restored", () => {
        const newer = ["10:05", "10:10"].map((time) =>
            pointOf(`at-${time}`, `2026-11-22T${time}:00.000Z`, {
                nodes: point.nodes.map((n) => ({ ...n, lastSegment: segment(1, 7) })),
            }),
        );
        const plan = planned(request(["worker-2", "worker-3"]), repository([point, ...newer]));
        assert.equal(
            describePlan(plan),
            "restores c1 to c1_point of 2026-11-22T10:00:00.000Z: 3 nodes, 4.50 GB; " +
                "2 newer can't be restored (npm run backups says why); worker-1 → worker-2, worker-2 → worker-3",
        );
    });

    test("a coordinator alone is one node", () => {
        const alone = repository([pointOf("alone", "2026-11-22T10:00:00.000Z", { nodes: [pointNode(0)] })]);
        assert.match(describePlan(planned(request([]), alone)), /: 1 node, 1\.50 GB$/);
    });

    test("says what a point of an older Citus is worth", () => {
        const old = pointOf("old", "2026-11-22T10:00:00.000Z", { citus: "13.2.0", writesEnterAnywhere: false });
        assert.equal(
            describePlan(planned(request(workers), repository([old]))),
            "restores c1 to old of 2026-11-22T10:00:00.000Z: 3 nodes, 4.50 GB; Citus 13.2.0 is older than 14.0: " +
                "this point is one moment of the cluster only if every write entered through the coordinator",
        );
    });
});
