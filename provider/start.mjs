/** Starts the provider: what was compiled where it was, its source where it was not. */
import { existsSync } from "node:fs";

const compiled = new URL("serve/main.js", import.meta.url);
const isCompiled = existsSync(compiled);
if (!isCompiled && !process.features.typescript) {
    console.error(
        `Node.js ${process.version} can't run the provider of Citus clusters: put Node.js 22.18 or newer first on PATH (npm scripts bring their own).`,
    );
    process.exit(1);
}
await import(isCompiled ? compiled.href : new URL("serve/main.ts", import.meta.url).href);
