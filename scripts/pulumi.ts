/** The Pulumi CLI on this project's own state: npm run pulumi -- config set citus:workers 4 */
import { fail, runPulumi, selectedStack } from "./lib/project.ts";

try {
    await selectedStack();
    process.exitCode = await runPulumi(process.argv.slice(2));
} catch (error) {
    fail(error);
}
