/** What `up` would do, without doing it. Needs no Docker engine. Arguments go to pulumi preview. */
import { asksForHelp } from "./lib/command.ts";
import { fail } from "./lib/exit.ts";
import { DEFAULT_STACK, namesStack, runPulumi, selectedStack } from "./lib/project.ts";
import { useStack } from "./lib/stack.ts";

const HELP = `npm run preview -- [pulumi preview's options]

What the next pulumi up would do with the selected stack's cluster (dev at first). Changes nothing, and needs no Docker engine.
All options are those of pulumi preview. Exit codes are Pulumi's too, and 2 where its state can't be read.
`;

async function preview(args: readonly string[]): Promise<void> {
    if (asksForHelp(args, "-h")) console.log(HELP);
    else if (!namesStack(args) && !(await selectedStack())) await useStack(DEFAULT_STACK);
    process.exitCode = await runPulumi(["preview", ...args]);
}

await preview(process.argv.slice(2)).catch(fail);
