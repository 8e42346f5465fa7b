/** When a restore is made again: what is asked for decides, and nothing that happens to the data later. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { DockerSite } from "../../../core/restore/dockerSite.ts";
import { type RestoreInputs, RestoreKind } from "../../../provider/restore.ts";
import { ask } from "../../provider/ask.ts";

const restore = new RestoreKind();

const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const node = (name: string): RestoreInputs["nodes"][number] => ({
    name,
    role: name === "coordinator" ? "coordinator" : "worker",
    host: `${name}.citus-dev.node`,
    port: 5432,
    memory: 1024,
    cores: 2,
});
const SITE: DockerSite = {
    kind: "docker",
    // nobody answers there: whatever asks the engine fails
    engine: "tcp://127.0.0.1:1",
    image: "citus-node:17-no-such-image",
    labels: {},
    nodes: ["coordinator", "worker-1"].map((name) => ({
        name,
        volume: `citus-dev-no-such-cluster-${name}-data`,
        container: `citus-dev-no-such-cluster-${name}`,
    })),
};
const INPUTS: RestoreInputs = {
    request: { cluster: "citus-prod", point: "latest" },
    overwrite: false,
    database: "app",
    cluster: "citus-dev",
    clusterId: "0123456789abcdef",
    repository: "citus-prod-fedcba-backups",
    passphrase: "",
    ownRepository: "citus-dev-012345-backups",
    ownPassphrase: "",
    verifier: "SCRAM-SHA-256$x",
    nodes: ["coordinator", "worker-1"].map(node),
    repositoryRegion: "",
    site: SITE,
};
const STATE = { ...INPUTS, point: "citus-prod_point", restoreId: "feedbeef", manifest: "{}" };
const changes = async (news: Partial<RestoreInputs>, olds: Partial<typeof STATE> = {}) =>
    (await restore.diff(ask(), "id", { ...STATE, ...olds }, { ...INPUTS, ...news })).changes;

describe("Restore", () => {
    test("the same request restores nothing again, though all volumes are gone", async () => {
        assert.equal(await changes({}), false);
    });

    for (const [what, news] of [
        ["another point", { request: { cluster: "citus-prod", point: "before-migration" } }],
        ["another cluster of the repository", { request: { cluster: "citus-older", point: "latest" } }],
        ["whichever cluster is the only one", { request: { point: "latest" } }],
        ["another repository", { repository: "citus-dev-012345-backups" }],
        ["one worker alone", { request: { ...INPUTS.request, onlyWorker: "worker-1" } }],
        ["a repository that is not known yet", { repository: UNKNOWN }],
    ] as const)
        test(`${what} is another request`, async () => assert.equal(await changes(news), true));

    for (const [what, news] of [
        ["a worker more", { nodes: ["coordinator", "worker-1", "worker-2"].map(node) }],
        ["a worker less", { nodes: ["coordinator"].map(node) }],
        [
            "another volume under a node",
            { site: { ...SITE, nodes: SITE.nodes.map((one) => ({ ...one, volume: `${one.volume}-2` })) } },
        ],
        ["a bigger machine", { nodes: INPUTS.nodes.map((one) => ({ ...one, memory: 4096, cores: 8 })) }],
        ["another image", { site: { ...SITE, image: "citus-node:17-other" } }],
        ["another password", { verifier: "SCRAM-SHA-256$y" }],
        ["another passphrase", { passphrase: "correct-horse-battery-staple" }],
        ["permission to overwrite", { overwrite: true }],
        ["another engine's address", { site: { ...SITE, engine: "tcp://127.0.0.1:2" } }],
        ["the request's keys in another order", { request: { point: "latest", cluster: "citus-prod" } }],
    ] as const)
        test(`${what} restores nothing again`, async () => assert.equal(await changes(news), false));

    test("a preview of the same request looks at nothing", async () => {
        assert.deepEqual(await restore.check(ask(), STATE, INPUTS), { inputs: INPUTS });
    });
});
