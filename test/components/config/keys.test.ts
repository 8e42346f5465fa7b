/** What derives from the table of keys, and that the files which repeat it say the same. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, test } from "vitest";
import { ALL_KEYS, filled, type Parsed, ROWS, SCHEMAS, SECRETS } from "../../../components/config/derived.ts";
import { PLATFORMS } from "../../../components/config/platforms.ts";
import { validate } from "../../../components/config/validate.ts";
import { KEY_FILES } from "../../../scripts/lib/keyFiles.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const yaml = createRequire(createRequire(import.meta.url).resolve("@pulumi/pulumi/package.json"))("js-yaml") as {
    load: (text: string) => unknown;
};

describe("files that repeat the table", () => {
    for (const [file, rewritten] of Object.entries(KEY_FILES))
        test(file, () => {
            const text = read(file);
            const wanted = rewritten(text);
            assert.ok(
                text === wanted,
                `${file} differs from components/config/keys.ts. Run npm run format, or put this there:\n${wanted}`,
            );
        });

    test("a file that lost its place is named", () => {
        assert.throws(() => KEY_FILES["Pulumi.yaml"]?.("name: citus\n"), /Pulumi\.yaml has no line `config:`/);
        assert.throws(() => KEY_FILES["docs/configuration.md"]?.("# Configuration\n"), /no table below the heading/);
    });

    test("what stands around the keys is kept", () => {
        const yamlText = KEY_FILES["Pulumi.yaml"]?.("name: x\n# a comment\nconfig:\n  zzz: {}\n") ?? "";
        assert.match(yamlText, /^name: x\n# a comment\nconfig:\n {2}platform:\n/);
        assert.ok(!yamlText.includes("zzz"));
        const page =
            KEY_FILES["docs/configuration.md"]?.("# C\n\n| a |\n|---|\n\n## All keys\n\n| zzz |\n|---|\n\nAfter\n") ??
            "";
        assert.match(page, /^# C\n\n\| a \|\n\|---\|\n\n## All keys\n\n\| key \| type /);
        assert.match(page, /\| `?\[?.*tags.* \|\n\nAfter\n$/);
        assert.ok(!page.includes("zzz"));
    });
});

describe("the table of keys", () => {
    for (const platform of PLATFORMS)
        test(`every default on ${platform} is a value that the key may hold`, () => {
            const result = SCHEMAS[platform].safeParse(filled({}, "prod", "citus"));
            assert.deepEqual(result.error?.issues ?? [], []);
        });

    test("no secret goes into a copy, and each is a text", () => {
        assert.ok(SECRETS.length > 0);
        assert.deepEqual(
            SECRETS.filter((key) => ROWS[key].copied || ROWS[key].kind !== "text"),
            [],
        );
    });

    test("the reason why a key belongs to one platform ends an error's sentence", () => {
        const reasons = ALL_KEYS.flatMap((key) => [ROWS[key], ...Object.values(ROWS[key].parts ?? {})]).flatMap(
            ({ onlyOn }) => (onlyOn ? [onlyOn.why] : []),
        );
        assert.ok(reasons.length > 10);
        assert.deepEqual(
            reasons.filter((why) => why.length < 15 || !/^(?:[a-z]|AWS)/.test(why) || why.endsWith(".")),
            [],
        );
    });

    test("the type of what is checked is exact: only the groups of tenants, which have their own check, are open", () => {
        type Open = { [K in keyof Parsed]: 0 extends 1 & Parsed[K] ? K : never }[keyof Parsed];
        // tsc compares them both ways
        const open: Open = "tenantGroups";
        const only: "tenantGroups" = open satisfies Open;
        const workers: number = 2 satisfies Parsed["workers"];
        const egress: Parsed["network"]["egress"] = "nat";
        // @ts-expect-error no such way out
        const wrong: Parsed["network"]["egress"] = "nothing";
        // @ts-expect-error a number
        const text: Parsed["worker"]["memory"] = "1GB";
        assert.deepEqual([only, workers, egress, wrong, text], ["tenantGroups", 2, "nat", "nothing", "1GB"]);
    });
});

test("a key with the name of something that every object has is unknown, and no other platform's", () => {
    for (const platform of PLATFORMS) {
        const values = { platform, constructor: "x", worker: { constructor: "x" } };
        const result = validate({ stack: "dev", values, aws: { region: "eu-central-1" } });
        const found = "mistakes" in result ? result.mistakes.map(({ path, message }) => `${path} ${message}`) : [];
        assert.equal(found.length, 2, found.join("\n"));
        assert.match(found[0] ?? "", /^constructor is not a setting of this project/);
        assert.match(found[1] ?? "", /^worker has no "constructor"; it has /);
    }
});

/** Pages that list the keys inside an object, with the heading that the list is below. */
const PART_TABLES: readonly [key: keyof typeof ROWS, page: string, heading: string][] = [
    ["coordinator", "docs/configuration.md", "### coordinator and worker"],
    ["worker", "docs/configuration.md", "### coordinator and worker"],
    ["restoreFrom", "docs/configuration.md", "### restoreFrom"],
    ["network", "docs/configuration.md", "### network"],
    ["backup", "docs/backup.md", "## Schedules and retention"],
    ["rebalance", "docs/scaling.md", "## Options"],
];

describe("defaults of the keys inside an object", () => {
    for (const [key, page, heading] of PART_TABLES)
        test(`${page} has those of ${key}`, () => {
            const { parts = {}, onlyOn } = ROWS[key];
            const section = read(page).split(`\n${heading}\n`)[1]?.split(/\n#+ /)[0] ?? "";
            let compared = 0;
            for (const [, names = "", defaults = ""] of section.matchAll(/^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|/gm)) {
                const cells = defaults.split(", ");
                for (const [i, [, part = ""]] of [...names.matchAll(/`(\w+)`/g)].entries()) {
                    const row = parts[part];
                    const said = /^(?:`([^`]+)`|([0-9]+))$/.exec(cells[i] ?? cells[0] ?? "");
                    if (row === undefined || said === null) continue;
                    const value = row.value(row.onlyOn?.platform ?? onlyOn?.platform ?? "docker");
                    const meant = value.safeParse(yaml.load(said[1] ?? said[2] ?? ""));
                    assert.ok(meant.success, `${part}: ${said[0]}`);
                    assert.deepEqual(value.parse(undefined), meant.data, part);
                    compared++;
                }
            }
            assert.ok(compared > 1, `${compared} defaults compared`);
        });
});
