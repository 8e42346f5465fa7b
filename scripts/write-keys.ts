/** Writes what Pulumi.yaml and docs/configuration.md say of the keys, from components/config/keys.ts. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { KEY_FILES } from "./lib/keyFiles.ts";

for (const [file, rewritten] of Object.entries(KEY_FILES)) {
    const path = join(import.meta.dirname, "..", file);
    const text = readFileSync(path, "utf8");
    const wanted = rewritten(text);
    if (wanted === text) continue;
    writeFileSync(path, wanted);
    console.log(`${file}: the keys were written anew`);
}
