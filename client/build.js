/** What is published: JavaScript and types in dist, and the licence. Run by npm pack and npm publish. */
import { spawnSync } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const here = import.meta.dirname;
rmSync(join(here, "dist"), { recursive: true, force: true });
copyFileSync(join(here, "..", "LICENSE"), join(here, "LICENSE"));
const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
const { status } = spawnSync(process.execPath, [join(typescript, "bin", "tsc"), "-p", here], { stdio: "inherit" });
process.exit(status ?? 1);
