/** What is written for people stays true and readable: links, keys with their defaults, commands, and how we write. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, normalize } from "node:path";
import { describe, test } from "vitest";
import { citusImage, NEW_CITUS_VERSION, sourceOf, validate } from "../../components/config/index.ts";
import { KEYS, type Key } from "../../components/config/keys.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const PAGES = globSync(
    ["README.md", "CONTRIBUTING.md", "client/README.md", "test/rehearsal/README.md", "docs/**/*.md"],
    {
        cwd: ROOT,
    },
).sort();
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const yaml = createRequire(createRequire(import.meta.url).resolve("@pulumi/pulumi/package.json"))("js-yaml") as {
    load: (text: string) => unknown;
};

/** What a new cluster gets, and remembers. The program leaves these open, so their defaults are compared with the code. */
const REMEMBERED: Readonly<Record<string, string>> = {
    citusVersion: NEW_CITUS_VERSION,
    postgresVersion: "newest",
    image: citusImage("<citusVersion>"),
};

const withoutFences = (text: string) => text.replaceAll(/^( *)```[^\n]*\n[\s\S]*?^\1```$/gm, "");
const withoutCode = (text: string) => text.replaceAll(/`[^`]*`/g, "CODE");
const withoutTargets = (text: string) => text.replaceAll(/\]\([^)]*\)/g, "]");

/** Paragraphs, elements of lists and cells of tables, each as one line. */
function passages(markdown: string): { text: string; inTable: boolean }[] {
    const found: { text: string; inTable: boolean }[] = [];
    let open = false;
    for (const line of withoutFences(markdown).split("\n")) {
        const text = line.trim();
        if (text === "" || text.startsWith("#")) {
            open = false;
        } else if (text.startsWith("|")) {
            open = false;
            const cells = text.slice(1, -1).split(/(?<!\\)\|/);
            found.push(...cells.map((cell) => ({ text: cell.trim(), inTable: true })));
        } else if (!open || /^([-*]|[0-9]+\.) /.test(text)) {
            open = true;
            found.push({ text: text.replace(/^([-*]|[0-9]+\.) /, ""), inTable: false });
        } else {
            const last = found.at(-1);
            if (last) last.text += ` ${text}`;
        }
    }
    return found.filter(({ text }) => !/^:?-*:?$/.test(text));
}

/** Anchors of headings, as GitHub makes them. */
function anchors(markdown: string): Set<string> {
    const found = new Set<string>();
    for (const [, heading = ""] of withoutFences(markdown).matchAll(/^#{1,6} +(.+?) *$/gm)) {
        const slug = withoutTargets(heading)
            .toLowerCase()
            .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, "")
            .replaceAll(" ", "-");
        let name = slug;
        for (let n = 1; found.has(name); n++) name = `${slug}-${n}`;
        found.add(name);
    }
    return found;
}

/** Rows of a page's tables, the head aside. */
function rows(markdown: string): string[][] {
    return [...markdown.matchAll(/^\| *(.+?) *\|$/gm)]
        .map(([, row = ""]) => row.split(/ *(?<!\\)\| */))
        .filter((cells) => !cells.every((cell) => /^:?-*:?$/.test(cell)));
}

/** The keys that an object may have, from the mistake that a wrong one makes. */
function offered(source: Parameters<typeof validate>[0], path: string): string[] {
    const result = validate(source);
    const message = "mistakes" in result ? result.mistakes.find((found) => found.path === path)?.message : undefined;
    const keys = /it has (.+)$/.exec(message ?? "")?.[1]?.split(", ") ?? [];
    assert.ok(keys.length > 1, `${path}: ${JSON.stringify(result)}`);
    return keys;
}

const codeOf = (cell: string) => /`([^`]+)`/.exec(cell)?.[1];

describe("links", () => {
    for (const page of PAGES)
        test(page, () => {
            const broken: string[] = [];
            for (const [, target = ""] of withoutCode(withoutFences(read(page))).matchAll(/\]\(([^)\s]+)\)/g)) {
                if (/^[a-z]+:/.test(target)) continue;
                const [path = "", anchor] = target.split("#");
                const file = path === "" ? page : normalize(join(dirname(page), path));
                if (!existsSync(join(ROOT, file))) broken.push(`${target}: there is no ${file}`);
                else if (anchor !== undefined && !anchors(read(file)).has(anchor))
                    broken.push(`${target}: ${file} has no such heading`);
            }
            assert.deepEqual(broken, []);
        });

    test("every page of docs is in its index", () => {
        const index = read("docs/README.md");
        const missing = PAGES.filter((page) => /^docs\/[a-z-]+\.md$/.test(page)).filter(
            (page) => !index.includes(`(${page.slice("docs/".length)})`),
        );
        assert.deepEqual(missing, []);
    });
});

describe("commands", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    test("every npm run that is named exists", () => {
        const unknown = [...PAGES, "Pulumi.yaml", "Pulumi.prod.example.yaml"].flatMap((page) =>
            [...read(page).matchAll(/npm run (?:-s )?([a-z][a-z0-9:-]*)/g)]
                .filter(([, name = ""]) => !Object.hasOwn(scripts, name))
                .map(([command]) => `${page}: ${command}`),
        );
        assert.deepEqual(unknown, []);
    });
});

describe("docs/configuration.md", () => {
    const page = read("docs/configuration.md");
    const all = page.slice(page.indexOf("## All keys"), page.indexOf("## Keys of both platforms"));
    const documented = new Map(
        rows(all).flatMap(([key = "", , value = "", on = ""]) => {
            const name = codeOf(key);
            return name === undefined ? [] : [[name, { value, on }] as const];
        }),
    );
    const declared = (yaml.load(read("Pulumi.yaml")) as { config: Record<string, { default: unknown }> }).config;

    const argsOf = (platform: string, set: Record<string, unknown>) => {
        const given = { "citus:platform": platform, "aws:region": "eu-central-1", ...set };
        const result = validate({ ...sourceOf("prod", given), environment: {} });
        assert.ok("args" in result, JSON.stringify(result));
        return result.args;
    };

    test("README's keys have the same defaults", () => {
        const text = read("README.md");
        const keys = rows(text.slice(text.indexOf("## Configuration"), text.indexOf("## Outputs"))).slice(1);
        assert.ok(keys.length >= 8);
        for (const [key = "", value = ""] of keys)
            assert.equal(codeOf(value) ?? value, codeOf(documented.get(codeOf(key) ?? "")?.value ?? ""), key);
    });

    test("has every key", () => {
        assert.deepEqual(
            Object.keys(KEYS).filter((key) => !documented.has(key)),
            [],
        );
    });

    for (const key of Object.keys(KEYS) as Key[])
        test(`the default of ${key} is the program's, and Pulumi.yaml's where it declares one`, () => {
            const { value = "", on = "" } = documented.get(key) ?? {};
            const inYaml = declared[key]?.default;
            const code = codeOf(value);
            // a sentence: what is made or looked up, or nothing
            if (code === undefined || !value.startsWith("`")) {
                assert.ok(value.length > 10, "a default, or a sentence in its place");
                assert.ok(["", "{}"].includes(typeof inYaml === "string" ? inYaml : JSON.stringify(inYaml)));
                return;
            }
            const platform = on === "aws" ? "aws" : "docker";
            const said = code.replaceAll("<stack>", "prod").replaceAll("<citusVersion>", "14.1.0");
            const set = argsOf(platform, { [`citus:${key}`]: KEYS[key].kind === "text" ? said : yaml.load(said) });
            const remembered = REMEMBERED[key];
            if (remembered !== undefined) {
                assert.equal(code, remembered);
                assert.equal(inYaml, "", "Pulumi would take it for what the user set");
                return;
            }
            assert.deepEqual(set, argsOf(platform, {}));
            const empty = ["", "{}", "[]"].includes(typeof inYaml === "string" ? inYaml : JSON.stringify(inYaml));
            if (!empty) assert.equal(String(inYaml), code);
        });

    for (const key of ["coordinator", "worker", "settings", "rebalance", "backup", "restoreFrom", "network"])
        test(`has every key inside ${key}`, () => {
            const platform = key === "network" ? "aws" : "docker";
            const given = { "citus:platform": platform, "aws:region": "eu-central-1", [`citus:${key}`]: { zzz: 1 } };
            const keys = offered({ ...sourceOf("prod", given), environment: {} }, key);
            assert.deepEqual(
                keys.filter((name) => !page.includes(`\`${name}\``) && !page.includes(`\n  ${name}: `)),
                [],
            );
        });
});

describe("docs/tenants-reference.md", () => {
    const keysIn = (group: unknown, path: string) =>
        offered({ ...sourceOf("prod", { "citus:tenantGroups": { g: group } }), environment: {} }, path);
    const page = read("docs/tenants-reference.md");
    const first = new Set(rows(page).map(([cell = ""]) => codeOf(cell)));

    for (const [what, given, path] of [
        ["group", { model: "schema", zzz: 1 }, "tenantGroups.g"],
        ["tenant", { model: "schema", tenants: { a: { zzz: 1 } } }, "tenantGroups.g.tenants.a"],
        ["table", { model: "row", tables: { a: { zzz: 1 } } }, "tenantGroups.g.tables.a"],
    ] as const)
        test(`has every key of a ${what}`, () => {
            assert.deepEqual(
                keysIn(given, path).filter((key) => !first.has(key)),
                [],
            );
        });
});

describe("how we write", () => {
    /** CONTRIBUTING.md has the list with a good sentence for each. */
    const AVOID: readonly RegExp[] = [
        /\bshall\b/i,
        /\bas of\b/i,
        /\bgone on with\b/i,
        /\bwhose is it\b/i,
        /\bnobody's to\b/i,
        /\bis nobody's\b/i,
        /\bso it is told\b/i,
        /\b(that|which) are there\b/i,
        /\bwhat is there\b/i,
        // parentheses inside parentheses
        /\([^()]*\([^()]*\)/,
    ];
    const MOST_WORDS = 120;

    for (const page of PAGES)
        test(page, () => {
            const found: string[] = [];
            for (const { text, inTable } of passages(read(page))) {
                const words = text.split(/\s+/).length;
                if (!inTable && words > MOST_WORDS)
                    found.push(`${words} words in one paragraph: ${text.slice(0, 60)}…`);
                const prose = withoutTargets(withoutCode(text));
                for (const sentence of prose.split(/(?<=[.!?:])\s+/))
                    if (sentence.split(";").length > 2) found.push(`two semicolons in a sentence: ${sentence}`);
                for (const pattern of AVOID) {
                    const hit = pattern.exec(prose);
                    if (hit) found.push(`"${hit[0]}": ${prose.slice(0, 80)}…`);
                }
            }
            assert.deepEqual(found, []);
        });
});
