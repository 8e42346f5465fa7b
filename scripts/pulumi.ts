/** The Pulumi CLI on this project's own state: npm run pulumi -- config set citus:workers 4 */
import { asksForHelp } from "./lib/command.ts";
import { fail } from "./lib/exit.ts";
import { runPulumi, selectedStack } from "./lib/project.ts";

const HELP = `npm run pulumi -- <pulumi's command and options>

The Pulumi CLI on this project's state, and on the stack that is selected there (dev at first).
All commands, options and exit codes are Pulumi's own.
`;

async function pulumi(args: readonly string[]): Promise<void> {
    if (asksForHelp(args, "-h")) console.log(HELP);
    // whose file is tidied afterwards; what keeps the CLI from saying it, it says itself
    else await selectedStack().catch(() => undefined);
    process.exitCode = await runPulumi(args);
}

await pulumi(process.argv.slice(2)).catch(fail);
