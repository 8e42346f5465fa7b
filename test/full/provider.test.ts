/** The provider on a real engine: what the state holds, mistakes by property, refresh, import, and a killed CLI. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { kinds } from "../../provider/kinds.ts";
import { schemaOf } from "../../provider/schema.ts";
import { ROOT, requireEngine, TestStack } from "../lib.ts";

interface Resource {
    urn: string;
    type: string;
    id?: string;
    dependencies?: string[];
    propertyDependencies?: Record<string, string[] | null>;
    inputs?: Record<string, unknown>;
    outputs?: Record<string, unknown>;
}
interface State {
    deployment: { resources: Resource[] };
}

const MEMBER = "citus-clusters:index:Member";

let stack: TestStack;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 4, backup: false });
    await stack.up();
});

afterAll(async () => {
    await stack?.destroy();
    assert.deepEqual(stack?.leftovers() ?? [], [], "destroy left something behind");
});

const state = async () => JSON.parse((await stack.pulumi(["stack", "export"])).stdout) as State;
const found = ({ deployment }: State, name: string) =>
    deployment.resources.find(({ urn }) => urn.endsWith(`${MEMBER}::citus-${name}`));

test("the CLI prints the schema that the kinds say", async () => {
    // which knows no --stack
    const words = ["package", "get-schema", "./provider/pulumi-resource-citus-clusters"];
    const { status, stdout, stderr } = spawnSync("pulumi", words, { cwd: stack.dir, env: stack.env, encoding: "utf8" });
    assert.equal(status, 0, stderr);
    const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
    const [printed, said] = [JSON.parse(stdout), JSON.parse(schemaOf(version, kinds))];
    assert.deepEqual(Object.keys(printed.resources).sort(), Object.keys(said.resources).sort());
    assert.deepEqual(printed.resources[MEMBER].inputProperties, said.resources[MEMBER].inputProperties);
});

test("the state and a preview hold no program text and no secret in the clear", async () => {
    const { password } = await stack.outputs<{ password: string }>();
    const exported = (await stack.pulumi(["stack", "export"])).stdout;
    assert.doesNotMatch(exported, /__provider|pulumi-nodejs:dynamic|=>/);
    assert.ok(!exported.includes(password));
    const preview = await stack.pulumi(["preview", "--diff"]);
    assert.equal(preview.code, 0, preview.output);
    assert.doesNotMatch(preview.output, /__provider|=>/);
    assert.ok(!preview.output.includes(password));
});

test("a second up changes nothing, and a refresh neither", async () => {
    const again = await stack.pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
    assert.equal(again.code, 0, again.output);
    const refresh = await stack.pulumi(["refresh", "--yes", "--skip-preview", "--expect-no-changes"]);
    assert.equal(refresh.code, 0, refresh.output);
});

test("a cluster that is renamed is refused by the property, in preview already", async () => {
    await stack.config({ name: "another", database: "other" });
    const { code, output } = await stack.pulumi(["preview"]);
    await stack.config({ name: `citus-${stack.name}`, database: "app" });
    assert.notEqual(code, 0, output);
    assert.match(output, new RegExp(`property name .*citus:name is citus-${stack.name}, got another\\.`));
    assert.match(output, /property database .*citus:database is app, got other\./);
});

test("a worker that the state has lost is imported, and the next up has nothing to make", async () => {
    const before = await state();
    const worker = found(before, "worker-2") as Resource;
    const { resources } = before.deployment;
    const kept = resources.filter(({ urn }) => urn !== worker.urn);
    for (const one of kept) {
        if (one.dependencies) one.dependencies = one.dependencies.filter((urn) => urn !== worker.urn);
        for (const [key, urns] of Object.entries(one.propertyDependencies ?? {}))
            if (urns && one.propertyDependencies)
                one.propertyDependencies[key] = urns.filter((urn) => urn !== worker.urn);
    }
    const file = join(stack.dir, "lost.json");
    writeFileSync(file, JSON.stringify({ ...before, deployment: { ...before.deployment, resources: kept } }));
    await stack.pulumi(["stack", "import", "--file", file]);
    assert.equal(found(await state(), "worker-2"), undefined);

    const parent = resources.find(({ type }) => type === "citus:index:Cluster")?.urn;
    const words = ["import", MEMBER, "citus-worker-2", worker.id ?? "", "--parent", `citus=${parent}`];
    const flags = ["--yes", "--skip-preview", "--protect=false", "--generate-code=false"];
    const blind = await stack.pulumi([...words, ...flags]);
    assert.notEqual(blind.code, 0);
    assert.match(blind.output, /its coordinator has to be reached, and CITUS_COORDINATOR is not set/);

    const { connectionString } = await stack.outputs<{ connectionString: string }>();
    stack.env.CITUS_COORDINATOR = connectionString;
    try {
        const none = await stack.pulumi([...words.with(3, `worker-9.citus-${stack.name}.node`), ...flags]);
        assert.notEqual(none.code, 0, none.output);
        const imported = await stack.pulumi([...words, ...flags]);
        assert.equal(imported.code, 0, imported.output);
    } finally {
        delete stack.env.CITUS_COORDINATOR;
    }
    const exported = (await stack.pulumi(["stack", "export"])).stdout;
    const { password } = await stack.outputs<{ password: string }>();
    assert.ok(!exported.includes(password), "an import closes the password");
    await stack.up();
    assert.deepEqual(found(await state(), "worker-2")?.outputs?.groupId, worker.outputs?.groupId);
    const again = await stack.pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
    assert.equal(again.code, 0, again.output);
});
