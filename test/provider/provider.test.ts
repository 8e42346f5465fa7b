/** How a question of the engine gets to its kind, and what becomes of the answer. */
import assert from "node:assert/strict";
import { afterEach, describe, test, vi } from "vitest";
import type { AnyKind, Ask, CheckFailure, ResourceKind } from "../../provider/kind.ts";
import { kinds } from "../../provider/kinds.ts";
import { CitusProvider } from "../../provider/provider.ts";
import { schemaOf } from "../../provider/schema.ts";
import { ask } from "./ask.ts";

const secret = (value: unknown) => ({
    "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
    value,
});
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

interface ThingInputs {
    name: string;
    size: number;
    password?: string;
}

interface ThingState extends ThingInputs {
    found: string;
}

class ThingKind implements ResourceKind<ThingInputs, ThingState> {
    readonly type = "citus-clusters:index:Thing";
    readonly description = "A thing.";
    readonly inputs = {
        name: { type: "string" },
        size: { type: "integer" },
        password: { type: "string", optional: true, secret: true },
    } as const;
    readonly outputs = { found: { type: "string" } } as const;
    asked: unknown[] = [];
    failures: CheckFailure[] = [];

    async check(asked: Ask, olds: Partial<ThingInputs>, news: ThingInputs) {
        this.asked = [asked.urn, olds, news];
        return { inputs: news, failures: this.failures };
    }
    async create(asked: Ask, inputs: ThingInputs) {
        asked.note(`making ${inputs.name}`);
        return { id: inputs.name, outs: { ...inputs, found: "f" } };
    }
    async diff(_ask: Ask, id: string, olds: ThingState, news: ThingInputs) {
        this.asked = [id, olds, news];
        return { changes: olds.size !== news.size };
    }
    async read(_ask: Ask, _id: string, props: ThingState) {
        return { ...props, found: "again" };
    }
    async import(_ask: Ask, id: string) {
        if (id === "none") return undefined;
        const inputs = { name: id, size: 1, password: "p" };
        return { inputs, props: { ...inputs, found: "f" } };
    }
    async update(_ask: Ask, _id: string, _olds: ThingState, news: ThingInputs) {
        return { outs: { ...news, found: "u" } };
    }
    async delete(_ask: Ask, id: string): Promise<void> {
        throw new Error(`${id} is needed`);
    }
}

const URN = "urn:pulumi:dev::citus::citus:index:Cluster$citus-clusters:index:Thing::one";

function served(more: Partial<AnyKind> = {}) {
    const said: string[] = [];
    const kind = Object.assign(new ThingKind(), more);
    const told = vi.fn(async () => undefined);
    const provider = new CitusProvider([kind], {
        version: "1.0.0",
        schema: "{}",
        row: (urn) => ({ ...ask(said), urn, told }),
    });
    return { provider, kind, said, told };
}

afterEach(() => vi.unstubAllEnvs());

describe("a question", () => {
    test("goes to the kind that the URN names, opened, and its answer is closed again", async () => {
        const { provider, said, told } = served();
        const made = await provider.create(URN, { name: "n", size: 1, password: secret("p") });
        assert.deepEqual(made, { id: "n", outs: { name: "n", size: 1, password: secret("p"), found: "f" } });
        assert.deepEqual(said, ["making n"]);
        assert.equal(told.mock.calls.length, 1, "what was said is out before the answer is");
        const updated = await provider.update("n", URN, {}, { name: "n", size: 2, password: secret("q") });
        assert.deepEqual(updated.outs, { name: "n", size: 2, password: secret("q"), found: "u" });
    });

    test("about a type that there is not is refused by name", async () => {
        const { provider } = served();
        await assert.rejects(provider.create("urn:pulumi:dev::citus::a$citus-clusters:index:Other::x", {}), {
            message:
                "This version of the provider has no type citus-clusters:index:Other (urn:pulumi:dev::citus::a$citus-clusters:index:Other::x).",
        });
    });

    test("diff has plain values on both sides", async () => {
        const { provider, kind } = served();
        const olds = { name: "n", size: 1, password: secret("p"), found: "f" };
        assert.deepEqual(await provider.diff("n", URN, olds, { name: "n", size: 2, password: secret(UNKNOWN) }), {
            changes: true,
        });
        assert.deepEqual(kind.asked, [
            "n",
            { name: "n", size: 1, password: "p", found: "f" },
            { name: "n", size: 2, password: UNKNOWN },
        ]);
    });

    test("that fails has a message and no stack, which Pulumi would print beside it", async () => {
        const { provider } = served();
        await assert.rejects(provider.delete("n", URN, {}), { message: "n is needed", stack: "" });
        vi.stubEnv("CITUS_DEBUG", "1");
        await assert.rejects(provider.delete("n", URN, {}), (error: Error) => error.stack !== "");
    });
});

describe("check", () => {
    test("says every mistake of the kind's own properties by its path, and asks nobody then", async () => {
        const { provider, kind } = served();
        const inputs = { size: 1.5, pasword: "p", password: secret(7) };
        const { failures } = await provider.check(URN, {}, inputs);
        assert.deepEqual(failures, [
            { property: "name", reason: "got nothing - allowed: a text" },
            { property: "size", reason: "got 1.5 - allowed: a whole number" },
            { property: "password", reason: "allowed: a text" },
            { property: "pasword", reason: "there is no such property - allowed: name, size, password" },
        ]);
        assert.deepEqual(kind.asked, []);
    });

    test("hands on what the kind itself finds, and what it filled in", async () => {
        const { provider, kind } = served();
        kind.failures = [{ property: "size", reason: "too big" }];
        const checked = await provider.check(URN, { name: "o" }, { name: "n", size: UNKNOWN, password: secret("p") });
        assert.deepEqual(checked, {
            inputs: { name: "n", size: UNKNOWN, password: secret("p") },
            failures: [{ property: "size", reason: "too big" }],
        });
        assert.deepEqual(kind.asked, [URN, { name: "o" }, { name: "n", size: UNKNOWN, password: "p" }]);
    });
});

describe("read", () => {
    test("of a refresh keeps what was secret", async () => {
        const { provider } = served();
        const props = { name: "n", size: 1, password: secret("p"), found: "f" };
        assert.deepEqual(await provider.read("n", URN, props), { id: "n", props: { ...props, found: "again" } });
    });

    test("of a kind that looks at nothing is the state", async () => {
        const { provider } = served({ read: undefined } as unknown as Partial<AnyKind>);
        const props = { name: "n", size: 1, password: secret("p"), found: "f" };
        assert.deepEqual(await provider.read("n", URN, props), { id: "n", props });
    });

    test("of an import closes what the kind calls a secret, in the inputs too", async () => {
        const { provider } = served();
        assert.deepEqual(await provider.read("n", URN, {}), {
            id: "n",
            props: { name: "n", size: 1, password: secret("p"), found: "f" },
            inputs: { name: "n", size: 1, password: secret("p") },
        });
        assert.deepEqual(await provider.read("none", URN, {}), { id: "", props: {} });
    });

    test("of an import that a kind has not says so", async () => {
        const { provider } = served({ import: undefined } as unknown as Partial<AnyKind>);
        await assert.rejects(provider.read("n", URN, {}), /A citus-clusters:index:Thing can't be imported/);
    });
});

describe("the schema", () => {
    interface Property {
        type?: string;
        $ref?: string;
        secret?: boolean;
        description?: string;
    }
    interface Resource {
        inputProperties: Record<string, Property>;
        requiredInputs: string[];
        properties: Record<string, Property>;
        required: string[];
    }
    const { name, version, resources } = JSON.parse(schemaOf("1.2.3", kinds)) as {
        name: string;
        version: string;
        resources: Record<string, Resource>;
    };

    test("has every kind once, under the package's name", () => {
        assert.equal(name, "citus-clusters");
        assert.equal(version, "1.2.3");
        assert.deepEqual(Object.keys(resources), kinds.map(({ type }) => type).sort());
        assert.equal(kinds.length, 14);
    });

    for (const { type, inputs, outputs } of kinds)
        test(`says of ${type} what its kind says`, () => {
            const found = resources[type] as Resource;
            const all = { ...inputs, ...outputs };
            assert.deepEqual(Object.keys(found.inputProperties), Object.keys(inputs));
            assert.deepEqual(Object.keys(found.properties), Object.keys(all));
            assert.deepEqual(
                found.requiredInputs,
                Object.keys(inputs).filter((key) => !inputs[key]?.optional),
            );
            for (const [key, property] of Object.entries(found.properties)) {
                const said = all[key];
                const is = property.$ref === "pulumi.json#/Any" ? "object" : property.type;
                assert.equal(is, said?.type, key);
                assert.equal(property.secret ?? false, said?.secret ?? false, key);
            }
        });
});
