/** The Pulumi CLI on this project's own state: npm run pulumi -- config set citus:workers 4 */
import { asksForHelp } from "./lib/command.ts";
import { fail } from "./lib/exit.ts";
import { DEFAULT_STACK, runPulumi, selectedStack } from "./lib/project.ts";
import { useStack } from "./lib/stack.ts";

const HELP = `npm run pulumi -- <pulumi's command and options>

The Pulumi CLI on this project's state, and on the stack that is selected there (dev at first).
All commands, options and exit codes are Pulumi's own.
`;

/** Commands that a new clone's first stack is made for. */
const NEEDS_STACK: readonly string[] = ["config", "up", "update", "preview", "refresh"];

async function pulumi(args: readonly string[]): Promise<void> {
    if (asksForHelp(args, "-h")) console.log(HELP);
    else {
        // whose file is tidied afterwards; what keeps the CLI from saying it, it says itself
        const selected = await selectedStack().catch(() => "");
        if (selected === undefined && NEEDS_STACK.includes(args[0] ?? "")) await useStack(DEFAULT_STACK);
    }
    process.exitCode = await runPulumi(args);
}

await pulumi(process.argv.slice(2)).catch(fail);
