/** What a machine on AWS boots with, and the node scripts as one file that it fetches. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import tar from "tar-stream";
import { describe, test } from "vitest";
import { makeBundle } from "../../../../components/platforms/aws/bundle.ts";
import { MOST_USER_DATA, renderLauncher, renderUserData } from "../../../../components/platforms/aws/userData.ts";
import { bundleOf, CLUSTER, MACHINE } from "../../../awsNode.ts";

async function entries(
    content: Buffer,
): Promise<{ name: string; mode?: number; mtime?: Date; uid?: number; text: string }[]> {
    const found: { name: string; mode?: number; mtime?: Date; uid?: number; text: string }[] = [];
    const extract = tar.extract();
    extract.end(content);
    for await (const entry of extract) {
        const chunks: Buffer[] = [];
        for await (const chunk of entry) chunks.push(chunk as Buffer);
        const { name, mode, mtime, uid } = entry.header;
        found.push({
            name,
            ...(mode === undefined ? {} : { mode }),
            ...(mtime ? { mtime } : {}),
            ...(uid === undefined ? {} : { uid }),
            text: Buffer.concat(chunks).toString("utf8"),
        });
    }
    return found;
}

describe("user data", () => {
    test("is as it was", () => {
        const file = join(import.meta.dirname, "snapshots", "userData.txt");
        const text = renderUserData(MACHINE, renderLauncher(CLUSTER));
        if (process.env.UPDATE_SNAPSHOTS) writeFileSync(file, text);
        assert.equal(text, readFileSync(file, "utf8"), "if that is meant: UPDATE_SNAPSHOTS=1 npm test");
        assert.match(text, /^#!\/usr\/bin\/env bash\nNODE=worker-2\nROLE=worker\n/);
    });

    test("is small", () =>
        assert.ok(Buffer.byteLength(renderUserData(MACHINE, renderLauncher(CLUSTER))) < MOST_USER_DATA / 2));

    for (const [what, value] of [
        ["a command", "prod$(reboot)"],
        ["a second line", "prod\nALARMS=on"],
        ["a space", "prod 2"],
        ["a quote", 'prod"'],
        ["nothing", ""],
        ["an option", "-x"],
    ] as const) {
        test(`refuses ${what} as a value`, () => {
            assert.throws(
                () => renderLauncher({ ...CLUSTER, cluster: value }),
                /CLUSTER is .*, which is not a plain word/,
            );
            assert.throws(() => renderUserData({ ...MACHINE, volumeId: value }, ""), /VOLUME_ID is .*, which is not/);
        });
    }

    test("refuses what EC2 would refuse", () => {
        assert.throws(() => renderUserData(MACHINE, "x".repeat(MOST_USER_DATA)), /EC2 takes 16384/);
    });
});

describe("bundle", () => {
    test("holds every script that runs on a node, and nothing for containers", async () => {
        const { content, sha256 } = await makeBundle();
        const found = await entries(content);
        const names = found.map(({ name }) => name);
        for (const name of [
            "lib.sh",
            "start.sh",
            "make.sql",
            "aws/boot.sh",
            "aws/packages.conf",
            "aws/citus-node.service",
        ])
            assert.ok(names.includes(name), name);
        assert.deepEqual(
            names.filter((name) => name.startsWith("image/")),
            [],
        );
        assert.deepEqual(names, [...names].sort());
        for (const { name, mode, mtime, uid } of found) {
            assert.equal(mode, name.endsWith(".sh") ? 0o755 : 0o644, name);
            assert.equal(mtime?.getTime(), 0);
            assert.equal(uid, 0);
        }
        assert.equal(sha256, createHash("sha256").update(content).digest("hex"));
    });

    test("is the same bytes for the same scripts, whenever and wherever they were written", async () => {
        const scripts = { "b.sh": "echo b", "a.sql": "SELECT 1", "aws/c.sh": "echo c" };
        const one = await bundleOf(scripts);
        const two = await bundleOf(Object.fromEntries(Object.entries(scripts).reverse()));
        assert.deepEqual(one, two);
        assert.equal(
            one.sha256,
            (await bundleOf({ ...scripts, "image/node.Dockerfile": "FROM x", ".hidden": "" })).sha256,
        );
        assert.notEqual(one.sha256, (await bundleOf({ ...scripts, "b.sh": "echo B" })).sha256);
        assert.notEqual(one.sha256, (await bundleOf({ ...scripts, "d.sh": "" })).sha256);
    });

    // when the way of packing changes, every node fetches its scripts again
    test("is packed as it was", async () => {
        assert.equal(
            (await bundleOf({ "a.sh": "echo a\n" })).sha256,
            "cf54d1a5c13d79ad785a3fc1d856fb84ceaa11e54bf1b01efe973b369d07a703",
        );
    });
});
