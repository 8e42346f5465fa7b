/** Shell files, and what a person sees while a cluster is made. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import type { ListrTask } from "listr2";
import { Phases } from "../../scripts/lib/phases.ts";
import { checkCli, explainFindings } from "../../scripts/lib/preflight.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const shell = globSync("scripts/node/*.sh", { cwd: ROOT }).sort();
const all = globSync("scripts/node/*", { cwd: ROOT }).sort();
const read = (file: string) => readFileSync(join(ROOT, file), "utf8");
/** Without comments. */
const code = (file: string) => read(file).replace(/^\s*(#|--)(?!!).*$/gm, "");

describe("node scripts", () => {
    test("there are some", () => assert.ok(shell.length >= 4, shell.join()));

    for (const file of shell) {
        test(`${basename(file)} is bash`, () => {
            const { status, stderr } = spawnSync("bash", ["-n", file], { cwd: ROOT, encoding: "utf8" });
            assert.equal(status, 0, stderr);
            assert.match(read(file), /^#!\/usr\/bin\/env bash\n/);
        });

        test(`${basename(file)} stops at the first error`, () => {
            assert.ok(/set -euo pipefail/.test(read(file)) || /^\. "\$here\/lib\.sh"$/m.test(read(file)));
        });

        test(`${basename(file)} takes no secret as an argument or from the environment`, () => {
            assert.doesNotMatch(code(file), /PGPASSWORD|PASSWORD=|--password|-W\b|password=|PGPASSFILE/);
            // the verifier travels as a file's name, and keys as files
            assert.doesNotMatch(code(file), /\$\(\s*(cat|<)\s*"?[^")]*(verifier|node\.key)/);
            assert.doesNotMatch(code(file), /-v (verifier|password)=/);
            // nothing shows what the script does with values
            assert.doesNotMatch(code(file), /set -[a-z]*x/);
        });
    }

    for (const file of all) {
        test(`${basename(file)} never trusts`, () => {
            assert.doesNotMatch(code(file), /\btrust\b|\bmd5\b/);
            assert.doesNotMatch(code(file), /sslmode=(disable|allow|prefer|require|verify-ca)\b/);
        });
    }

    test("configure.sh is given what is no secret, and takes the rest from its standard input", () => {
        const text = code("scripts/node/configure.sh");
        const taken = text.split("\n").filter((line) => /^[a-z_]+=\$\{?[0-9]/.test(line));
        assert.deepEqual(taken, ["cluster_id=$1", "expected=$2"]);
        assert.match(text, /^tar -xf - /m);
        assert.match(text, /^umask 077$/m);
    });

    test("the image holds no secret and does not run as root", () => {
        const text = read("scripts/node/Dockerfile");
        assert.doesNotMatch(text, /PASSWORD|SECRET|\bKEY\b/i);
        assert.equal(
            text
                .split("\n")
                .filter((line) => line.startsWith("USER "))
                .at(-1),
            "USER postgres",
        );
    });
});

describe("explainFindings", () => {
    const findings = [
        { what: "Docker engine", found: "27.1", todo: "" },
        { what: "Memory", found: "0.1 GiB free", todo: "stop something" },
        { what: "Ports", found: "5432 on 127.0.0.1 taken", todo: "choose another citus:port" },
    ];

    test("shows what is missing and what to do, and not what is well", () => {
        assert.deepEqual(explainFindings(findings).split("\n"), [
            "This machine is not ready for a local cluster:",
            "",
            "  Memory  0.1 GiB free",
            "          stop something",
            "  Ports   5432 on 127.0.0.1 taken",
            "          choose another citus:port",
            "",
            "Nothing was changed. npm test needs none of this.",
        ]);
    });

    test("the CLI that could not be brought is one of them", () => {
        const finding = checkCli(new Error("ENOTFOUND get.pulumi.com\n    at x"));
        assert.match(finding.found, /could not be downloaded: ENOTFOUND get\.pulumi\.com$/);
        assert.match(finding.todo, /install it/);
    });
});

const TYPES = {
    image: "docker:index/remoteImage:RemoteImage",
    container: "docker:index/container:Container",
    member: "pulumi-nodejs:dynamic/citus:Member",
    placement: "pulumi-nodejs:dynamic/citus:Placement",
    volume: "docker:index/volume:Volume",
};
const urn = (type: keyof typeof TYPES, name: string) =>
    `urn:pulumi:dev::citus::citus:index:Cluster$${TYPES[type]}::citus-${name}`;

// the engine's events have many more fields, none of which are read
const event = (fields: object) => ({ sequence: 0, timestamp: 0, ...fields }) as EngineEvent;
const begin = (of: string, op = "create") => event({ resourcePreEvent: { metadata: { urn: of, op } } });
const end = (of: string, op = "create") => event({ resOutputsEvent: { metadata: { urn: of, op } } });
const fail = (of: string, op = "create") => event({ resOpFailedEvent: { metadata: { urn: of, op } } });
const say = (of: string | undefined, severity: string, message: string) =>
    event({ diagnosticEvent: { ...(of ? { urn: of } : {}), severity, message, color: "raw" } });

/** Starts every task as listr2 does, and gives what becomes of each. */
function start(phases: Phases) {
    return phases.tasks().map((task) => {
        const shown = { title: String(task.title), output: "" };
        const done = Promise.resolve(
            (task.task as NonNullable<ListrTask["task"]>)(
                {},
                shown as unknown as Parameters<NonNullable<ListrTask["task"]>>[1],
            ),
        ).then(
            () => "ok",
            (error: Error) => error.message,
        );
        return { shown, done };
    });
}

describe("Phases", () => {
    test("shows who is at it, and how it ended", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        for (const name of ["worker-2", "coordinator", "worker-1"]) phases.take(begin(urn("container", name)));
        const creating = tasks.find((task) => task.shown.title.startsWith("Creating"));
        assert.equal(creating?.shown.output, "coordinator, worker-1, worker-2");
        for (const name of ["worker-2", "coordinator", "worker-1"]) phases.take(end(urn("container", name)));
        phases.end();
        assert.deepEqual(await Promise.all(tasks.map((task) => task.done)), ["ok", "ok", "ok", "ok", "ok"]);
        assert.match(creating?.shown.title ?? "", /^Creating {8}coordinator, worker-1, worker-2 {3}ok {3}\d+ s$/);
        assert.ok(tasks.filter((task) => /nothing to do$/.test(task.shown.title)).length === 4);
        assert.equal(phases.failed, undefined);
    });

    test("what stays the same, and resources of no phase, are nothing to do", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("container", "worker-1"), "same"));
        phases.take(end(urn("container", "worker-1"), "same"));
        phases.take(begin(urn("volume", "worker-1-data")));
        phases.take(end(urn("volume", "worker-1-data")));
        phases.end();
        await Promise.all(tasks.map((task) => task.done));
        assert.ok(tasks.every((task) => /nothing to do$/.test(task.shown.title)));
    });

    test("progress shows on its own phase, one line of it, without colour marks", () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("placement", "shards")));
        phases.take(say(urn("placement", "shards"), "info", "<{%fg 2%}>3 of 8 shard groups<{%reset%}>\nmore"));
        const placing = tasks.find((task) => task.shown.title.startsWith("Placing"));
        assert.equal(placing?.shown.output, "3 of 8 shard groups");
        phases.end();
    });

    test("errors are said once, without Pulumi's frame", () => {
        const phases = new Phases();
        phases.take(say(urn("member", "worker-1"), "error", "<{%fg 1%}>worker-1 can't join this cluster<{%reset%}>\n"));
        phases.take(say(urn("member", "worker-1"), "error", "worker-1 can't join this cluster"));
        phases.take(say(undefined, "error", "update failed"));
        phases.take(say(undefined, "error", "resource urn:pulumi:dev::x has a problem"));
        phases.take(say(undefined, "warning", "nothing bad"));
        assert.equal(phases.errors(), "worker-1 can't join this cluster");
    });

    test("a phase that is not finished when all ends failed", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("image", "image")));
        phases.take(end(urn("image", "image")));
        phases.take(begin(urn("container", "worker-1")));
        phases.end(new Error("the engine is gone"));
        assert.deepEqual(await Promise.all(tasks.map((task) => task.done)), [
            "ok",
            "the engine is gone",
            "ok",
            "ok",
            "ok",
        ]);
        assert.equal(phases.failed?.message, "the engine is gone");
    });

    test("a phase with an operation that failed is not ok", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("member", "worker-1")));
        phases.take(begin(urn("member", "worker-2")));
        phases.take(end(urn("member", "worker-2")));
        phases.take(fail(urn("member", "worker-1")));
        phases.end(new Error("worker-1 can't join this cluster"));
        assert.deepEqual(await Promise.all(tasks.map((task) => task.done)), [
            "ok",
            "ok",
            "worker-1 can't join this cluster",
            "ok",
            "ok",
        ]);
        assert.ok(!tasks.some((task) => /Registering.* ok /.test(task.shown.title)));
    });
});
