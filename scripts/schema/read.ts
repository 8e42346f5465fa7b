/** Reads a running cluster's shape through its coordinator. */

import type { CommandResult } from "../../core/node/reach.ts";
import { onNode, type StackNode } from "../lib/nodes.ts";
import { refusals } from "./calls.ts";
import type { Catalog } from "./catalog.ts";
import { arrange, parseContents } from "./contents.ts";
import type { Pieces } from "./file.ts";

const SCRIPT = "dump-schema.sh";

/** What the script printed: a name and base64 a line, and a last line that says that it is whole. */
function parts(result: CommandResult, names: readonly string[]): Record<string, Buffer> {
    if (result.code === 126 || result.code === 127) {
        throw new Error(
            "The coordinator's image is older than this command. Bring the new one (npm run pulumi -- up), then try again.",
        );
    }
    if (result.code !== 0) {
        const said = result.stderr.trim().split("\n").join("\n  ");
        throw new Error(`coordinator: the schema can't be read\n  ${said || `exit code ${result.code}`}`);
    }
    const found: Record<string, Buffer> = {};
    for (const line of result.stdout.split("\n")) {
        const [name, content] = line.split(" ");
        if (name) found[name] = Buffer.from(content ?? "", "base64");
    }
    for (const name of [...names, "end"]) {
        if (!found[name]) throw new Error(`coordinator: the schema did not arrive whole (${name} is missing)`);
    }
    return found;
}

export type Shape = Pieces & {
    readonly leftOut: readonly string[];
    /** Whether a table is made after the views, because it needs one of them. */
    readonly isLate: (table: { readonly schema: string; readonly bare: string }) => boolean;
};

/**
 * @param snapshot an exported one of the coordinator's; without it the shape is what it is now
 * @throws Error when something has a shape that SQL can't make again, naming it, or can't be read
 */
export async function readShape(coordinator: StackNode, database: string, snapshot?: string): Promise<Shape> {
    const as = snapshot === undefined ? [] : [snapshot];
    const read = parts(await onNode(coordinator, [SCRIPT, "read", database, ...as]), [
        "catalog",
        "roles",
        "archive",
        "contents",
    ]);
    const text = (name: string) => read[name]?.toString("utf8") ?? "";
    const catalog = JSON.parse(text("catalog")) as Catalog;
    const refused = refusals(catalog);
    if (refused.length > 0) {
        throw new Error(
            `This cluster can't be dumped:\n  ${refused.join("\n  ")}\nNothing was written. Distribute these tables by hash, or drop them, then try again.`,
        );
    }
    const { before, foreignKeys, after, ownerless, secret } = arrange(parseContents(text("contents")), catalog);
    const lists = { before, foreignKeys, after };
    const files: Record<string, string | Buffer> = { archive: read.archive ?? "" };
    for (const [name, entries] of Object.entries(lists)) files[name] = entries.map(({ line }) => `${line}\n`).join("");
    const names = Object.keys(lists);
    const sql = parts(await onNode(coordinator, [SCRIPT, "render", ...names], { files }), names);
    const script = (name: keyof typeof lists) => sql[name]?.toString("utf8") ?? "";
    return {
        catalog,
        roles: text("roles"),
        before: script("before"),
        foreignKeys: script("foreignKeys"),
        after: script("after"),
        ownerless,
        leftOut: secret.map(({ what }) => what),
        isLate: ({ schema, bare }) => after.some(({ what }) => what.startsWith(`TABLE ${schema} ${bare} `)),
    };
}
