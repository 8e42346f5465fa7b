/** What `up` would do, without doing it. Needs no Docker engine. Arguments go to pulumi preview. */
import { DEFAULT_STACK, fail, runPulumi, selectedStack } from "./lib/project.ts";
import { useStack } from "./lib/stack.ts";

try {
    if (!(await selectedStack())) await useStack(DEFAULT_STACK);
    process.exitCode = await runPulumi(["preview", ...process.argv.slice(2)]);
} catch (error) {
    fail(error);
}
