/** What stays in a state when only the backups are to stay. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { repositoryResource, saidOnFailure } from "../../../scripts/lib/backups.ts";
import { guardsOf, keptWith } from "../../../scripts/lib/kept.ts";
import type { StateResource } from "../../../scripts/lib/resources.ts";

const urn = (path: string) => `urn:pulumi:dev::citus::${path}`;
const STACK = urn("pulumi:pulumi:Stack::citus-dev");
const CLUSTER = urn("citus:index:Cluster::citus");
const SECURITY = urn("citus:index:Cluster$citus:index:Security::citus");
const PLATFORM = urn("citus:index:Cluster$citus:docker:Platform::citus");
const ID = urn("random:index/randomId:RandomId::citus-id");
const IDENTITY = urn("citus-clusters:index:Identity::citus-identity");
const DOCKER = urn("pulumi:providers:docker::citus-docker");
/** What the provider's own inputs come from. */
const HOST = urn("a:b:Host::host");
const RANDOM = urn("pulumi:providers:random::default");
const BACKUPS = urn("docker:index/volume:Volume::citus-backups");
const DATA = urn("docker:index/volume:Volume::citus-worker-1-data");
const CONTAINER = urn("docker:index/container:Container::citus-worker-1");

const resource = (at: string, more: Partial<StateResource> = {}): StateResource => ({
    urn: at,
    type: at.split("::")[2]?.split("$").at(-1) ?? "",
    ...more,
});

const STATE: readonly StateResource[] = [
    resource(STACK),
    resource(CLUSTER, { parent: STACK }),
    resource(SECURITY, { parent: CLUSTER }),
    resource(PLATFORM, { parent: CLUSTER }),
    resource(RANDOM, { parent: STACK }),
    resource(HOST),
    resource(DOCKER, { parent: PLATFORM, dependencies: [HOST] }),
    resource(ID, { parent: SECURITY, provider: `${RANDOM}::1b2c` }),
    resource(IDENTITY, { parent: SECURITY, dependencies: [ID] }),
    resource(BACKUPS, { parent: PLATFORM, provider: `${DOCKER}::9f8e`, dependencies: [IDENTITY] }),
    resource(DATA, { parent: PLATFORM, provider: `${DOCKER}::9f8e`, dependencies: [IDENTITY] }),
    resource(CONTAINER, { parent: PLATFORM, provider: `${DOCKER}::9f8e`, dependencies: [DATA, BACKUPS] }),
];

describe("keptWith", () => {
    const backups = repositoryResource(STATE);
    assert.ok(backups);

    test("the repository's volume is found, and no other", () => {
        assert.equal(backups.urn, BACKUPS);
        assert.equal(repositoryResource(STATE.filter(({ urn }) => urn !== BACKUPS)), undefined);
    });

    test("a resource with its parents, its provider and what its inputs come from; nothing that uses it", () => {
        assert.deepEqual(
            [...keptWith(backups, STATE)].sort(),
            [STACK, CLUSTER, SECURITY, PLATFORM, RANDOM, DOCKER, HOST, ID, IDENTITY, BACKUPS].sort(),
        );
    });

    test("other providers stay too: what stays behind may need them", () => {
        const other = resource(urn("pulumi:providers:tls::default"));
        assert.ok(keptWith(backups, [...STATE, other]).has(other.urn));
    });

    test("what is not in the state is passed over", () => {
        const alone = resource(BACKUPS, { parent: "urn:gone", provider: "urn:also::gone::1", dependencies: ["urn:x"] });
        assert.deepEqual([...keptWith(alone, [alone])], [BACKUPS]);
    });

    test("a circle ends", () => {
        const one = resource(urn("a:b:C::one"), { dependencies: [urn("a:b:C::two")] });
        const two = resource(urn("a:b:C::two"), { dependencies: [one.urn] });
        assert.deepEqual([...keptWith(one, [one, two])].sort(), [one.urn, two.urn]);
    });
});

test("a bucket that stays keeps what closes and encrypts it, and not what lies in it", () => {
    const BUCKET = urn("citus:aws:Storage$aws:s3/bucket:Bucket::citus-bucket");
    const guards = [
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock::citus-bucket-public-access",
        "aws:s3/bucketPolicy:BucketPolicy::citus-bucket-policy",
        "aws:s3/bucketVersioning:BucketVersioning::citus-bucket-versioning",
    ].map(urn);
    const others = [
        "aws:s3/bucketObjectv2:BucketObjectv2::citus-bundle",
        "aws:iam/rolePolicy:RolePolicy::citus-worker",
    ].map(urn);
    const bucket = resource(BUCKET);
    const state = [bucket, ...[...guards, ...others].map((at) => resource(at, { dependencies: [BUCKET] }))];
    assert.equal(repositoryResource(state), bucket);
    assert.deepEqual(
        guardsOf(bucket, state).map(({ urn: at }) => at),
        guards,
    );
});

describe("what is said when a backup fails", () => {
    test("the error comes first, then what it rests on, then hints", () => {
        const stderr = [
            "2026-11-30T17:09:42Z backup.sh: a incr backup is due",
            "P00  ERROR: [041]: unable to load info file '/r/backup.info' or '/r/backup.info.copy':",
            "            FileOpenError: unable to open file '/r/backup.info' for read: [13] Permission denied",
            "            HINT: backup.info cannot be opened and is required to perform a backup.",
            "            HINT: has a stanza-create been performed?",
            "            HINT: is this the right repository?",
            "            HINT: one more",
            "            HINT: and one more",
            "",
        ].join("\n");
        const said = saidOnFailure(stderr);
        assert.equal(said[0], "ERROR: [041]: unable to load info file '/r/backup.info' or '/r/backup.info.copy':");
        assert.match(said[1] ?? "", /^FileOpenError: .*Permission denied$/);
        assert.match(said[2] ?? "", /^HINT: backup\.info cannot be opened/);
        assert.equal(said.length, 6);
    });

    test("without pgBackRest's mark the last lines are what was said", () => {
        assert.deepEqual(saidOnFailure("a\nb\n\nits container is not running\n"), [
            "a",
            "b",
            "its container is not running",
        ]);
        assert.deepEqual(saidOnFailure(""), []);
        assert.equal(saidOnFailure("1\n2\n3\n4\n5\n6\n7").at(-1), "7");
    });
});
