/** The documentation of what a program gives a cluster: complete, and with the defaults of the table of keys. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { describe, test } from "vitest";
import { ALL_KEYS, isKey, ROWS } from "../../../components/config/derived.ts";
import type { Key } from "../../../components/config/keys.ts";
import type { Parts } from "../../../components/config/row.ts";
import { shownDefault } from "../../../scripts/lib/keyFiles.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");

/** Whose members are public arguments; `parts` are those of the key that holds such an object. */
const INTERFACES: readonly { file: string; name: string; parts?: Key }[] = [
    { file: "components/config/args.ts", name: "ClusterArgs" },
    { file: "components/config/args.ts", name: "MachineArgs", parts: "worker" },
    { file: "components/config/args.ts", name: "CoordinatorArgs", parts: "coordinator" },
    { file: "components/config/args.ts", name: "RebalanceArgs", parts: "rebalance" },
    { file: "components/config/args.ts", name: "RestoreFromArgs", parts: "restoreFrom" },
    { file: "components/config/input.ts", name: "ProgramArgs" },
    { file: "components/config/awsArgs.ts", name: "AwsArgs" },
    { file: "components/config/awsArgs.ts", name: "AwsNetworkArgs", parts: "network" },
    { file: "core/node/archive.ts", name: "BackupArgs", parts: "backup" },
    { file: "core/node/settings.ts", name: "Overrides", parts: "settings" },
];

/** Arguments that no key of `citus:` is. */
const NO_KEY = ["aws", "region", "profile", "caFile", "transform"];

/** What `@change` begins with; docs/configuration.md explains the words. A whole key's own words are in the table too. */
const CHANGES =
    /^(in place|reload|restart|replace|moves|refused|restores once|that of each of its keys|that of the resource)\b/;

/** A number says in which unit it is. */
const UNIT = /\b(MiB|GiB|seconds|port|number of|0 to 1)\b/i;

interface Argument {
    readonly name: string;
    /** The type as it is written. */
    readonly type: string;
    readonly meaning: string;
    readonly tags: ReadonlyMap<string, string>;
}

const oneLine = (text: string) => text.replaceAll(/\s+/g, " ").trim();

function argumentsOf(source: string, name: string): Argument[] {
    const file = ts.createSourceFile("args.ts", source, ts.ScriptTarget.Latest, true);
    const found = file.statements.find(
        (node): node is ts.InterfaceDeclaration => ts.isInterfaceDeclaration(node) && node.name.text === name,
    );
    assert.ok(found, `there is no interface ${name}`);
    return found.members.filter(ts.isPropertySignature).map((member) => {
        const docs = ts.getJSDocCommentsAndTags(member).filter(ts.isJSDoc);
        const text = (comment: ts.JSDoc["comment"]) => oneLine(ts.getTextOfJSDocComment(comment) ?? "");
        return {
            name: member.name.getText(file),
            type: oneLine(member.type?.getText(file) ?? ""),
            meaning: text(docs.at(-1)?.comment),
            tags: new Map(ts.getJSDocTags(member).map((tag) => [tag.tagName.text, text(tag.comment)])),
        };
    });
}

/** A type that shows by itself what may be given. */
const isObvious = (type: string) =>
    ["boolean", "number", "PlatformName"].includes(type) || /^"[^"]*"( \| "[^"]*")+$/.test(type);

/** The default as the table has it, JSON or a sentence; undefined where the table has none. */
function tableDefault(name: string, parts: Parts | undefined): string | undefined {
    if (parts === undefined && !isKey(name)) return undefined;
    const row = parts === undefined && isKey(name) ? ROWS[name] : parts?.[name];
    assert.ok(row, `${name} is not in the table of keys`);
    if (isKey(name) && parts === undefined && ROWS[name].reference.default === undefined)
        return JSON.stringify(ROWS[name].default);
    const { data } = row.value(row.onlyOn?.platform ?? "docker").safeParse(undefined);
    if (data !== undefined) return JSON.stringify(data);
    return parts === undefined && isKey(name) ? shownDefault(name) : undefined;
}

/** What a change of the key does, as the table has it; undefined where that is told elsewhere. */
function tableChange(name: string, parts: Parts | undefined): string | undefined {
    if (parts !== undefined || !isKey(name)) return undefined;
    const { change } = ROWS[name].reference;
    return change === "see below" || change.startsWith("[") ? undefined : change;
}

/** Everything that is missing or wrong in the documentation of an argument. */
function faults({ name, type, meaning, tags }: Argument, parts?: Parts): string[] {
    const found: string[] = [];
    const said = (tag: string) => tags.get(tag) ?? "";
    if (meaning.length < 15) found.push("does not say what it means");
    if (type === "number" && !UNIT.test(meaning)) found.push("is a number without a unit");
    const wanted = tableDefault(name, parts);
    if (said("default") === "") found.push("has no @default");
    else if (wanted !== undefined && said("default") !== wanted && !said("default").startsWith(`${wanted} (`))
        found.push(`has @default ${said("default")}, and the table of keys has ${wanted}`);
    const change = tableChange(name, parts);
    const known = change === undefined ? CHANGES.test(said("change")) : said("change").startsWith(change);
    if (said("change") === "") found.push("has no @change");
    else if (!known && !said("change").startsWith("see docs/"))
        found.push(`has @change ${said("change")}, which must begin with ${change ?? CHANGES.source}`);
    if (!isObvious(type) && said("example") === "") found.push("has no @example");
    return found.map((fault) => `${name} ${fault}`);
}

describe("the documentation of arguments", () => {
    for (const { file, name, parts } of INTERFACES)
        test(name, () => {
            const all = argumentsOf(readFileSync(join(ROOT, file), "utf8"), name);
            assert.ok(all.length > 0);
            const rows = parts === undefined ? undefined : ROWS[parts].parts;
            assert.deepEqual(
                all.flatMap((argument) => faults(argument, rows)),
                [],
            );
        });

    test("every key, and every key inside an object, is an argument", () => {
        const named = (wanted: (typeof INTERFACES)[number]) =>
            argumentsOf(readFileSync(join(ROOT, wanted.file), "utf8"), wanted.name).map((found) => found.name);
        const whole = INTERFACES.filter(({ parts }) => parts === undefined).flatMap(named);
        assert.deepEqual([...new Set(whole)].sort(), [...ALL_KEYS, ...NO_KEY].sort());
        for (const wanted of INTERFACES) {
            // CoordinatorArgs has those of MachineArgs too
            const more =
                wanted.name === "CoordinatorArgs" ? INTERFACES.filter(({ name }) => name === "MachineArgs") : [];
            const parts = wanted.parts === undefined ? undefined : ROWS[wanted.parts].parts;
            if (parts) assert.deepEqual([...more, wanted].flatMap(named).sort(), Object.keys(parts).sort());
        }
    });

    test("what is missing or wrong is found", () => {
        const source = `interface A {
            readonly workers: number;
            /**
             * Number of workers.
             * @default -1
             * @change nothing
             */
            readonly workers: number;
            /** The database of the cluster. @default "app" @change refused */
            readonly database: string;
            /**
             * Refuse to destroy the data.
             * @default \`true\` (\`false\` in a stack named \`dev\`)
             * @change reload
             */
            readonly protect: boolean;
        }`;
        assert.deepEqual(
            argumentsOf(source, "A").flatMap((argument) => faults(argument)),
            [
                "workers does not say what it means",
                "workers is a number without a unit",
                "workers has no @default",
                "workers has no @change",
                `workers has @default -1, and the table of keys has ${ROWS.workers.default}`,
                "workers has @change nothing, which must begin with moves",
                "database has no @example",
            ],
        );
        const machine = `interface M {
            /**
             * Memory in MiB.
             * @default 1024 (on aws less)
             * @change replace
             */
            readonly memory: number;
            /**
             * Number of CPU cores.
             * @default 20
             * @change whatever
             */
            readonly cores: number;
        }`;
        const found = argumentsOf(machine, "M").flatMap((argument) => faults(argument, ROWS.worker.parts));
        assert.equal(found.length, 3, found.join("\n"));
        assert.match(found[0] ?? "", /^memory does not say/);
        assert.match(found[1] ?? "", /^cores has @default 20, and the table of keys has 2$/);
        assert.match(found[2] ?? "", /^cores has @change whatever/);
    });
});
