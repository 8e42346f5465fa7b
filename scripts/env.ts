/** Prints what a shell needs to use the pulumi CLI by hand on this project's state: eval "$(npm run -s env)" */
import { delimiter, dirname } from "node:path";
import { pulumiCommand } from "./lib/cli.ts";
import { main, script } from "./lib/command.ts";
import { enter, quote } from "./lib/surroundings.ts";

async function env(): Promise<void> {
    const {
        set: { PATH = "", ...set },
        unset,
    } = enter();
    const cli = await pulumiCommand({ install: () => console.error("Downloading the Pulumi CLI (once)...") });
    const own = PATH.split(delimiter)[0] ?? "";
    const first = cli.command.includes("/") ? `${own}${delimiter}${dirname(cli.command)}` : own;
    for (const name of unset) console.log(`unset ${name}`);
    for (const [name, value] of Object.entries(set)) console.log(`export ${name}=${quote(value)}`);
    console.log(`export PATH=${quote(first)}:"$PATH"`);
}

await main(
    script("env", "Prints what a shell needs to type pulumi by hand on this project's state.", "npm run -s env --")
        .addHelpText("after", '\nHow it is used:\n  eval "$(npm run -s env)"')
        .action(env),
);
