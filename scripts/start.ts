/** Preflight, then `pulumi up` of the selected stack (dev at first), then how to go on. */
import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import { Listr } from "listr2";
import { projectFiles } from "../components/config/tenants/project.ts";
import { NoCli, pulumiCommand } from "./lib/cli.ts";
import { main, script } from "./lib/command.ts";
import { canRefresh } from "./lib/engine.ts";
import { EXIT } from "./lib/exit.ts";
import { baseImage } from "./lib/image.ts";
import { Phases } from "./lib/phases.ts";
import { describeFindings, explainFindings, notesOf, preflight } from "./lib/preflight.ts";
import { DEFAULT_STACK, readOutputs, selectedStack, tidyStackFile } from "./lib/project.ts";
import { withNextStep } from "./lib/refusal.ts";
import { readClusterHealth, renderStatus } from "./lib/report.ts";
import { clusterName, readResources, refuseOldState } from "./lib/resources.ts";
import { screenWidth, wrapped } from "./lib/screen.ts";
import { explained, stackArgs, useStack } from "./lib/stack.ts";

async function start(): Promise<void> {
    const cli = await pulumiCommand({ install: () => console.log("Downloading the Pulumi CLI (once)...") }).catch(
        (error: Error) => {
            if (error instanceof NoCli) return error;
            throw error;
        },
    );
    const name = cli instanceof NoCli ? DEFAULT_STACK : ((await selectedStack()) ?? DEFAULT_STACK);
    const stack = cli instanceof NoCli ? undefined : await useStack(name);
    const args = await stackArgs(stack, name, projectFiles);
    const running = stack !== undefined && (await readOutputs()) !== undefined;
    const before = stack === undefined ? [] : await readResources();
    refuseOldState(before);
    const base = baseImage(args, before);
    const findings = [
        ...(await preflight(args, running, base)),
        {
            what: "Pulumi CLI",
            ...(cli instanceof NoCli
                ? { found: cli.found, todo: cli.todo }
                : { found: String(cli.version ?? "found"), todo: "" }),
        },
    ];
    if (findings.some((finding) => finding.todo !== "")) {
        console.error(explainFindings(findings));
        process.exitCode = EXIT.failed;
        return;
    }
    const found = findings.map(
        (finding, i) => `${describeFindings([finding])}${i === findings.length - 1 ? "   ok" : ""}`,
    );
    console.log(`Checking        ${wrapped(found, { between: " · ", indent: 16, width: screenWidth() })}`);
    for (const note of notesOf(findings)) console.log(note);
    if (stack === undefined) return;

    const refresh = running && (args.aws !== undefined || (await canRefresh(before, args.dockerHost)));
    const phases = new Phases();
    const up = stack
        .up({
            // containers and machines that somebody removed come back
            refresh,
            onEvent: (event: EngineEvent) => phases.take(event),
            suppressOutputs: true,
            suppressProgress: true,
        })
        .then(
            () => phases.end(),
            (error: Error) => phases.end(new Error(withNextStep(phases.errors()) || explained(["up"], error))),
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
        process.exitCode = EXIT.failed;
        return;
    }
    for (const warning of phases.warnings()) console.log(`\n${warning}`);
    const outputs = await readOutputs();
    if (!outputs) throw new Error("pulumi up left no outputs");
    const select = name === DEFAULT_STACK ? "" : ` (stack ${name})`;
    console.log(`\n${outputs.status}${select}\n`);
    const resources = await readResources(true);
    const health = await readClusterHealth(resources);
    console.log(renderStatus(clusterName(resources) ?? args.name, health, screenWidth()));
    const url = new URL(outputs.connectionString);
    const or = args.aws === undefined ? "or     " : "clients";
    console.log(`
  connect   ${outputs.connect}
  ${or}   psql "host=${url.hostname} port=${url.port} dbname=${url.pathname.slice(1)} user=${url.username} \\
            sslmode=verify-full sslrootcert=.state/${name}/ca.crt"
            password: npm run -s pulumi -- stack output password --show-secrets
  look      npm run status
  grow      npm run pulumi -- config set citus:workers ${outputs.workers.length + 2}
            npm run pulumi -- up --yes
  stop      npm run down   (deletes the data)`);
}

await main(
    script(
        "start",
        "Makes the cluster of the selected stack as its configuration says, or brings it there, then shows it.",
        "npm start --",
    ).action(start),
);
