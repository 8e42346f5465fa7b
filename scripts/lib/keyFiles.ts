/** What files say of the keys, as the table of keys has it: Pulumi.yaml's `config:` and a table of docs/configuration.md. Pure. */
import { ALL_KEYS, declaredDefault, ROWS } from "../../components/config/derived.ts";
import type { Key } from "../../components/config/keys.ts";

/** JSON is YAML too. */
const yamlOf = JSON.stringify;

function declaration(key: Key): string[] {
    const { kind, description } = ROWS[key];
    // Pulumi's own check of a type would stop at the first mistake; of objects and lists it knows none that fits
    const type = kind === "object" || kind === "list" ? [] : ["    type: string"];
    return [
        `  ${key}:`,
        ...type,
        `    default: ${yamlOf(declaredDefault(key))}`,
        `    description: ${yamlOf(description)}`,
    ];
}

/** Pulumi.yaml with the keys declared. What stands before `config:` is kept; it is the last thing in the file. */
export function withDeclarations(project: string): string {
    const start = /^config:$/m.exec(project)?.index;
    if (start === undefined) throw new Error("Pulumi.yaml has no line `config:`");
    return `${project.slice(0, start)}config:\n${ALL_KEYS.flatMap(declaration).join("\n")}\n`;
}

/** The default of a key as the page has it: a value in backquotes, or a sentence. */
export function shownDefault(key: Key): string {
    const { reference, default: fallback } = ROWS[key];
    return reference.default ?? `\`${typeof fallback === "string" ? fallback : JSON.stringify(fallback)}\``;
}

function tableRow(key: Key): string {
    const { reference, onlyOn } = ROWS[key];
    const name = reference.section === undefined ? `\`${key}\`` : `[\`${key}\`](#${reference.section})`;
    return `| ${[name, reference.type, shownDefault(key), onlyOn?.platform ?? "both", reference.change].join(" | ")} |`;
}

/** The page with the table of all keys: the first table below that heading. */
export function withTable(page: string): string {
    const heading = page.indexOf("\n## All keys\n");
    const start = page.indexOf("\n|", heading) + 1;
    const length = /^(\|.*\n)+/.exec(page.slice(start))?.[0].length;
    if (heading < 0 || start === 0 || length === undefined)
        throw new Error("docs/configuration.md has no table below the heading `## All keys`");
    const head = ["| key | type | default | on | a change |", "|---|---|---|---|---|"];
    return `${page.slice(0, start)}${[...head, ...ALL_KEYS.map(tableRow)].join("\n")}\n${page.slice(start + length)}`;
}

/** Each file that says something of all keys, with what it has to say. */
export const KEY_FILES: Readonly<Record<string, (text: string) => string>> = {
    "Pulumi.yaml": withDeclarations,
    "docs/configuration.md": withTable,
};
