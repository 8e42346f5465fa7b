/** The aws platform, loaded by programs that use it: `@pulumi/aws` takes half a second, and who is on docker need not have it. */
import { createRequire } from "node:module";
import { extname } from "node:path";
import { needsAws } from "../../../core/reach/aws/packages.ts";

type Aws = typeof import("./platform.ts");

const load = createRequire(import.meta.url);

/** @throws Error naming the command that installs what is missing */
export function loadAws(): Aws {
    try {
        // it is TypeScript here, and JavaScript where it is installed
        return load(`./platform${extname(import.meta.filename)}`) as Aws;
    } catch (error) {
        throw needsAws(error);
    }
}
