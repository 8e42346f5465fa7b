/** Prints what a shell needs to use the pulumi CLI by hand on this project's state: eval "$(npm run -s env)" */

import { delimiter, dirname } from "node:path";
import { pulumiCommand, pulumiEnvironment } from "./lib/project.ts";

const { PATH, ...env } = pulumiEnvironment();
const cli = await pulumiCommand();
const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
for (const [name, value] of Object.entries(env)) console.log(`export ${name}=${quote(value)}`);
const first = (PATH ?? "").split(delimiter)[0] ?? "";
const extra = cli.command.includes("/") ? `${first}${delimiter}${dirname(cli.command)}` : first;
console.log(`export PATH=${quote(extra)}:"$PATH"`);
