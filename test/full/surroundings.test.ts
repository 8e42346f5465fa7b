/**
 * What the rehearsal of the aws platform stands on: instances that boot on user data, disks that outlive them, names,
 * the metadata service, S3, Secrets Manager and RunCommand, without a cluster.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import {
    CancelCommandCommand,
    DescribeInstanceInformationCommand,
    GetCommandInvocationCommand,
    SendCommandCommand,
    SSMClient,
} from "@aws-sdk/client-ssm";
import { afterAll, beforeAll, test } from "vitest";
import { docker, requireEngine } from "../lib.ts";
import { machines as containers } from "../rehearsal/containers.ts";
import type { Machines } from "../rehearsal/provider/machines.ts";
import { REHEARSAL } from "../rehearsal/site.ts";
import { Surroundings } from "../rehearsal/surroundings.ts";

const VOLUME = "vol-0123456789abcdef0";
const [FIRST, SECOND] = ["i-0aaaaaaaaaaaaaaa1", "i-0aaaaaaaaaaaaaaa2"] as const;
const BUCKET = "app-0123456789abcdef";
const SECRET = "citus/app-012345/worker-1";

let surroundings: Surroundings;
let machines: Machines;
let ssm: SSMClient;

const script = (name: string) => readFileSync(join(import.meta.dirname, "..", "rehearsal", "proof", name), "utf8");
const address = (last: number) => surroundings.cidr.replace("0.0/16", `0.${last}`);

beforeAll(async () => {
    requireEngine();
    surroundings = await Surroundings.start();
    process.env.STANDIN_WORLD = surroundings.env.STANDIN_WORLD;
    machines = containers();
    ssm = new SSMClient({
        region: surroundings.site.region,
        endpoint: surroundings.env.AWS_ENDPOINT_URL_SSM,
        credentials: { accessKeyId: "AKIA", secretAccessKey: "secret" },
    });
});

afterAll(async () => {
    delete process.env.STANDIN_WORLD;
    ssm?.destroy();
    await surroundings?.stop();
    assert.deepEqual((await surroundings?.leftovers()) ?? [], [], "the rehearsal left something behind");
});

async function until<T>(what: string, look: () => Promise<T | undefined | false>, within = 60_000): Promise<T> {
    for (const end = Date.now() + within; ; await pause(100)) {
        const found = await look();
        if (found !== undefined && found !== false) return found;
        if (Date.now() > end) throw new Error(`${what} did not happen within ${within / 1000} s`);
    }
}

async function boot(id: string, last: number, node: string): Promise<void> {
    await machines.createInstance({
        id,
        name: `app-${node}`,
        userData: script("user-data.sh"),
        privateIp: address(last),
        tags: { "citus-node": node },
        instanceProfile: "app-worker",
    });
}

const booted = (id: string) =>
    until(`boot of ${id}`, async () => (await surroundings.on(id, "test", "-e", "/run/booted")).code === 0);

/** A command's text by RunCommand, to its end. */
async function runCommand(instance: string, text: string, executionTimeout = "60") {
    const { Command } = await ssm.send(
        new SendCommandCommand({
            DocumentName: "AWS-RunShellScript",
            InstanceIds: [instance],
            Parameters: { commands: text.split("\n"), executionTimeout: [executionTimeout] },
        }),
    );
    return ended(Command?.CommandId ?? "", instance);
}

function ended(CommandId: string, InstanceId: string) {
    return until("end of the command", async () => {
        const found = await ssm
            .send(new GetCommandInvocationCommand({ CommandId, InstanceId }))
            .catch((error: Error): undefined => {
                if (error.name !== "InvocationDoesNotExist") throw error;
            });
        return found?.Status === "Pending" || found?.Status === "InProgress" ? undefined : found;
    });
}

const list = async (node: string) =>
    (await ssm.send(new DescribeInstanceInformationCommand({ Filters: [{ Key: "tag:citus-node", Values: [node] }] })))
        .InstanceInformationList ?? [];

const online = (node: string, id: string) =>
    until(`${id} online`, async () =>
        (await list(node)).some((one) => one.InstanceId === id && one.PingStatus === "Online"),
    );

test("an instance boots on its user data, finds its disk, and keeps it over a stop and a replacement", async () => {
    await machines.createVolume(VOLUME, 1);
    const start = Date.now();
    await boot(FIRST, 10, "worker-1");
    // as on AWS: attached after the machine has begun to boot
    await machines.attach(VOLUME, FIRST);
    await booted(FIRST);
    assert.ok(Date.now() - start < 30_000, `boot took ${Date.now() - start} ms`);
    assert.equal((await surroundings.on(FIRST, "cat", "/data/boots")).stdout, `formatted\n${FIRST}\n`);
    assert.equal((await surroundings.on(FIRST, "hostname")).stdout.trim(), `ip-${address(10).replaceAll(".", "-")}`);
    assert.match((await surroundings.on(FIRST, "systemctl", "is-system-running", "--wait")).stdout, /^running/);
    await assert.rejects(machines.attach(VOLUME, FIRST), /VolumeInUse/);
    await assert.rejects(machines.deleteVolume(VOLUME), /VolumeInUse/);
    await assert.rejects(machines.detach(VOLUME, FIRST), /busy/);

    await machines.stopInstance(FIRST);
    await machines.startInstance(FIRST);
    await until("mount after a start", async () => (await surroundings.on(FIRST, "mountpoint", "/data")).code === 0);

    await machines.growVolume(VOLUME, 2);
    const grown = await surroundings.on(FIRST, "xfs_growfs", "/data");
    assert.match(grown.stdout, /data blocks changed/);

    await machines.stopInstance(FIRST);
    await machines.detach(VOLUME, FIRST);
    await machines.deleteInstance(FIRST);
    assert.equal(await machines.instanceExists(FIRST), false);
    await boot(SECOND, 11, "worker-1");
    await machines.attach(VOLUME, SECOND);
    await booted(SECOND);
    assert.equal((await surroundings.on(SECOND, "cat", "/data/boots")).stdout, `formatted\n${FIRST}\n${SECOND}\n`);
});

test("names are seen, changed and forgotten", async () => {
    const name = "worker-1.app.node";
    const resolved = async () => (await surroundings.on(SECOND, "getent", "ahostsv4", name)).stdout.split(" ")[0];
    await machines.setRecord(name, [address(11)]);
    await until("the name", async () => (await resolved()) === address(11), 5000);
    await machines.setRecord(name, [address(12)]);
    await until("the change", async () => (await resolved()) === address(12), 5000);
    await machines.deleteRecord(name);
    await until("the removal", async () => (await resolved()) === "", 5000);
    const s3 = await surroundings.on(SECOND, "getent", "ahostsv4", `${BUCKET}.s3.eu-central-1.amazonaws.com`);
    assert.match(s3.stdout, new RegExp(surroundings.site.sideAddress));
});

test("a signed request with the role's credentials gets objects and secrets, an unsigned one does not", async () => {
    await machines.createBucket(BUCKET);
    await machines.putObject(BUCKET, "bundle/a b+c.tar", Buffer.from([0, 1, 2, 255]));
    await machines.putObject(BUCKET, "bundle/current", Buffer.from("abc\n"));
    const version = randomUUID();
    await machines.putSecret({ name: SECRET, arn: "arn", version }, '{"old":1}');
    await machines.putSecret({ name: SECRET, arn: "arn", version: randomUUID() }, '{"new":2}');
    await online("worker-1", SECOND);
    const ran = await runCommand(SECOND, script("signed.sh") + script("requests.sh").replace("@VERSION@", version));
    assert.equal(ran.Status, "Success", ran.StandardErrorContent);
    assert.deepEqual(ran.StandardOutputContent?.trim().split("\n"), [
        "token-less 401",
        `instance ${SECOND}`,
        "current abc",
        "object 000102ff",
        "unsigned 403",
        "without token 403",
        'secret {"old":1}',
        "foreign 403",
    ]);
    assert.ok(surroundings.requests().some(({ action }) => action === "secretsmanager:GetSecretValue"));
    await assert.rejects(machines.deleteBucket(BUCKET), /BucketNotEmpty/);
});

test("a role may what its policies say, once the stand-in provider has written some", async () => {
    const { STANDIN_WORLD = "" } = surroundings.env;
    const allow = (Action: string[], Resource: string, Condition?: object) => ({
        Effect: "Allow",
        Action,
        Resource,
        Condition,
    });
    const bucket = `arn:aws:s3:::${BUCKET}`;
    const arn = (node: string) => `arn:aws:secretsmanager:eu-central-1:123456789012:secret:citus/app-012345/${node}`;
    const policy = JSON.stringify({
        Version: "2012-10-17",
        Statement: [
            allow(["s3:GetObject"], `${bucket}/bundle/*`),
            allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], `${bucket}/backups/*`),
            allow(["s3:ListBucket"], bucket, { StringLike: { "s3:prefix": ["backups/*"] } }),
            allow(["secretsmanager:GetSecretValue"], `${arn("worker-1")}-??????`),
        ],
    });
    const secret = (node: string) => ({
        type: "aws:secretsmanager/secret:Secret",
        id: `${arn(node)}-abc123`,
        props: { name: `citus/app-012345/${node}` },
    });
    const rows = {
        role: { type: "aws:iam/rolePolicy:RolePolicy", id: "role:own", props: { role: "role", policy } },
        profile: {
            type: "aws:iam/instanceProfile:InstanceProfile",
            id: "app-worker",
            props: { name: "app-worker", role: "role" },
        },
        own: secret("worker-1"),
        other: secret("worker-2"),
    };
    await machines.putSecret({ name: "citus/app-012345/worker-2", arn: "arn", version: randomUUID() }, "{}");
    writeFileSync(STANDIN_WORLD, JSON.stringify({ rows }));
    const ran = await runCommand(SECOND, script("signed.sh") + script("permissions.sh"));
    rmSync(STANDIN_WORLD);
    assert.equal(ran.Status, "Success", ran.StandardErrorContent);
    assert.deepEqual(ran.StandardOutputContent?.trim().split("\n"), [
        "get 200",
        "put 403",
        "put backup 200",
        "list 200",
        "list all 403",
        "delete several 403",
        "own secret 200",
        "other secret 400",
    ]);
    const denied = surroundings.requests().filter(({ verdict }) => verdict === "denied");
    assert.deepEqual(new Set(denied.map(({ instance }) => instance)), new Set([SECOND]));
    assert.deepEqual(
        denied.map(({ action }) => action),
        ["s3:PutObject", "s3:ListBucket", "s3:DeleteObject", "secretsmanager:GetSecretValue"],
    );
});

test("RunCommand: output, failure, limits, time-out, cancel, and who is online", async () => {
    const plain = await runCommand(SECOND, 'echo "out $((1 + 1))"\necho err >&2\nid -un\ncat\nexit 3');
    assert.equal(plain.Status, "Failed");
    assert.equal(plain.ResponseCode, 3);
    assert.equal(plain.StandardOutputContent, "out 2\nroot\n");
    assert.match(plain.StandardErrorContent ?? "", /^err\n/);

    const long = await runCommand(SECOND, "head -c 30000 /dev/zero | tr '\\0' x");
    assert.equal(long.StandardOutputContent?.length, 24_000);
    await assert.rejects(runCommand(SECOND, "x".repeat(60_000)), { name: "ValidationException" });
    await assert.rejects(runCommand(FIRST, "true"), { name: "InvalidInstanceId" });
    assert.equal((await runCommand(SECOND, "sleep 60 & sleep 60", "1")).Status, "TimedOut");

    const { Command } = await ssm.send(
        new SendCommandCommand({
            DocumentName: "AWS-RunShellScript",
            InstanceIds: [SECOND],
            Parameters: { commands: ["sleep 77"] },
        }),
    );
    const id = Command?.CommandId ?? "";
    await assert.rejects(ssm.send(new GetCommandInvocationCommand({ CommandId: id, InstanceId: SECOND })), {
        name: "InvocationDoesNotExist",
    });
    await until("the sleep", async () => (await surroundings.on(SECOND, "pgrep", "-f", "^sleep 77$")).code === 0);
    await ssm.send(new CancelCommandCommand({ CommandId: id }));
    assert.equal((await ended(id, SECOND)).Status, "Cancelled");
    await until("its end", async () => (await surroundings.on(SECOND, "pgrep", "-f", "^sleep 77$")).code === 1);

    await machines.tagInstance(SECOND, { "citus-node": "worker-9" });
    assert.deepEqual(await list("worker-1"), []);
    const [found] = await list("worker-9");
    assert.equal(found?.InstanceId, SECOND);
    assert.ok(found?.LastPingDateTime instanceof Date);
    assert.ok(surroundings.commands().some(({ text }) => text === "sleep 77"));
});

test("pgBackRest archives, backs up and restores through S3 as the instance's role", async () => {
    const ran = await runCommand(SECOND, script("pgbackrest.sh").replaceAll("@BUCKET@", BUCKET), "300");
    assert.equal(ran.Status, "Success", `${ran.StandardOutputContent?.slice(-2000)}\n${ran.StandardErrorContent}`);
    assert.match(ran.StandardOutputContent ?? "", /^ROWS 2$/m);
    const keys = await surroundings.cloud.keys(BUCKET, "backups/");
    assert.ok(keys.some((key) => key.endsWith("backup.info")));
    assert.ok(keys.some((key) => /\/0000000[12][0-9A-F]{16}-[0-9a-f]{40}\.zst$/.test(key)));
});

test("instances that are gone are not listed for long, and nothing is left behind", async () => {
    await machines.deleteInstance(SECOND);
    await until("it is forgotten", async () => (await list("worker-9")).length === 0, 15_000);
    await machines.deleteVolume(VOLUME);
    await machines.deleteBucket(BUCKET, true);
    await machines.deleteSecret(SECRET);
    const label = `label=${REHEARSAL}=${surroundings.site.name}`;
    assert.equal(docker(["ps", "-a", "--filter", label, "--format", "{{.Names}}"]).trim(), surroundings.site.side);
});
