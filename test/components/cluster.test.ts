/** What a cluster consists of: every resource, what it is given, and what is secret. */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterAll, beforeAll, describe, onTestFinished, test } from "vitest";
import type { CitusCluster } from "../../components/cluster.ts";
import type { RestoreFromInput } from "../../components/config/index.ts";
import { NO_REPOSITORY } from "../../core/node/archive.ts";
import { type NodeConfiguration, nodeFiles } from "../../core/node/files.ts";
import type { Settings } from "../../core/node/settings.ts";
import { beginnings } from "../../provider/ports.ts";
import {
    abandon,
    type Built,
    build,
    CLUSTER_ID,
    ENGINE,
    indexed,
    mock,
    NODE_SUBNET,
    nodesOf,
    ORIGIN_BACKUPS,
    ORIGIN_STACK,
    PASSWORD,
    type Registered,
    registeredSoFar,
    resolved,
} from "./mocks.ts";

process.chdir(join(import.meta.dirname, "..", ".."));
await mock();
const { CitusCluster: Cluster } = await import("../../components/cluster.ts");
const { nodeImage, packagesHash, packagesImage, scriptsHash } = await import("../../core/image/contents.ts");

const CONTAINER = "docker:index/container:Container";
const VOLUME = "docker:index/volume:Volume";
const NETWORK = "docker:index/network:Network";
const IMAGE = "citus-clusters:index:NodeImage";
const CONFIGURATION = "citus-clusters:index:Configuration";
const MEMBER = "citus-clusters:index:Member";
const PLACEMENT = "citus-clusters:index:Placement";
const POST_DEPLOY = "citus-clusters:index:PostDeploy";
const PORTS = "citus-clusters:index:PortRange";
const IDENTITY = "citus-clusters:index:Identity";
const BACKUPS = "citus-clusters:index:Backups";
const REPLACEMENTS = "citus-clusters:index:Replacements";
const RESTORE = "citus-clusters:index:Restore";
const RECOVERED = "citus-clusters:index:Recovered";

const made = new Map<string, Promise<Built<CitusCluster>>>();

/** A cluster of this configuration, made once. */
function cluster(values: Record<string, unknown> = {}): Promise<Built<CitusCluster>> {
    const key = JSON.stringify({ workers: 2, ...values });
    const found = made.get(key) ?? make(values);
    made.set(key, found);
    return found;
}

async function make(values: Record<string, unknown>): Promise<Built<CitusCluster>> {
    const { made: component, resources } = await build(() => new Cluster("citus", values));
    return { cluster: component, ...indexed(resources) };
}

for (const workers of [2, 3]) {
    describe(`1 + ${workers}`, () => {
        let built: Built<CitusCluster>;
        const nodes = nodesOf(workers);
        beforeAll(async () => {
            built = await cluster({ workers });
        });

        test("consists of exactly these resources", () => {
            const expected = [
                "citus:index:Cluster citus",
                "citus:index:Security citus",
                "citus:docker:Platform citus",
                "random:index/randomId:RandomId citus-id",
                `${IDENTITY} citus-identity`,
                "random:index/randomPassword:RandomPassword citus-password",
                "random:index/randomPassword:RandomPassword citus-tenants",
                "tls:index/privateKey:PrivateKey citus-ca",
                "tls:index/selfSignedCert:SelfSignedCert citus-ca",
                "citus-clusters:index:DockerEngine citus-engine",
                "pulumi:providers:docker citus-docker",
                `${IMAGE} citus-node-image`,
                `${REPLACEMENTS} citus-replacements`,
                `${NETWORK} citus-nodes`,
                `${NETWORK} citus-clients`,
                `${PORTS} citus-ports`,
                `${PORTS} citus-pool-ports`,
                `${VOLUME} citus-backups`,
                `${PLACEMENT} citus-shards`,
                `${BACKUPS} citus-backups-watch`,
                ...nodes.flatMap((node) => [
                    `tls:index/privateKey:PrivateKey citus-${node}`,
                    `tls:index/certRequest:CertRequest citus-${node}`,
                    `tls:index/locallySignedCert:LocallySignedCert citus-${node}`,
                    `citus:docker:Node citus-${node}`,
                    `${VOLUME} citus-${node}-data`,
                    `${CONTAINER} citus-${node}`,
                    `${CONFIGURATION} citus-${node}`,
                    `${MEMBER} citus-${node}`,
                ]),
            ];
            assert.deepEqual(built.all.map(({ type, name }) => `${type} ${name}`).sort(), expected.sort());
        });

        test("every resource has the parent that it should, and one urn", () => {
            const parentOf = ({ type, name }: Registered) => {
                if (type === "citus:index:Cluster") return "";
                if ([MEMBER, PLACEMENT, BACKUPS, "citus:index:Security", "citus:docker:Platform"].includes(type))
                    return "citus:index:Cluster::citus";
                if (/^(random|tls):|citus-clusters:index:Identity$/.test(type)) return "citus:index:Security::citus";
                if ([VOLUME, CONTAINER, CONFIGURATION].includes(type) && name !== "citus-backups")
                    return `citus:docker:Node::${name.replace(/-data$/, "")}`;
                return "citus:docker:Platform::citus";
            };
            for (const resource of built.all) {
                const [, , type = "", name = ""] = resource.parent.split("::");
                const found = resource.parent === "" ? "" : `${type.split("$").at(-1)}::${name}`;
                assert.equal(found, parentOf(resource), resource.urn);
            }
            assert.equal(new Set(built.all.map((resource) => resource.urn)).size, built.all.length);
        });

        test("a node and its pool listen on 127.0.0.1 only, at the ports that the node's number gives", () => {
            for (const [i, node] of nodes.entries()) {
                assert.deepEqual(built.one(CONTAINER, `citus-${node}`).inputs.ports, [
                    { internal: 5432, external: 24_000 + i, ip: "127.0.0.1" },
                    { internal: 6432, external: 25_000 + i, ip: "127.0.0.1" },
                ]);
            }
        });

        test("node names resolve on the node network only, which reaches nothing else", () => {
            const network = built.one(NETWORK, "citus-nodes").inputs;
            assert.equal(network.internal, true);
            assert.equal(network.name, "citus-dev-012345-nodes");
            assert.notEqual(built.one(NETWORK, "citus-clients").inputs.internal, true);
            for (const node of nodes) {
                assert.deepEqual(built.one(CONTAINER, `citus-${node}`).inputs.networksAdvanced, [
                    { name: "citus-dev-012345-nodes", aliases: [`${node}.citus-dev.node`] },
                    { name: "citus-dev-012345-clients" },
                ]);
            }
        });

        test("only the node network lets in by certificate", () => {
            for (const { inputs } of built.of(CONFIGURATION)) assert.deepEqual(inputs.nodeNetworks, [NODE_SUBNET]);
        });

        test("a container stops fast and cleanly, and has little it could misuse", () => {
            for (const { inputs } of built.of(CONTAINER)) {
                assert.equal(inputs.stopSignal, "SIGINT");
                assert.ok(inputs.stopTimeout >= 30 && inputs.destroyGraceSeconds >= 30);
                assert.deepEqual(inputs.capabilities, { drops: ["ALL"] });
                assert.deepEqual(inputs.securityOpts, ["no-new-privileges"]);
                assert.ok(!inputs.privileged && inputs.networkMode !== "host" && inputs.pidMode !== "host");
                assert.equal(inputs.memory, 1024);
                assert.equal(inputs.memorySwap, 1024);
                assert.equal(inputs.restart, "unless-stopped");
                assert.equal(inputs.image, "sha256:image");
                assert.ok(inputs.logOpts["max-size"] && inputs.logOpts["max-file"]);
                assert.deepEqual(inputs.healthcheck.tests, ["CMD", "/usr/local/lib/citus-node/health.sh"]);
            }
        });

        test("a container has its own volume and the repository, and no file of this machine", () => {
            for (const node of nodes) {
                const { mounts, volumes, uploads } = built.one(CONTAINER, `citus-${node}`).inputs;
                assert.deepEqual(mounts, [
                    { type: "volume", source: `citus-dev-012345-${node}-data`, target: "/var/lib/citus" },
                    { type: "volume", source: "citus-dev-012345-backups", target: "/var/lib/citus-backups" },
                ]);
                assert.equal(volumes, undefined);
                assert.equal(uploads, undefined);
            }
        });

        test("containers and networks clear what a killed run left, before they are made", () => {
            for (const { request, name } of [...built.of(CONTAINER), ...built.of(NETWORK)])
                assert.equal(request.getHooks()?.getBeforeCreateList().length, 1, name);
            for (const { request } of built.of(CONTAINER)) assert.equal(request.getDeletebeforereplace(), true);
        });

        test("no secret is in an image, container, network or volume", () => {
            for (const resource of [IMAGE, CONTAINER, NETWORK, VOLUME].flatMap((type) => built.of(type))) {
                const { coordinator, ...inputs } = resource.inputs;
                // the image is asked for; nothing of this goes into it
                assert.deepEqual(resource.secrets, coordinator === undefined ? [] : ["coordinator"], resource.name);
                const text = JSON.stringify(inputs);
                for (const secret of [PASSWORD, "PRIVATE KEY", "SCRAM-SHA-256"])
                    assert.ok(!text.includes(secret), `${secret} in ${resource.name}`);
                assert.equal(resource.inputs.envs, undefined);
                assert.equal(resource.inputs.command, undefined);
                assert.equal(resource.inputs.entrypoints, undefined);
            }
        });

        test("no input of any resource has a secret in the clear", () => {
            for (const resource of built.all) {
                for (const [key, value] of Object.entries(resource.inputs)) {
                    const text = JSON.stringify(value) ?? "";
                    const secret = [PASSWORD, "PRIVATE KEY OF", "SCRAM-SHA-256$"].find((word) => text.includes(word));
                    if (secret)
                        assert.ok(
                            resource.secrets.includes(key),
                            `${secret} in ${resource.type} ${resource.name}.${key}`,
                        );
                }
            }
        });

        test("a node is given a verifier instead of the password, and both it and the key are secret", () => {
            for (const node of nodes) {
                const { inputs, secrets } = built.one(CONFIGURATION, `citus-${node}`);
                assert.ok(secrets.includes("privateKey") && secrets.includes("verifier"), secrets.join());
                assert.equal(inputs.privateKey, `PRIVATE KEY OF citus-${node}`);
                assert.match(inputs.verifier, /^SCRAM-SHA-256\$4096:/);
                const { membership, ...given } = inputs;
                assert.ok(!JSON.stringify(given).includes(PASSWORD));
                assert.ok(!JSON.stringify(nodeFiles(inputs as NodeConfiguration)).includes(PASSWORD));
                // only the coordinator is asked with it
                assert.ok(secrets.includes("membership"), secrets.join());
                assert.equal(membership.host, `${node}.citus-dev.node`);
                assert.equal(membership.coordinator.serverName, "coordinator.citus-dev.node");
                assert.equal(inputs.certificate, `CERTIFICATE OF citus-${node}`);
                assert.equal(inputs.caCertificate, "CA CERTIFICATE");
                assert.equal(inputs.clusterId, CLUSTER_ID);
                assert.equal(inputs.cluster, "citus-dev");
                assert.equal(inputs.database, "app");
                assert.deepEqual(inputs.shell, {
                    kind: "docker",
                    engine: ENGINE,
                    container: `citus-dev-012345-${node}`,
                });
                assert.equal(inputs.machine, `citus-${node}-id`);
            }
        });

        test("every node has the same verifier, so that the password works everywhere", () => {
            assert.equal(new Set(built.of(CONFIGURATION).map(({ inputs }) => inputs.verifier)).size, 1);
        });

        test("a node's certificate names the node and localhost, and is signed by the cluster's own CA", () => {
            for (const node of nodes) {
                const request = built.one("tls:index/certRequest:CertRequest", `citus-${node}`).inputs;
                assert.deepEqual(request.subject, { commonName: `${node}.citus-dev.node` });
                assert.deepEqual(request.dnsNames, [`${node}.citus-dev.node`, "localhost"]);
                assert.deepEqual(request.ipAddresses, ["127.0.0.1"]);
                const signed = built.one("tls:index/locallySignedCert:LocallySignedCert", `citus-${node}`).inputs;
                assert.equal(signed.caPrivateKeyPem, "PRIVATE KEY OF citus-ca");
                assert.equal(signed.certRequestPem, `REQUEST OF citus-${node}`);
                assert.ok(signed.allowedUses.includes("server_auth") && signed.allowedUses.includes("client_auth"));
                assert.notEqual(signed.isCaCertificate, true);
                assert.ok(signed.earlyRenewalHours >= 24 * 7 && signed.earlyRenewalHours < signed.validityPeriodHours);
            }
        });

        test("settings are those of the role", () => {
            const settings = (node: string) => built.one(CONFIGURATION, `citus-${node}`).inputs.settings as Settings;
            assert.notEqual(
                settings("coordinator")["citus.max_shared_pool_size"],
                settings("worker-1")["citus.max_shared_pool_size"],
            );
            const { archive_command: _, ...first } = settings("worker-1");
            const { archive_command: __, ...second } = settings("worker-2");
            assert.deepEqual(first, second);
        });

        test("every node sends its WAL to a stanza of its own", () => {
            for (const node of nodes) {
                const { settings } = built.one(CONFIGURATION, `citus-${node}`).inputs;
                assert.equal(settings.archive_mode, "on");
                assert.equal(settings.archive_timeout, "60s");
                assert.equal(
                    settings.archive_command,
                    `pgbackrest --config=/var/lib/citus/conf/current/pgbackrest.conf --stanza=citus-dev-${node} archive-push %p`,
                );
            }
        });

        test("members are registered under names of the node network, and know how to reach both ends", () => {
            for (const [i, node] of nodes.entries()) {
                const { inputs, secrets } = built.one(MEMBER, `citus-${node}`);
                assert.equal(inputs.host, `${node}.citus-dev.node`);
                assert.equal(inputs.port, 5432);
                assert.equal(inputs.name, node);
                assert.equal(inputs.role, i === 0 ? "coordinator" : "worker");
                assert.deepEqual(inputs.access, {
                    host: "localhost",
                    port: 24_000 + i,
                    serverName: `${node}.citus-dev.node`,
                    ca: "CA CERTIFICATE",
                    user: "postgres",
                    password: PASSWORD,
                    database: "app",
                });
                assert.equal(inputs.coordinator.port, 24_000);
                assert.ok(secrets.includes("access") && secrets.includes("coordinator"), secrets.join());
            }
        });

        test("a worker is registered after it answers and after the coordinator, and goes with the coordinator's data", () => {
            const volume = built.one(VOLUME, "citus-coordinator-data");
            const first = built.one(MEMBER, "citus-coordinator");
            assert.equal(first.request.getDeletedwith(), "");
            const named = (type: string, name: string) => (urn: string) => urn.endsWith(`$${type}::${name}`);
            assert.ok(first.request.getDependenciesList().some(named(CONFIGURATION, "citus-coordinator")));
            for (const node of nodes.slice(1)) {
                const { request } = built.one(MEMBER, `citus-${node}`);
                assert.ok(named(VOLUME, volume.name)(request.getDeletedwith()), request.getDeletedwith());
                const on = request.getDependenciesList();
                assert.ok(on.some(named(CONFIGURATION, `citus-${node}`)), on.join("\n"));
                assert.ok(on.some(named(MEMBER, "citus-coordinator")), on.join("\n"));
            }
        });

        test("shards are placed after every registration", () => {
            const { inputs, request } = built.one(PLACEMENT, "citus-shards");
            for (const node of nodes)
                assert.ok(
                    request.getDependenciesList().some((urn) => urn.endsWith(`${MEMBER}::citus-${node}`)),
                    node,
                );
            assert.deepEqual(
                inputs.workers.map((worker: { name: string }) => worker.name),
                nodes.slice(1),
            );
            assert.equal(inputs.coordinatorHost, "coordinator.citus-dev.node");
            assert.equal(inputs.coordinatorShards, false);
            assert.equal(inputs.rebalance, true);
            assert.equal(inputs.strategy, "by_disk_size");
            assert.equal(inputs.transferMode, "auto");
            assert.ok(!("threshold" in inputs));
        });

        test("outputs say how to reach the cluster, and secrets are secret", async () => {
            const made = built.cluster;
            assert.deepEqual(await resolved(made.coordinator), { host: "localhost", port: 24_000 });
            assert.deepEqual(
                (await resolved(made.workers)).map(({ name, host, port }) => ({ name, host, port })),
                nodes.slice(1).map((name, i) => ({ name, host: "localhost", port: 24_001 + i })),
            );
            assert.equal(
                await resolved(made.connectionString),
                `postgresql://postgres:${PASSWORD}@localhost:24000/app?sslmode=verify-full`,
            );
            assert.equal(await resolved(made.password), PASSWORD);
            assert.equal(await resolved(made.caCertificate), "CA CERTIFICATE");
            assert.equal(await resolved(made.status), "a line about the cluster");
            assert.ok(made.backups);
            assert.deepEqual(await resolved(made.backups), {
                repository: "citus-dev-012345-backups",
                cluster: "citus-dev",
            });
            assert.equal(await pulumi.isSecret(made.connectionString), true);
            assert.equal(await pulumi.isSecret(made.password), true);
            for (const open of [made.coordinator, made.workers, made.caCertificate, made.status, made.backups])
                assert.equal(await pulumi.isSecret(open as pulumi.Output<unknown>), false);
        });

        test("the repository is one volume, labelled as the cluster's and no node's", () => {
            const { inputs } = built.one(VOLUME, "citus-backups");
            assert.deepEqual(inputs, {
                name: "citus-dev-012345-backups",
                labels: [
                    { label: "citus.cluster", value: "citus-dev" },
                    { label: "citus.cluster-id", value: CLUSTER_ID },
                ],
            });
        });

        test("every node is given pgBackRest's configuration and the schedule, for its own stanza and role", () => {
            for (const node of nodes) {
                const { inputs, secrets } = built.one(CONFIGURATION, `citus-${node}`);
                assert.deepEqual(Object.keys(inputs.backup).sort(), ["backup.conf", "pgbackrest.conf"]);
                assert.match(inputs.backup["pgbackrest.conf"], new RegExp(`^\\[citus-dev-${node}\\]$`, "m"));
                assert.ok(!inputs.backup["pgbackrest.conf"].includes("cipher"));
                assert.equal(
                    inputs.backup["backup.conf"],
                    `cluster=citus-dev\nrole=${node === "coordinator" ? "coordinator" : "worker"}\nstanza=citus-dev-${node}\n` +
                        "full=604800\ndiff=86400\nincr=0\nrestore_point=300\nretention=2\nwindow=\n",
                );
                // nothing in it is secret without a passphrase, so changes of it are shown
                assert.ok(!secrets.includes("backup"), secrets.join());
                assert.ok(!("restoreId" in inputs));
            }
        });

        test("the archive is looked at through the coordinator, when all is placed", () => {
            const { inputs, request, secrets } = built.one(BACKUPS, "citus-backups-watch");
            assert.equal(inputs.coordinator.port, 24_000);
            assert.equal(inputs.citus, "14.1.0");
            assert.ok(secrets.includes("coordinator"), secrets.join());
            assert.ok(request.getDependenciesList().some((urn) => urn.endsWith(`${PLACEMENT}::citus-shards`)));
        });

        test("without a passphrase an empty one is kept, so that none can be added to what is not encrypted", () => {
            const { inputs, secrets } = built.one(IDENTITY);
            assert.equal(inputs.passphrase, "");
            assert.deepEqual(secrets, ["passphrase"]);
        });

        test("in dev nothing is protected, and there is no post-deploy without files", () => {
            assert.deepEqual(
                built.all.filter(({ request }) => request.getProtect()),
                [],
            );
            assert.deepEqual(built.of(POST_DEPLOY), []);
        });

        test("every docker resource is made by the cluster's own provider", () => {
            for (const resource of [CONTAINER, NETWORK, VOLUME].flatMap((type) => built.of(type)))
                assert.match(resource.request.getProvider(), /::citus-docker::/, resource.name);
            assert.equal(built.one("pulumi:providers:docker").inputs.disableDockerDaemonCheck, "true");
        });
    });
}

describe("a change of the configuration", () => {
    test("a worker more changes nothing of the nodes that are there", async () => {
        const two = await cluster({ workers: 2 });
        const three = await cluster({ workers: 3 });
        for (const type of [CONTAINER, VOLUME, NETWORK, IMAGE, CONFIGURATION, MEMBER]) {
            for (const resource of two.of(type))
                assert.deepEqual(three.one(type, resource.name).inputs, resource.inputs, resource.urn);
        }
    });

    test("what a destroy begins with, the coordinator's volume and the backups are protected, and only when asked", async () => {
        const built = await cluster({ protect: true });
        assert.deepEqual(
            built.all.filter(({ request }) => request.getProtect()).map(({ type, name }) => `${type} ${name}`),
            [`${VOLUME} citus-backups`, `${VOLUME} citus-coordinator-data`, `${PLACEMENT} citus-shards`],
        );
    });

    test("without workers the coordinator holds the shards", async () => {
        const built = await cluster({ workers: 0 });
        assert.equal(built.one(PLACEMENT).inputs.coordinatorShards, true);
        assert.deepEqual(built.one(PLACEMENT).inputs.workers, []);
        assert.equal(built.of(CONTAINER).length, 1);
        assert.deepEqual(await resolved(built.cluster.workers), []);
    });

    test("the coordinator holds shards when asked", async () => {
        const built = await cluster({ coordinator: { shards: true } });
        assert.equal(built.one(PLACEMENT).inputs.coordinatorShards, true);
    });

    test("a retired worker is not made, and the others keep their numbers and ports", async () => {
        const built = await cluster({ workers: 2, retire: ["worker-1"] });
        assert.deepEqual(
            built
                .of(CONTAINER)
                .map(({ name, inputs }) => [name, inputs.ports[0].external])
                .sort(),
            [
                ["citus-coordinator", 24_000],
                ["citus-worker-2", 24_002],
                ["citus-worker-3", 24_003],
            ],
        );
    });

    test("a port that is set is used, and none is chosen", async () => {
        const built = await cluster({ port: 5500 });
        assert.deepEqual(built.of(PORTS), []);
        assert.deepEqual(
            built
                .of(CONTAINER)
                .map(({ inputs }) => inputs.ports.map(({ external }: { external: number }) => external))
                .sort(),
            [
                [5500, 6500],
                [5501, 6501],
                [5502, 6502],
            ],
        );
    });

    test("the ports that are kept free are enough for every node", async () => {
        // what 65 workers would have, without making them all
        const retire = Array.from({ length: 63 }, (_, i) => `worker-${i + 1}`);
        const built = await cluster({ workers: 2, retire });
        const used = built.of(CONTAINER).map(({ inputs }) => inputs.ports[0].external as number);
        assert.equal(Math.max(...used), 24_065);
        for (const name of ["citus-ports", "citus-pool-ports"]) {
            const { size } = built.one(PORTS, name).inputs;
            assert.ok(24_065 < 24_000 + size, `${size} ports are kept`);
        }
        // nobody listens on either while they are chosen
        assert.equal(built.one(PORTS, "citus-pool-ports").inputs.apart, 24_000);
        for (const first of beginnings({ size: 256, apart: 24_000 })) assert.ok(Math.abs(first - 24_000) >= 256);
        assert.equal(beginnings({ size: 256, apart: 20_000 }).length, beginnings({ size: 256 }).length - 1);
    });

    test("a coordinator bigger than its workers does not open more connections to one than it accepts", async () => {
        const built = await cluster({ workers: 4, coordinator: { memory: "16GB" }, worker: { memory: "1GB" } });
        const setting = (node: string, name: string) =>
            Number(built.one(CONFIGURATION, `citus-${node}`).inputs.settings[name]);
        const opened = nodesOf(4).reduce((sum, node) => sum + setting(node, "citus.max_shared_pool_size"), 0);
        const accepted = setting("worker-1", "max_connections") - 20;
        assert.ok(opened <= accepted, `${opened} may be opened to worker-1, which has ${accepted}`);
    });

    test("machines get the memory of their role", async () => {
        const built = await cluster({ coordinator: { memory: "4GB" }, worker: { memory: "2GB" } });
        assert.equal(built.one(CONTAINER, "citus-coordinator").inputs.memory, 4096);
        assert.equal(built.one(CONTAINER, "citus-worker-1").inputs.memory, 2048);
    });

    test("a threshold and a transfer mode reach the placement and the members", async () => {
        const built = await cluster({ rebalance: { threshold: 0.05, transferMode: "block_writes", enabled: false } });
        const { inputs } = built.one(PLACEMENT);
        assert.equal(inputs.threshold, 0.05);
        assert.equal(inputs.rebalance, false);
        for (const member of built.of(MEMBER)) assert.equal(member.inputs.transferMode, "block_writes");
    });

    test("post-deploy is there when files are given, after the placement, with each content's hash", async () => {
        const dir = mkdtempSync("test/files-");
        const file = join(dir, "schema.sql");
        writeFileSync(file, "SELECT 1;\n");
        onTestFinished(() => rmSync(dir, { recursive: true }));
        const make = (restoreFrom?: RestoreFromInput) =>
            build(() => new Cluster("citus", { ...(restoreFrom && { restoreFrom }), postDeploy: [file] }));
        const find = (resources: Registered[]) => resources.find(({ type }) => type === POST_DEPLOY) as Registered;
        const first = find((await make()).resources);
        assert.equal(first.name, "citus-post-deploy");
        assert.equal(first.inputs.files[0].path, file);
        assert.match(first.inputs.files[0].sha256, /^[0-9a-f]{64}$/);
        assert.ok(first.request.getDependenciesList().some((urn) => urn.endsWith(`${PLACEMENT}::citus-shards`)));
        assert.deepEqual(find((await make()).resources).inputs, first.inputs);
        // another restore is another input: the database is asked again which files it has
        assert.ok(!("restoreId" in first.inputs));
        const restored = find((await make({ point: "latest" })).resources);
        assert.equal(restored.inputs.restoreId, "feedbeef");
        writeFileSync(file, "SELECT 2;\n");
        assert.notEqual(find((await make()).resources).inputs.files[0].sha256, first.inputs.files[0].sha256);
    });

    const DOCKER = "pulumi:providers:docker";

    test("the engine of the environment, and another that is configured, reach the provider and every hook", async () => {
        for (const [values, address] of [
            [{}, ENGINE],
            [{ dockerHost: "tcp://127.0.0.1:2375" }, "tcp://127.0.0.1:2375"],
            [{ dockerHost: "tcp://localhost" }, "tcp://localhost:2375"],
        ] as const) {
            const built = await cluster(values);
            assert.equal(built.one(DOCKER).inputs.host, address);
            const { address: kept, clusterId } = built.one("citus-clusters:index:DockerEngine").inputs;
            assert.deepEqual([kept, clusterId], [address, CLUSTER_ID]);
            for (const { inputs } of built.of(CONFIGURATION)) assert.equal(inputs.shell.engine, address);
        }
    });

    test("DOCKER_CONTEXT is not left to the provider, which would put it before DOCKER_HOST", async () => {
        const { context, certPath } = (await cluster({})).one(DOCKER).inputs;
        assert.deepEqual([context, certPath], ["", ""]);
    });

    test("an engine elsewhere is refused before anything is registered", async () => {
        process.env.DOCKER_HOST = "ssh://root@db.example";
        try {
            await assert.rejects(make({}), /DOCKER_HOST names the Docker engine ssh:\/\/root@db\.example/);
            assert.deepEqual(
                registeredSoFar().filter(({ type }) => type.startsWith("docker:") || type === DOCKER),
                [],
            );
        } finally {
            process.env.DOCKER_HOST = ENGINE;
            abandon();
        }
    });

    test("networks are made one after the other, and each container and network looks first", async () => {
        const built = await cluster({});
        const [nodes, clients] = ["citus-nodes", "citus-clients"].map((name) =>
            built.one("docker:index/network:Network", name),
        );
        assert.ok(clients?.request.getDependenciesList().includes(nodes?.urn ?? ""));
        for (const { request } of [
            ...built.of("docker:index/network:Network"),
            ...built.of("docker:index/container:Container"),
        ])
            assert.equal(request.getHooks()?.getBeforeCreateList().length, 1);
    });
});

describe("an image of the user's own", () => {
    const watched = async (values: Record<string, unknown>) =>
        (await cluster(values)).one(BACKUPS, "citus-backups-watch").inputs.citus;

    test("says itself which Citus it holds, whatever is set", async () => {
        assert.equal(await watched({ image: "registry.example/citus:1" }), "14.9.0");
        assert.equal(await watched({ image: "registry.example/citus:1", citusVersion: "13.2.0" }), "14.9.0");
        assert.equal(await watched({ citusVersion: "13.2.0" }), "13.2.0");
    });
});

describe("without backups", () => {
    let built: Built<CitusCluster>;
    beforeAll(async () => {
        built = await cluster({ backup: false });
    });

    test("the repository is there, as it is with them, and nobody looks at it", async () => {
        assert.deepEqual(
            built
                .of(VOLUME)
                .map(({ name }) => name)
                .sort(),
            ["citus-backups", "citus-coordinator-data", "citus-worker-1-data", "citus-worker-2-data"],
        );
        assert.deepEqual(
            built.one(VOLUME, "citus-backups").inputs,
            (await cluster()).one(VOLUME, "citus-backups").inputs,
        );
        assert.deepEqual(built.of(BACKUPS), []);
        assert.deepEqual(await resolved(built.cluster.backups), {
            repository: "citus-dev-012345-backups",
            cluster: "citus-dev",
        });
    });

    test("the repository stays protected where data is", async () => {
        const prod = await cluster({ backup: false, protect: true });
        assert.equal(prod.one(VOLUME, "citus-backups").request.getProtect(), true);
    });

    test("a passphrase is not looked at, whether there is one or not", async () => {
        assert.equal(built.one(IDENTITY).inputs.passphrase, NO_REPOSITORY);
        const given = await cluster({ backup: false, backupPassphrase: "correct-horse-battery-staple" });
        assert.equal(given.one(IDENTITY).inputs.passphrase, NO_REPOSITORY);
        assert.ok(given.all.every(({ inputs }) => !JSON.stringify(inputs).includes("battery-staple")));
    });

    test("what is there already can be restored in place", async () => {
        const restored = await cluster({ backup: false, restoreFrom: { point: "latest" } });
        const restore = restored.one(RESTORE);
        assert.equal(restore.inputs.repository, "citus-dev-012345-backups");
        assert.deepEqual(restore.inputs.request, { cluster: "citus-dev", point: "latest" });
        assert.ok(dependsOn(restore, VOLUME, "citus-backups"));
        assert.equal(restored.one(RECOVERED).inputs.backups, false);
    });

    test("a container has its own volume only", () => {
        for (const { inputs, name } of built.of(CONTAINER)) {
            assert.deepEqual(inputs.mounts, [
                {
                    type: "volume",
                    source: `citus-dev-012345-${name.slice("citus-".length)}-data`,
                    target: "/var/lib/citus",
                },
            ]);
        }
    });

    test("nodes archive nothing and know of no repository", () => {
        assert.equal(built.of(CONFIGURATION).length, 3);
        for (const { inputs } of built.of(CONFIGURATION)) {
            assert.equal(inputs.settings.archive_mode, "off");
            assert.ok(!("archive_command" in inputs.settings));
            assert.deepEqual(inputs.backup, {});
        }
    });

    test("settings differ from those with backups in the archive's alone", async () => {
        const settings = (of: Built<CitusCluster>) =>
            of.one(CONFIGURATION, "citus-worker-1").inputs.settings as Settings;
        const [off, on] = [settings(built), settings(await cluster())];
        const names = [...new Set([...Object.keys(off), ...Object.keys(on)])];
        assert.deepEqual(names.filter((name) => off[name] !== on[name]).sort(), [
            "archive_command",
            "archive_mode",
            "archive_timeout",
        ]);
    });
});

/** Whose dependencies are meant, by the ends of their URNs. */
const dependsOn = (resource: Registered, type: string, name: string) =>
    resource.request.getDependenciesList().some((urn) => urn.endsWith(`${type}::${name}`));

describe("with a passphrase", () => {
    const PASSPHRASE = "correct-horse-battery-staple";
    const ORIGINS = "another-horse-battery-staple";
    let built: Built<CitusCluster>;
    beforeAll(async () => {
        built = await cluster({
            backupPassphrase: PASSPHRASE,
            restorePassphrase: ORIGINS,
            restoreFrom: { repository: "citus-prod-fedcba-backups", point: "latest" },
        });
    });

    test("it is where it has to be", () => {
        assert.equal(built.one(IDENTITY).inputs.passphrase, PASSPHRASE);
        for (const { inputs } of built.of(CONFIGURATION)) {
            assert.match(inputs.backup["pgbackrest.conf"], new RegExp(`^repo1-cipher-pass=${PASSPHRASE}$`, "m"));
            assert.match(inputs.backup["pgbackrest.conf"], /^repo1-cipher-type=aes-256-cbc$/m);
            assert.ok(!JSON.stringify(inputs).includes(ORIGINS));
        }
        // another cluster's repository has its own
        assert.equal(built.one(RESTORE).inputs.passphrase, ORIGINS);
    });

    test("everything that holds one is secret, and nothing else holds one", () => {
        const holding = built.all.flatMap(({ type, name, inputs, secrets }) =>
            Object.entries(inputs)
                .filter(([, value]) => [PASSPHRASE, ORIGINS].some((word) => JSON.stringify(value)?.includes(word)))
                .map(([key]) => {
                    assert.ok(secrets.includes(key), `${type} ${name}.${key} is in the clear`);
                    return `${type.split(":").at(-1)} ${name}.${key}`;
                }),
        );
        assert.deepEqual(holding.sort(), [
            "Configuration citus-coordinator.backup",
            "Configuration citus-worker-1.backup",
            "Configuration citus-worker-2.backup",
            "Identity citus-identity.passphrase",
            "Restore citus-restore.ownPassphrase",
            "Restore citus-restore.passphrase",
        ]);
        assert.ok(built.one(RESTORE).request.getAdditionalsecretoutputsList().includes("passphrase"));
        assert.ok(built.one(RESTORE).request.getAdditionalsecretoutputsList().includes("verifier"));
    });

    test("no image, container, network or volume is given it, by environment, label or argument", () => {
        const resources = [IMAGE, CONTAINER, NETWORK, VOLUME].flatMap((type) => built.of(type));
        assert.equal(resources.length, 1 + 3 + 2 + 4);
        for (const { inputs, secrets, name } of resources) {
            assert.ok(!/(battery-staple|cipher)/.test(JSON.stringify(inputs)), name);
            assert.deepEqual(
                secrets.filter((key) => key !== "coordinator"),
                [],
                name,
            );
            assert.equal(inputs.envs, undefined);
            assert.equal(inputs.command, undefined);
        }
    });

    test("no output shows it", async () => {
        const { coordinator, workers, connectionString, password, caCertificate, status, backups } = built.cluster;
        for (const output of [coordinator, workers, connectionString, password, caCertificate, status, backups]) {
            assert.ok(output);
            const value = await resolved(output as pulumi.Output<unknown>);
            assert.ok(!JSON.stringify(value).includes("battery-staple"), JSON.stringify(value));
        }
    });

    test("a restore takes the repository's own passphrase where there is no other", async () => {
        const own = await cluster({ backupPassphrase: PASSPHRASE, restoreFrom: { point: "latest" } });
        assert.equal(own.one(RESTORE).inputs.passphrase, PASSPHRASE);
        assert.ok(own.one(RESTORE).secrets.includes("passphrase"));
        const none = await cluster({ restoreFrom: { point: "latest" } });
        assert.equal(none.one(RESTORE).inputs.passphrase, "");
    });
});

describe("restored from a repository", () => {
    let built: Built<CitusCluster>;
    const nodes = nodesOf(2);
    beforeAll(async () => {
        built = await cluster({
            restoreFrom: {
                repository: "citus-prod-fedcba-backups",
                cluster: "citus-prod",
                point: "2026-11-22T10:00:00Z",
                overwrite: true,
            },
            coordinator: { memory: "4GB", cores: 8 },
        });
    });

    test("there is one restore and one proof of it, beside all that a new cluster has", async () => {
        const restored = built.all.map(({ urn }) => urn);
        const plain = (await cluster()).all.map(({ urn }) => urn);
        assert.deepEqual(
            plain.filter((urn) => !restored.includes(urn)),
            [],
        );
        assert.deepEqual(
            restored
                .filter((urn) => !plain.includes(urn))
                .map((urn) => urn.split("::").slice(2).join("::"))
                .sort(),
            [`citus:docker:Platform$${RESTORE}::citus-restore`, `citus:index:Cluster$${RECOVERED}::citus-recovered`],
        );
    });

    test("the restore is told what is wanted, from where, and into which volumes", () => {
        const { site, verifier, ...inputs } = built.one(RESTORE).inputs;
        const at = (node: string) => ({
            name: node,
            role: node === "coordinator" ? "coordinator" : "worker",
            host: `${node}.citus-dev.node`,
            port: 5432,
            memory: node === "coordinator" ? 4096 : 1024,
            cores: node === "coordinator" ? 8 : 2,
        });
        assert.deepEqual(inputs, {
            request: { cluster: "citus-prod", point: "2026-11-22T10:00:00Z" },
            overwrite: true,
            database: "app",
            cluster: "citus-dev",
            clusterId: CLUSTER_ID,
            repository: "citus-prod-fedcba-backups",
            repositoryRegion: "",
            passphrase: "",
            ownRepository: "citus-dev-012345-backups",
            ownPassphrase: "",
            nodes: nodes.map(at),
        });
        assert.deepEqual(site, {
            kind: "docker",
            engine: ENGINE,
            image: "citus-node:17-image",
            labels: { "citus.cluster": "citus-dev", "citus.cluster-id": CLUSTER_ID },
            nodes: nodes.map((node) => ({
                name: node,
                volume: `citus-dev-012345-${node}-data`,
                container: `citus-dev-012345-${node}`,
            })),
        });
        assert.equal(verifier, built.one(CONFIGURATION, "citus-coordinator").inputs.verifier);
    });

    test("it needs the image and every volume, and no container", () => {
        const restore = built.one(RESTORE);
        assert.ok(dependsOn(restore, IMAGE, "citus-node-image"));
        for (const node of nodes) assert.ok(dependsOn(restore, VOLUME, `citus-${node}-data`), node);
        for (const node of nodes) assert.ok(!dependsOn(restore, CONTAINER, `citus-${node}`), node);
    });

    test("no container starts before it", () => {
        for (const container of built.of(CONTAINER))
            assert.ok(dependsOn(container, RESTORE, "citus-restore"), container.name);
    });

    test("every node is configured anew after each restore", () => {
        for (const { inputs } of built.of(CONFIGURATION)) assert.equal(inputs.restoreId, "feedbeef");
    });

    test("it is proved when every node answers, against the point's own manifest", () => {
        const recovered = built.one(RECOVERED);
        for (const node of nodes) assert.ok(dependsOn(recovered, CONFIGURATION, `citus-${node}`), node);
        const { inputs, secrets } = recovered;
        assert.equal(inputs.restoreId, "feedbeef");
        assert.equal(inputs.manifest, '{"name":"citus-prod_point"}');
        assert.equal(inputs.partial, false);
        assert.equal(inputs.backups, true);
        assert.deepEqual(
            inputs.nodes.map(
                ({ name, shell, access }: { name: string; shell: { container: string }; access: { port: number } }) => [
                    name,
                    shell.container,
                    access.port,
                ],
            ),
            nodes.map((node, i) => [node, `citus-dev-012345-${node}`, 24_000 + i]),
        );
        assert.ok(secrets.includes("nodes"), secrets.join());
    });

    test("nobody is registered before that", () => {
        assert.ok(dependsOn(built.one(MEMBER, "citus-coordinator"), RECOVERED, "citus-recovered"));
        for (const node of nodes.slice(1))
            assert.ok(dependsOn(built.one(MEMBER, `citus-${node}`), MEMBER, "citus-coordinator"), node);
    });

    test("its own backups go to its own repository", async () => {
        for (const { inputs } of built.of(CONTAINER)) assert.equal(inputs.mounts[1].source, "citus-dev-012345-backups");
        assert.ok(built.cluster.backups);
        assert.equal((await resolved(built.cluster.backups)).repository, "citus-dev-012345-backups");
    });

    test("without a cluster's name the repository decides, and without backups none are made", async () => {
        const copy = await cluster({ restoreFrom: { repository: "citus-prod-fedcba-backups" }, backup: false });
        assert.deepEqual(copy.one(RESTORE).inputs.request, { point: "latest" });
        assert.equal(copy.one(RESTORE).inputs.overwrite, false);
        assert.equal(copy.one(RECOVERED).inputs.backups, false);
    });

    test("the image says itself what it holds, so nothing that is set stands for it", async () => {
        const own = await cluster({ restoreFrom: { point: "latest" }, image: "registry.example/citus:1" });
        const { inputs } = own.one(RESTORE);
        assert.ok(!("citus" in inputs) && !("citus" in inputs.request));
        assert.equal(inputs.site.image, "citus-node:17-image");
        assert.ok(dependsOn(own.one(RESTORE), IMAGE, "citus-node-image"));
    });
});

describe("restored in place", () => {
    test("from the stack's own volume and cluster, which it needs first", async () => {
        const restore = (await cluster({ restoreFrom: { point: "latest" } })).one(RESTORE);
        assert.equal(restore.inputs.repository, "citus-dev-012345-backups");
        assert.deepEqual(restore.inputs.request, { cluster: "citus-dev", point: "latest" });
        assert.ok(dependsOn(restore, VOLUME, "citus-backups"));
    });

    test("one worker alone: the manifest's numbers do not hold", async () => {
        const built = await cluster({ restoreFrom: { onlyWorker: "worker-2", acceptSplitTransactions: true } });
        assert.deepEqual(built.one(RESTORE).inputs.request, {
            cluster: "citus-dev",
            point: "latest",
            onlyWorker: "worker-2",
        });
        assert.equal(built.one(RECOVERED).inputs.partial, true);
    });
});

describe("restored from another stack", () => {
    test("where its backups output says, under the cluster's name there", async () => {
        const built = await cluster({ restoreFrom: { stack: ORIGIN_STACK } });
        const reference = built.one("pulumi:pulumi:StackReference");
        assert.equal(reference.name, "organization/citus/prod");
        assert.equal(built.one(RESTORE).inputs.repository, ORIGIN_BACKUPS.repository);
        assert.deepEqual(built.one(RESTORE).inputs.request, { cluster: ORIGIN_BACKUPS.cluster, point: "latest" });
    });

    test("a cluster's name that is given wins", async () => {
        const built = await cluster({ restoreFrom: { stack: ORIGIN_STACK, cluster: "citus-older" } });
        assert.deepEqual(built.one(RESTORE).inputs.request, { cluster: "citus-older", point: "latest" });
    });
});

describe("containers that are there already", () => {
    interface Answered {
        readonly Labels: Record<string, string>;
        readonly State: string;
        readonly Status: string;
    }
    let server: Server;
    let answer: readonly Answered[] = [];
    beforeAll(async () => {
        server = createServer((request, response) => {
            assert.match(request.url ?? "", /^\/containers\/json\?all=true/);
            response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
        });
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    });
    afterAll(() => server.close());

    const withEngine = () =>
        make({ workers: 3, dockerHost: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}` });
    const labelOf = (container: Registered): string =>
        container.inputs.labels.find(({ label }: { label: string }) => label === "citus.made-of").value;
    const running = (node: string, made: string, Status = "Up 1 hour (healthy)"): Answered => ({
        Labels: { "citus.node": node, "citus.made-of": made },
        State: "running",
        Status,
    });
    /** Nodes whose configuration a resource waits for. */
    const configured = ({ request }: Registered): string =>
        request
            .getDependenciesList()
            .flatMap((urn) => /:Configuration::citus-(.*)$/.exec(urn)?.[1] ?? [])
            .join();
    const waits = (built: Built<CitusCluster>) =>
        Object.fromEntries(built.of(CONTAINER).map((one) => [one.name.replace("citus-", ""), configured(one)]));
    const NOBODY = { coordinator: "", "worker-1": "", "worker-2": "", "worker-3": "" };

    /** Nodes that are made and configured before the first turn. */
    const before = (built: Built<CitusCluster>) => configured(built.one(REPLACEMENTS));
    /** Containers that have a turn. */
    const turns = (built: Built<CitusCluster>) =>
        built
            .of(CONTAINER)
            .filter((one) => dependsOn(one, REPLACEMENTS, "citus-replacements"))
            .map(({ name }) => name.replace("citus-", ""))
            .sort();

    test("a new cluster's are made all at once, and say what they are made of", async () => {
        answer = [];
        const built = await withEngine();
        assert.deepEqual([waits(built), before(built), turns(built)], [NOBODY, "", []]);
        for (const container of built.of(CONTAINER)) assert.match(labelOf(container), /^[0-9a-f]{12}$/);
        const replacements = built.one(REPLACEMENTS);
        const nodes: { name: string; made: string }[] = replacements.inputs.nodes;
        assert.deepEqual(
            nodes.map(({ name, made }) => [name, made]).sort(),
            built
                .of(CONTAINER)
                .map((container) => [container.name.replace("citus-", ""), labelOf(container)])
                .sort(),
        );
        assert.ok(replacements.secrets.includes("nodes"), "how nodes are reached is a secret");
    });

    test("those that stay and those that come wait for nobody", async () => {
        const built = await withEngine();
        answer = built
            .of(CONTAINER)
            .map((one) => running(one.name.replace("citus-", ""), labelOf(one)))
            .slice(0, 3);
        const grown = await withEngine();
        assert.deepEqual([waits(grown), before(grown), turns(grown)], [NOBODY, "", []]);
    });

    test("those that are replaced wait for one another, the coordinator for all, and the first for those that come", async () => {
        answer = ["coordinator", "worker-1", "worker-2"].map((node) => running(node, "another"));
        const built = await withEngine();
        assert.deepEqual(waits(built), { ...NOBODY, "worker-2": "worker-1", coordinator: "worker-2" });
        assert.equal(before(built), "worker-3");
        assert.deepEqual(turns(built), ["coordinator", "worker-1", "worker-2"]);
    });

    test("those that stay are configured before the first turn: a restart of theirs is never beside one", async () => {
        const built = await withEngine();
        answer = built.of(CONTAINER).map((one) => {
            const node = one.name.replace("citus-", "");
            return running(node, node === "worker-2" ? "another" : labelOf(one));
        });
        const changed = await withEngine();
        assert.deepEqual(turns(changed), ["worker-2"]);
        assert.deepEqual(before(changed).split(",").sort(), ["coordinator", "worker-1", "worker-3"]);
    });

    test("a coordinator that does not serve is replaced before the workers", async () => {
        answer = [running("worker-1", "another"), running("coordinator", "another", "Up 2 seconds (health: starting)")];
        const built = await withEngine();
        assert.deepEqual(waits(built), { ...NOBODY, "worker-1": "coordinator" });
        assert.equal(before(built), "worker-2,worker-3");
    });

    test("an engine that does not say what it has: one after the other", async () => {
        assert.deepEqual(waits(await cluster({ workers: 3 })), {
            "worker-1": "",
            "worker-2": "worker-1",
            "worker-3": "worker-2",
            coordinator: "worker-3",
        });
    });
});

describe("the node image", () => {
    const SOURCE = { base: "citusdata/citus:14.1.0-pg17", postgres: "newest" };
    const dir = mkdtempSync(join(tmpdir(), "citus-image-"));
    afterAll(() => rmSync(dir, { recursive: true }));
    const copy = (name: string) => {
        const to = join(dir, name);
        cpSync("scripts/node", to, { recursive: true });
        return to;
    };
    const changed = (file: string) => {
        const to = copy(`changed-${file.replace("/", "-")}`);
        writeFileSync(join(to, file), `${readFileSync(join(to, file), "utf8")}\n# more\n`);
        return to;
    };

    test("is told its base, its name and the hashes of what goes into it", async () => {
        const built = await cluster();
        const { coordinator, ...plain } = built.one(IMAGE).inputs;
        assert.equal(coordinator.serverName, "coordinator.citus-dev.node");
        assert.deepEqual(plain, {
            base: "",
            newBase: SOURCE.base,
            postgres: "",
            packagesHash: packagesHash(),
            scriptsHash: scriptsHash(),
            engine: built.one("pulumi:providers:docker").inputs.host,
            clusterId: CLUSTER_ID,
        });
        const other = (await cluster({ citusVersion: "14.2.0", postgresVersion: "17.10" })).one(IMAGE).inputs;
        assert.equal(other.base, "citusdata/citus:14.2.0-pg17");
        assert.equal(other.postgres, "17.10");
        assert.equal((await cluster({ image: "x:1", citusVersion: "14.2.0" })).one(IMAGE).inputs.base, "x:1");
    });

    test("every container is made from it, on the engine's own platform", async () => {
        for (const { inputs } of (await cluster()).of(CONTAINER)) {
            assert.equal(inputs.image, "sha256:image");
            assert.equal(inputs.platform, undefined);
        }
    });

    test("stays the same for a copy, another time, workers and settings", async () => {
        const same = copy("same");
        utimesSync(join(same, "start.sh"), 1, 1);
        assert.equal(nodeImage(SOURCE, same), nodeImage(SOURCE));
        const { inputs } = (await cluster({ workers: 4, settings: { all: { work_mem: "8MB" } } })).one(IMAGE);
        assert.deepEqual(inputs, (await cluster()).one(IMAGE).inputs);
    });

    for (const file of ["start.sh", "lib.sh", "configure.sh", "health.sh", "make.sql", "image/node.Dockerfile"]) {
        test(`its scripts change with ${file}`, () => {
            const to = changed(file);
            assert.notEqual(scriptsHash(to), scriptsHash());
            assert.notEqual(nodeImage(SOURCE, to), nodeImage(SOURCE));
        });
    }

    test("its packages stay when only scripts change", () => {
        assert.equal(packagesImage(SOURCE, changed("start.sh")), packagesImage(SOURCE));
    });

    for (const file of ["image/packages.sh", "image/packages.Dockerfile"]) {
        test(`its packages change with ${file}`, () => {
            const to = changed(file);
            assert.notEqual(packagesHash(to), packagesHash());
            assert.notEqual(packagesImage(SOURCE, to), packagesImage(SOURCE));
            assert.notEqual(nodeImage(SOURCE, to), nodeImage(SOURCE));
        });
    }

    test("another self-test tries the next image, and is no reason for another one", () => {
        const to = changed("image/self-test.sh");
        assert.notEqual(packagesImage(SOURCE, to), packagesImage(SOURCE));
        assert.equal(packagesHash(to), packagesHash());
        assert.equal(scriptsHash(to), scriptsHash());
    });

    test("another way to add the scripts leaves the packages as they are", () => {
        const to = changed("image/node.Dockerfile");
        assert.equal(packagesHash(to), packagesHash());
        assert.equal(packagesImage(SOURCE, to), packagesImage(SOURCE));
    });

    test("what only machines run is no reason for another container", () => {
        const to = changed("aws/boot.sh");
        assert.equal(nodeImage(SOURCE, to), nodeImage(SOURCE));
    });

    test("changes with a new, a removed and a renamed file, with the base and with PostgreSQL", () => {
        const more = copy("more");
        writeFileSync(join(more, "new.sh"), "");
        const fewer = copy("fewer");
        rmSync(join(fewer, "facts.sh"));
        const renamed = copy("renamed");
        cpSync(join(renamed, "facts.sh"), join(renamed, "fact.sh"));
        rmSync(join(renamed, "facts.sh"));
        const names = [
            nodeImage(SOURCE),
            ...[more, fewer, renamed].map((d) => nodeImage(SOURCE, d)),
            nodeImage({ ...SOURCE, base: `${SOURCE.base}x` }),
            nodeImage({ ...SOURCE, postgres: "base" }),
        ];
        assert.equal(new Set(names).size, names.length);
    });
});
