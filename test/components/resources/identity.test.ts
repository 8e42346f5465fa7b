/** What a living cluster can't change, the passphrase of its repository among it. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { validate } from "../../../components/config/index.ts";
import { NO_REPOSITORY } from "../../../core/node/archive.ts";
import { type IdentityInputs, IdentityKind, movedFrom } from "../../../provider/identity.ts";
import { ask } from "../../provider/ask.ts";

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
    new IdentityKind().diff(ask(), "id", { ...INPUTS, ...olds }, { ...INPUTS, ...news });
const mistakes = (olds: Partial<IdentityInputs>, news: Partial<IdentityInputs>) =>
    movedFrom({ ...INPUTS, ...olds }, { ...INPUTS, ...news });

describe("Identity", () => {
    test("the same is no change", async () => assert.deepEqual(await diff({}, {}), { changes: false }));

    test("name, database and platform are refused together, each by its path", () => {
        assert.deepEqual(mistakes({}, {}), []);
        const found = mistakes({}, { name: "citus-b", database: "shop", platform: "aws" });
        assert.deepEqual(
            found.map(({ property }) => property),
            ["name", "database", "platform"],
        );
        assert.equal(
            found[0]?.reason,
            "citus:name is citus-dev, got citus-b. A living cluster can't change what its data is kept under, and nothing was changed. " +
                "Put it back (pulumi config set citus:name citus-dev), or make another stack for the other cluster (pulumi stack init).",
        );
    });

    test("check says so, and a new cluster has nothing to differ from", async () => {
        const kind = new IdentityKind();
        const renamed = { ...INPUTS, name: "citus-b" };
        assert.equal((await kind.check(ask(), INPUTS, renamed)).failures.length, 1);
        assert.deepEqual((await kind.check(ask(), {}, renamed)).failures, []);
    });

    test("another account, region or key is refused, and a state that has none takes them", async () => {
        const place = { account: "123456789012", region: "eu-central-1", kmsKeyId: "", network: "10.64.0.0/16" };
        const other = { account: "210987654321", region: "us-east-1", kmsKeyId: "arn:aws:kms:x", network: "vpc-1" };
        const found = mistakes({ place }, { place: other });
        assert.deepEqual(
            found.map(({ property }) => property),
            ["place.account", "place.region", "place.kmsKeyId", "place.network"],
        );
        assert.match(found[0]?.reason ?? "", /^the AWS account is 123456789012, got 210987654321\. .*Put it back, or/);
        assert.match(found[1]?.reason ?? "", /^aws:region is eu-central-1, got us-east-1\. /);
        assert.match(found[2]?.reason ?? "", /^citus:kmsKeyId is none, got arn:aws:kms:x\. /);
        const unknown = { ...place, network: "04da6b54-80e4-46f7-96ec-b56ff0331ba9" };
        assert.deepEqual(mistakes({ place }, { place: unknown }), []);
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

        test("a new name is refused all the same", () =>
            assert.equal(mistakes({}, { passphrase: NO_REPOSITORY, name: "citus-b" }).length, 1));

        test("what stands for it is no passphrase that anybody could choose", () => {
            const result = validate({ stack: "dev", values: { backupPassphrase: NO_REPOSITORY } });
            assert.ok("mistakes" in result);
        });
    });
});
