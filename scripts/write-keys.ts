/** Writes what Pulumi.yaml and docs say of the keys (components/config/keys.ts) and of doctor's checks (core/citus/health/checks/list.ts). */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DOCTOR_FILES } from "./doctor/docs.ts";
import { KEY_FILES } from "./lib/keyFiles.ts";

for (const [file, rewritten] of Object.entries({ ...KEY_FILES, ...DOCTOR_FILES })) {
    const path = join(import.meta.dirname, "..", file);
    const text = readFileSync(path, "utf8");
    const wanted = rewritten(text);
    if (wanted === text) continue;
    writeFileSync(path, wanted);
    console.log(`${file}: written anew`);
}
