/** Preflight, then `pulumi up` of the selected stack (dev at first), then how to go on. */
import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import { Listr } from "listr2";
import { baseImage } from "./lib/image.ts";
import { Phases } from "./lib/phases.ts";
import { checkCli, describeFindings, explainFindings, preflight } from "./lib/preflight.ts";
import { DEFAULT_STACK, fail, pulumiCommand, readOutputs, selectedStack, tidyStackFile } from "./lib/project.ts";
import { readClusterHealth, renderStatus } from "./lib/report.ts";
import { readResources } from "./lib/resources.ts";
import { stackArgs, useStack } from "./lib/stack.ts";

async function start(): Promise<void> {
    const cli = await pulumiCommand({ install: () => console.log("Downloading the Pulumi CLI (once)...") }).catch(
        (error: Error) => error,
    );
    const name = cli instanceof Error ? DEFAULT_STACK : ((await selectedStack()) ?? DEFAULT_STACK);
    const stack = cli instanceof Error ? undefined : await useStack(name);
    const args = await stackArgs(stack, name);
    const running = stack !== undefined && (await readOutputs()) !== undefined;
    const base = baseImage(args, stack === undefined ? [] : await readResources());
    const findings = [...(await preflight(args, running, base)), checkCli(cli)];
    if (findings.some((finding) => finding.todo !== "")) {
        console.error(explainFindings(findings));
        process.exit(1);
    }
    console.log(`Checking        ${describeFindings(findings)}   ok`);
    if (stack === undefined) return;

    const phases = new Phases();
    const up = stack
        .up({ onEvent: (event: EngineEvent) => phases.take(event), suppressOutputs: true, suppressProgress: true })
        .then(
            () => phases.end(),
            () => phases.end(new Error(phases.errors() || "pulumi up failed")),
        )
        .finally(() => tidyStackFile(name));
    await new Listr(phases.tasks(), {
        concurrent: true,
        exitOnError: false,
        // without a terminal each finished step is one line, printed by the step itself
        fallbackRenderer: "silent",
        rendererOptions: { collapseErrors: false, showErrorMessage: false },
    }).run();
    await up;
    if (phases.failed) {
        console.error(`\n${phases.failed.message}`);
        process.exit(1);
    }
    const outputs = await readOutputs();
    if (!outputs) throw new Error("pulumi up left no outputs");
    const select = name === DEFAULT_STACK ? "" : ` (stack ${name})`;
    console.log(`\n${outputs.status}${select}\n`);
    const health = await readClusterHealth(await readResources(true)).catch((error: Error) => {
        throw new Error(`${error.message}\nIf its containers or machines are gone: npm run pulumi -- up --refresh`);
    });
    console.log(renderStatus(name, health));
    const url = new URL(outputs.connectionString);
    const or = args.aws === undefined ? "or     " : "clients";
    console.log(`
  connect   ${outputs.connect}
  ${or}   psql "host=${url.hostname} port=${url.port} dbname=${url.pathname.slice(1)} user=${url.username} sslmode=verify-full sslrootcert=.state/${name}/ca.crt"
            password: npm run -s pulumi -- stack output password --show-secrets
  look      npm run status
  grow      npm run pulumi -- config set citus:workers ${outputs.workers.length + 2} && npm run pulumi -- up --yes
  stop      npm run down   (deletes the data)`);
}

try {
    await start();
} catch (error) {
    fail(error);
}
