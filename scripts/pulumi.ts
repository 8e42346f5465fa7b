/** The Pulumi CLI on this project's own state: npm run pulumi -- config set citus:workers 4 */
import { asksForHelp } from "./lib/command.ts";
import { fail } from "./lib/exit.ts";
import { askPulumi, DEFAULT_STACK, hasStack, mustPulumi, namesStack, runPulumi, selectedStack } from "./lib/project.ts";
import { NoAnswer } from "./lib/refusal.ts";
import { useStack } from "./lib/stack.ts";

const HELP = `npm run pulumi -- <pulumi's command and options>

The Pulumi CLI on this project's state, and on the stack that is selected there (dev at first).
All commands, options and exit codes are Pulumi's own.
`;

/** Commands that a new clone's first stack is made for. */
const NEEDS_STACK: readonly string[] = ["config", "up", "update", "preview", "refresh"];

/** Removing any stack unselects the one that is selected, and it was not removed. */
async function reselect(selected: string): Promise<void> {
    const still = await askPulumi("stack", "--show-name").catch(() => "unknown");
    if (still?.trim() || !hasStack(await askPulumi("stack", "ls", "--json"), selected)) return;
    await mustPulumi(["stack", "select", selected]);
    console.error(`Stack ${selected} is still selected.`);
}

async function pulumi(args: readonly string[]): Promise<void> {
    const [command = "", action] = args;
    let selected: string | undefined;
    if (asksForHelp(args, "-h")) console.log(HELP);
    else {
        const needs = NEEDS_STACK.includes(command) && !namesStack(args);
        // whose file is tidied afterwards; what keeps the CLI from saying it, it says itself
        selected = await selectedStack().catch((error: Error) => {
            if (needs && error instanceof NoAnswer) throw error;
            return "";
        });
        if (selected === undefined && needs) await useStack(DEFAULT_STACK);
    }
    process.exitCode = await runPulumi(args);
    if (selected && command === "stack" && action === "rm") await reselect(selected);
}

await pulumi(process.argv.slice(2)).catch(fail);
