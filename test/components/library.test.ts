/** A cluster in a program of somebody else: what may be left out, what may be an output, what is wrong, and two of them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterAll, describe, test } from "vitest";
import type { ClusterInput } from "../../components/config/index.ts";
import { MADE_LABEL } from "../../core/reach/docker/rolling.ts";
import { build, type Indexed, indexed, mock, PASSWORD, type Registered, resolved } from "./mocks.ts";
import { cloud, REGION } from "./platforms/aws/mocks.ts";

// nothing that a cluster is made of is looked for where the program runs
const elsewhere = mkdtempSync(join(tmpdir(), "citus-elsewhere-"));
process.chdir(elsewhere);
afterAll(() => rmSync(elsewhere, { recursive: true }));
await mock(cloud);
const { CitusCluster } = await import("../../components/index.ts");

const ROOT = join(import.meta.dirname, "..", "..");
const CONTAINER = "docker:index/container:Container";
const VOLUME = "docker:index/volume:Volume";
const NETWORK = "docker:index/network:Network";
const INSTANCE = "aws:ec2/instance:Instance";
const EBS = "aws:ebs/volume:Volume";
const INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
const PASSPHRASE = "correct-horse-battery-staple";
const AWS = { platform: "aws", region: REGION, workers: 1 } as const;

async function made(
    input?: ClusterInput,
    name = "orders",
): Promise<Indexed & { cluster: InstanceType<typeof CitusCluster> }> {
    const { made: cluster, resources } = await build(() => new CitusCluster(name, input));
    return { cluster, ...indexed(resources) };
}

const mistakesOf = (input: unknown): pulumi.InputPropertiesError => {
    try {
        new CitusCluster("orders", input as ClusterInput);
    } catch (error) {
        assert.ok(pulumi.InputPropertiesError.isInstance(error), String(error));
        return error;
    }
    throw new Error("it was taken");
};

const pathsOf = (input: unknown) => mistakesOf(input).errors?.map(({ propertyPath }) => propertyPath) ?? [];

/** A program in a process of its own; what it prints as JSON. `seen` has every module that it loads. */
function inProcess(program: string): unknown {
    const text = `
        import * as pulumi from "@pulumi/pulumi";
        import { createRequire, registerHooks } from "node:module";
        const seen = [];
        const resolve = (specifier, context, next) => { const found = next(specifier, context); seen.push(found.url); return found; };
        registerHooks({ resolve });
        await pulumi.runtime.setMocks({ newResource: ({ name, inputs }) => ({ id: name, state: inputs }), call: () => ({}) });
        const { CitusCluster } = await import(${JSON.stringify(join(ROOT, "components", "index.ts"))});
        ${program}`;
    const options = { cwd: ROOT, encoding: "utf8" } as const;
    const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", text], options);
    const line = stdout.split("\n").find((one) => /^[[{]/.test(one));
    assert.ok(line, stdout + stderr);
    return JSON.parse(line);
}

describe("what is left out", () => {
    test("three workers are a whole cluster", async () => {
        const { of, cluster } = await made({ workers: 3 });
        assert.equal(of(CONTAINER).length, 4);
        assert.equal(cluster.clusterName, "orders-dev");
        assert.equal(cluster.database, "app");
        assert.equal(of(CONTAINER)[0]?.inputs.memory, 1024);
    });

    test("nothing at all is one too", async () => {
        assert.equal((await made(undefined)).of(CONTAINER).length, 3);
    });

    test("no file of this machine is named, and the one that is asked for is", async () => {
        const url = await resolved((await made()).cluster.connectionString);
        assert.equal(url, `postgresql://postgres:${PASSWORD}@localhost:24000/app?sslmode=verify-full`);
        const asked = await resolved((await made({ caFile: "ca.crt" })).cluster.connectionString);
        assert.equal(asked, `${url}&sslrootcert=ca.crt`);
    });
});

describe("two clusters in one program", () => {
    test("share no name", async () => {
        const { made: clusters, resources } = await build(() => [
            new CitusCluster("orders", { workers: 1 }),
            new CitusCluster("events", { workers: 2 }),
        ]);
        const { of } = indexed(resources);
        assert.deepEqual(
            clusters.map(({ clusterName }) => clusterName),
            ["orders-dev", "events-dev"],
        );
        assert.equal(new Set(resources.map(({ urn }) => urn)).size, resources.length);
        for (const type of [CONTAINER, VOLUME, NETWORK]) {
            const names = of(type).map(({ inputs }) => inputs.name);
            assert.equal(new Set(names).size, names.length, type);
        }
    });
});

describe("what is wrong", () => {
    test("is said at once, each with its path", () => {
        const error = mistakesOf({
            workers: 201,
            wrokers: 3,
            coordinator: { memory: "1 byte" },
            settings: { all: { port: 1 } },
            network: { cidr: "10.0.0.0/8" },
            tenantGroups: { clinics: { model: "schema" } },
        });
        const paths = error.errors?.map(({ propertyPath }) => propertyPath).sort();
        assert.deepEqual(paths, [
            "coordinator.memory",
            "network",
            "settings.all",
            "tenantGroups",
            "workers",
            "wrokers",
        ]);
        assert.match(error.message, /^CitusCluster orders has 6 mistakes:\n/);
        assert.match(error.message, /\n {2}wrokers is no argument of a cluster - did you mean workers\?\n/);
        assert.match(error.message, /\nNothing was changed\.$/);
        assert.doesNotMatch(error.message, /citus:/);
    });

    test("an output where the program has to know it", () => {
        assert.deepEqual(
            pathsOf({ workers: pulumi.output(3), database: pulumi.output("x"), retire: [pulumi.output("worker-1")] }),
            ["workers", "database", "retire[0]"],
        );
    });

    test("the region is an argument", () => {
        assert.deepEqual(pathsOf({ platform: "aws", region: "nowhere" }), ["region"]);
    });

    test("Pulumi prints it without a stack", () => {
        assert.ok(pulumi.RunError.isInstance(mistakesOf({ workers: -1 })));
    });

    test("no secret is shown", () => {
        assert.doesNotMatch(
            mistakesOf({ backupPassphrase: "short secret", passphrase: "hidden" }).message,
            /short|hidden/,
        );
    });
});

describe("what comes from other resources", () => {
    const later = <T>(value: T) => pulumi.output(new Promise<T>((resolve) => setTimeout(() => resolve(value), 5)));

    test("a passphrase stays a secret", async () => {
        const { one } = await made({ backupPassphrase: pulumi.secret(later(PASSPHRASE)) });
        const configuration = one("citus-clusters:index:Configuration", "orders-worker-1");
        assert.match(configuration.inputs.backup["pgbackrest.conf"], new RegExp(PASSPHRASE));
        assert.ok(configuration.secrets.includes("backup"));
    });

    test("a network, groups, a key and tags of a program's own", async () => {
        const key = `arn:aws:kms:${REGION}:123456789012:key/11111111-2222-3333-4444-555555555555`;
        const { of, one } = await made({
            ...AWS,
            kmsKeyId: later(key),
            tags: { team: later("data"), tier: "one" },
            network: {
                vpcId: later("vpc-12345678"),
                subnetIds: later(["subnet-aaaaaaaa", "subnet-bbbbbbbb"]),
                allowedCidrs: ["10.9.0.0/16", later("10.8.0.0/16"), later("2001:db8::/32")],
                allowedSecurityGroups: [later("sg-12345678")],
            },
        });
        const instance = one(INSTANCE, "orders-worker-1").inputs;
        assert.equal(instance.subnetId, "subnet-bbbbbbbb");
        assert.equal(instance.rootBlockDevice.kmsKeyId, key);
        assert.equal(instance.tags.team, "data");
        assert.equal(instance.tags.tier, "one");
        const rules = of(INGRESS).map(({ name, inputs }) => [
            name,
            inputs.cidrIpv4 ?? inputs.cidrIpv6 ?? inputs.referencedSecurityGroupId,
        ]);
        assert.deepEqual(rules.sort(), [
            ["orders-between-nodes", "orders-nodes-id"],
            ["orders-from-10-9-0-0-16", "10.9.0.0/16"],
            ["orders-from-group-1", "sg-12345678"],
            ["orders-from-range-2", "10.8.0.0/16"],
            ["orders-from-range-3", "2001:db8::/32"],
        ]);
    });

    test("subnets one by one, and the repository of another cluster", async () => {
        const { one } = await made({
            ...AWS,
            network: { vpcId: "vpc-12345678", subnetIds: [later("subnet-aaaaaaaa"), later("subnet-bbbbbbbb")] },
            restoreFrom: { repository: later("old-bucket"), cluster: "orders-old" },
        });
        assert.equal(one(INSTANCE, "orders-coordinator").inputs.subnetId, "subnet-aaaaaaaa");
        assert.equal(one("citus-clusters:index:Restore").inputs.repository, "old-bucket");
    });

    test("is checked as soon as it is known", () => {
        const said = inProcess(`
            process.on("unhandledRejection", ({ errors }) => {
                if (errors) console.log(JSON.stringify(errors));
                process.exit(0);
            });
            const backupPassphrase = pulumi.output(new Promise((resolve) => setTimeout(() => resolve("too short"), 5)));
            new CitusCluster("orders", { backupPassphrase });
            setTimeout(() => {}, 5000);`);
        const reason = "must have 20 to 200 visible ASCII characters - for example from openssl rand -base64 32";
        assert.deepEqual(said, [{ propertyPath: "backupPassphrase", reason }]);
    });
});

describe("transform", () => {
    test("a container and a volume by a function, with their options", async () => {
        const { of, one } = await made({
            workers: 1,
            transform: {
                container: (args, opts, node) => {
                    args.cpuShares = node === "coordinator" ? 512 : 256;
                    opts.ignoreChanges = ["logOpts"];
                },
                volume: { driverOpts: { type: "tmpfs" } },
            },
        });
        assert.equal(one(CONTAINER, "orders-coordinator").inputs.cpuShares, 512);
        assert.equal(one(CONTAINER, "orders-worker-1").inputs.cpuShares, 256);
        const container = one(CONTAINER, "orders-worker-1");
        assert.deepEqual(container.request.getIgnorechangesList(), ["logOpts"]);
        assert.equal(container.request.getDeletebeforereplace(), true);
        // what a container is made of says so
        const madeOf = (node: Registered) =>
            node.inputs.labels.find(({ label }: { label: string }) => label === MADE_LABEL)?.value;
        const plain = (await made({ workers: 1 })).one(CONTAINER, "orders-worker-1");
        assert.ok(madeOf(plain) && madeOf(container));
        assert.notEqual(madeOf(plain), madeOf(container));
        for (const volume of of(VOLUME).filter(({ name }) => name.endsWith("-data"))) {
            assert.deepEqual(volume.inputs.driverOpts, { type: "tmpfs" });
            assert.ok(volume.request.getIgnorechangesList().includes("name"));
        }
    });

    test("an instance and its disk on aws", async () => {
        const { of } = await made({
            ...AWS,
            transform: {
                instance: { monitoring: true },
                volume: (args) => {
                    args.multiAttachEnabled = false;
                },
            },
        });
        assert.deepEqual(
            of(INSTANCE).map(({ inputs }) => inputs.monitoring),
            [true, true],
        );
        assert.deepEqual(
            of(EBS).map(({ inputs }) => inputs.multiAttachEnabled),
            [false, false],
        );
    });
});

test("a program on docker loads nothing of AWS", () => {
    const { all, aws } = inProcess(`
        new CitusCluster("orders", { workers: 1 });
        const loaded = [...seen, ...Object.keys(createRequire(import.meta.url).cache)];
        console.log(JSON.stringify({ all: loaded.length, aws: loaded.filter((one) => /@pulumi.aws|@aws-sdk/.test(one)) }));
        process.exit(0);`) as { all: number; aws: string[] };
    assert.ok(all > 100);
    assert.deepEqual(aws, []);
});
