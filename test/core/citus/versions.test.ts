/** Citus' library and its extension: which pairs work, what is refused, what is said of a pair that differs. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import {
    type CitusVersions,
    compatible,
    describeApart,
    namedVersion,
    readVersions,
    refuseVersion,
    UPDATE_EXTENSION,
} from "../../../core/citus/versions.ts";
import type { Session } from "../../../core/reach/session.ts";

const node = (name: string, installed: string, available = installed): CitusVersions => ({
    node: name,
    installed,
    available,
});

describe("a library runs an extension", () => {
    for (const [left, right, works] of [
        ["14.0-1", "14.0-2", true],
        ["14.1.0", "14.0-1", true],
        ["14.0.1", "14.1-1", true],
        ["14.2.0", "14.0-1", false],
        ["14.0.0", "13.2-1", false],
        ["15.0.0", "14.9-1", false],
        ["14.10.0", "14.9-1", true],
        ["?", "14.0-1", false],
    ] as const)
        test(`${left} and ${right}: ${works}`, () => assert.equal(compatible(left, right), works));
});

describe("another Citus on a living cluster", () => {
    for (const [what, next, nodes, refused] of [
        ["the same", "14.0.1", [node("coordinator", "14.0-1")], undefined],
        ["another patch", "14.0.9", [node("coordinator", "14.0-1")], undefined],
        ["the next minor release", "14.1.0", [node("coordinator", "14.0-1")], undefined],
        ["two minor releases", "14.2.0", [node("coordinator", "14.0-1")], /go to a version 14\.1 first/],
        ["another major release", "14.1.0", [node("coordinator", "13.2-1")], /same major release/],
        ["back", "14.0.1", [node("coordinator", "14.1-1")], /can't go back to an older release/],
        ["back by a major release", "13.2.0", [node("coordinator", "14.0-1")], /can't go back/],
        [
            "the next one, with an extension that was left behind",
            "14.2.0",
            [node("coordinator", "14.0-1", "14.1-1")],
            /first bring the extension to the library's version:\n {2}npm run backup/,
        ],
        ["back to what the extension still is", "14.0.1", [node("coordinator", "14.0-1", "14.1-1")], undefined],
        ["nobody says anything", "14.2.0", [], undefined],
    ] as const)
        test(what, () => {
            const said = refuseVersion(next, nodes);
            if (refused === undefined) assert.equal(said, undefined);
            else {
                assert.match(said ?? "", refused);
                assert.match(said ?? "", /No container and no machine was replaced\. Put citus:citusVersion/);
            }
        });

    test("names only the nodes that it does not fit", () => {
        const said =
            refuseVersion("14.2.0", [node("coordinator", "14.1-1"), node("worker-1", "14.0-1", "14.1-1")]) ?? "";
        assert.match(said, / {2}worker-1: the extension is 14\.0-1, the library 14\.1-1/);
        assert.doesNotMatch(said, /coordinator:/);
    });
});

test("what Citus' own images hold is in their names", () => {
    assert.equal(namedVersion("citusdata/citus:14.1.0-pg17"), "14.1.0");
    assert.equal(namedVersion("docker.io/citusdata/citus:13.2.0-pg17"), "13.2.0");
    for (const image of ["registry.example/citusdata/citus:14.1.0", "citusdata/citus:latest", "postgres:17", ""])
        assert.equal(namedVersion(image), undefined, image);
});

test("an extension that is behind its library is said, with every command that brings it on", () => {
    assert.equal(describeApart([node("coordinator", "14.0-1")]), undefined);
    const said = describeApart([node("coordinator", "14.1-1"), node("worker-1", "14.0-1", "14.1-1")]) ?? "";
    assert.match(said, /worker-1: the extension is 14\.0-1, the library 14\.1-1/);
    assert.doesNotMatch(said, /coordinator:/);
    assert.match(said, /A new worker can't join/);
    for (const command of UPDATE_EXTENSION) assert.ok(said.includes(`\n  ${command}`), command);
    assert.match(describeApart([node("coordinator", "14.0-1", "14.2-1")]) ?? "", /Citus refuses statements/);
});

describe("the versions of a cluster", () => {
    const session = (own: string, others: Record<string, string>) => {
        const asked: string[] = [];
        const query = async (sql: string) => {
            asked.push(sql);
            return sql.includes("master_run_on_worker")
                ? Object.entries(others).map(([host, result]) => ({ host, result }))
                : [{ said: own }];
        };
        return { asked, session: { node: "coordinator", query } as unknown as Session };
    };

    test("are each node's own", async () => {
        const { session: coordinator } = session("14.0-1 14.1-1", { "worker-1.x.node": "14.1-1 14.1-1" });
        assert.deepEqual(await readVersions(coordinator), [
            node("coordinator", "14.0-1", "14.1-1"),
            node("worker-1", "14.1-1"),
        ]);
    });

    test("are the coordinator's alone where its library refuses to ask others", async () => {
        const { session: coordinator, asked } = session("14.0-1 14.2-1", {});
        assert.deepEqual(await readVersions(coordinator), [node("coordinator", "14.0-1", "14.2-1")]);
        assert.equal(asked.length, 1);
    });
});
