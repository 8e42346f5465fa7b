/** The files that a user begins with: every key is declared, and the example is right as it stands. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, test } from "vitest";
import { MAY_BE_EMPTY } from "../../components/config/derived.ts";
import { explain, sourceOf, validate } from "../../components/config/index.ts";
import { KEYS } from "../../components/config/keys.ts";

const ROOT = join(import.meta.dirname, "..", "..");
// the YAML reader of Pulumi's own SDK
const yaml = createRequire(createRequire(import.meta.url).resolve("@pulumi/pulumi/package.json"))("js-yaml") as {
    load: (text: string) => unknown;
};

function configOf(text: string): Record<string, unknown> {
    return (yaml.load(text) as { config: Record<string, unknown> }).config;
}

const project = configOf(readFileSync(join(ROOT, "Pulumi.yaml"), "utf8"));
const example = readFileSync(join(ROOT, "Pulumi.prod.example.yaml"), "utf8");

/** As Pulumi would: what the project declares, with the stack's own on top, objects as JSON. */
function withDefaults(stack: Record<string, unknown>): Record<string, unknown> {
    const defaults = Object.entries(project).map(([key, declared]) => [
        `citus:${key}`,
        (declared as { default: unknown }).default,
    ]);
    const all = { ...Object.fromEntries(defaults), ...stack };
    return Object.fromEntries(
        Object.entries(all).map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]),
    );
}

describe("Pulumi.yaml", () => {
    test("declares every key with a default and a description, and no other", () => {
        assert.deepEqual(Object.keys(project).sort(), Object.keys(KEYS).sort());
        for (const [key, declared] of Object.entries(project)) {
            assert.ok(Object.hasOwn(declared as object, "default"), key);
            assert.ok(String((declared as { description?: unknown }).description ?? "").length > 10, key);
        }
    });

    test("a key may be empty where that is its default, and nowhere else", () => {
        const empty = Object.entries(project).filter(
            ([, declared]) => (declared as { default?: unknown }).default === "",
        );
        assert.deepEqual([...MAY_BE_EMPTY].sort(), empty.map(([key]) => key).sort());
    });

    test("what it declares is right on each platform", () => {
        for (const stack of [{}, { "citus:platform": "aws", "aws:region": "eu-central-1" }]) {
            const result = validate({ ...sourceOf("prod", withDefaults(stack)), environment: {} });
            assert.ok("args" in result, "mistakes" in result ? explain(result.mistakes) : "");
        }
    });
});

describe("Pulumi.prod.example.yaml", () => {
    const argsOf = (text: string) => {
        const result = validate({ ...sourceOf("prod", withDefaults(configOf(text))), environment: {} });
        assert.ok("args" in result, "mistakes" in result ? explain(result.mistakes) : "");
        return result.args;
    };

    test("is right as it stands", () => {
        const args = argsOf(example);
        assert.equal(args.platform, "aws");
        assert.equal(args.protect, true);
        assert.equal(args.worker.instanceType, "r7i.2xlarge");
        assert.equal(args.aws?.network.openToTheWorld, false);
    });

    test("what is commented out at the top level shows a default or a value that is right", () => {
        const settings = example.replaceAll(/^ {2}# (citus:[a-zA-Z]+: )/gm, "  $1");
        assert.notEqual(settings, example);
        const args = argsOf(settings);
        assert.match(args.aws?.alarmTopic ?? "", /^arn:aws:sns/);
        assert.deepEqual([args.aws?.azs, args.aws?.connection, args.aws?.placement], ["spread", "ssm", "none"]);
    });

    test("the network that is there, in place of the one that is made", () => {
        const text = example
            .replaceAll(/^ {4}# ((vpcId|subnetIds|allowedSecurityGroups): )/gm, "    $1")
            .replaceAll(/^ {4}(cidr|zones|egress): .*\n/gm, "");
        assert.equal(argsOf(text).aws?.network.subnetIds.length, 3);
    });
});
