/** What a living cluster can't change, the passphrase of its repository among it. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { validate } from "../../../components/config/index.ts";
import type { IdentityInputs } from "../../../components/resources/identity.ts";
import { NO_REPOSITORY } from "../../../core/node/archive.ts";
import * as identity from "../../../provider/identity.ts";

const PASSPHRASE = "correct-horse-battery-staple";
const INPUTS: IdentityInputs = {
    name: "citus-dev",
    database: "app",
    platform: "docker",
    clusterId: "0123456789abcdef",
    passphrase: PASSPHRASE,
    citusVersion: "14.1.0",
};
const diff = (olds: Partial<IdentityInputs>, news: Partial<IdentityInputs>) =>
    identity.diff("id", { ...INPUTS, ...olds }, { ...INPUTS, ...news });

describe("Identity", () => {
    test("the same is no change", async () => assert.deepEqual(await diff({}, {}), { changes: false }));

    test("name, database and platform are refused together", async () => {
        await assert.rejects(diff({}, { name: "citus-b", database: "shop", platform: "aws" }), {
            message:
                "A living cluster can't change what its data is kept under:\n" +
                "  citus:name is citus-dev, got citus-b\n" +
                "  citus:database is app, got shop\n" +
                "  citus:platform is docker, got aws\n" +
                "Nothing was changed. Put it back:\n" +
                "  pulumi config set citus:name citus-dev\n" +
                "  pulumi config set citus:database app\n" +
                "  pulumi config set citus:platform docker\n" +
                "For a cluster of another name make another stack (pulumi stack init).",
        });
    });

    test("another account, region or key is refused, and a state that has none takes them", async () => {
        const place = { account: "123456789012", region: "eu-central-1", kmsKeyId: "", network: "10.64.0.0/16" };
        await assert.rejects(
            diff(
                { place },
                {
                    place: {
                        account: "210987654321",
                        region: "us-east-1",
                        kmsKeyId: "arn:aws:kms:x",
                        network: "vpc-1",
                    },
                },
            ),
            (error: Error) => {
                assert.match(error.message, /the AWS account is 123456789012, got 210987654321\n/);
                assert.match(error.message, /aws:region is eu-central-1, got us-east-1\n/);
                assert.match(error.message, /citus:kmsKeyId is none, got arn:aws:kms:x\n/);
                assert.match(error.message, /\nNothing was changed\. Put it back\.\n/);
                return true;
            },
        );
        assert.deepEqual(await diff({ place }, { place }), { changes: false });
        assert.deepEqual(await diff({}, { place }), { changes: true });
    });

    test("another random id is refused", async () => {
        await assert.rejects(diff({}, { clusterId: "ffff" }), /^Error: The stack's random id would change/);
    });

    for (const [what, before, after] of [
        ["another passphrase", PASSPHRASE, "another-horse-battery-staple"],
        ["a passphrase taken away", PASSPHRASE, ""],
        ["a passphrase for what is not encrypted", "", PASSPHRASE],
    ] as const) {
        test(`${what} is refused without showing any`, async () => {
            await assert.rejects(diff({ passphrase: before }, { passphrase: after }), (error: Error) => {
                assert.match(error.message, /^A repository keeps its passphrase: citus:backupPassphrase differs/);
                assert.match(error.message, /Nothing was changed\. Put it back\./);
                assert.ok(!error.message.includes("staple"), error.message);
                return true;
            });
        });
    }

    test("a state from before there were backups takes whatever is said now", async () => {
        const { passphrase: _, ...old } = INPUTS;
        for (const passphrase of [PASSPHRASE, "", NO_REPOSITORY]) {
            const news = { ...INPUTS, passphrase };
            assert.deepEqual(await identity.diff("id", old as IdentityInputs, news), { changes: true });
            assert.deepEqual(await identity.update("id", old as IdentityInputs, news), { outs: news });
        }
    });

    describe("while backups are off", () => {
        test("nothing is known, and nothing changes", async () =>
            assert.deepEqual(await diff({ passphrase: NO_REPOSITORY }, { passphrase: NO_REPOSITORY }), {
                changes: false,
            }));

        for (const passphrase of [PASSPHRASE, ""])
            test(`any may be chosen for the first ones: ${passphrase === "" ? "none" : "one"}`, async () =>
                assert.deepEqual(await diff({ passphrase: NO_REPOSITORY }, { passphrase }), { changes: true }));

        for (const passphrase of [PASSPHRASE, ""])
            test(`what is known stays, so that off and on again is the same: ${passphrase === "" ? "none" : "one"}`, async () => {
                // without a change the state keeps the old outputs
                assert.deepEqual(await diff({ passphrase }, { passphrase: NO_REPOSITORY }), { changes: false });
                assert.deepEqual(await diff({ passphrase }, { passphrase }), { changes: false });
            });

        test("a new name is refused all the same", async () =>
            assert.rejects(diff({}, { passphrase: NO_REPOSITORY, name: "citus-b" }), /citus:name is citus-dev/));

        test("what stands for it is no passphrase that anybody could choose", () => {
            const result = validate({ stack: "dev", values: { backupPassphrase: NO_REPOSITORY } });
            assert.ok("mistakes" in result);
        });
    });
});
