/** One archive for a colleague or an issue: what the cluster is and how it is, without a secret. Changes nothing. */
import { writeFileSync } from "node:fs";
import { release } from "node:os";
import { resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { diagnose } from "../core/citus/health/doctor.ts";
import { judgeHealth } from "../core/citus/health/health.ts";
import { dockerEngine } from "../core/reach/docker/engine.ts";
import { describeBytes } from "../core/util/bytes.ts";
import { packTar } from "../core/util/tar.ts";
import { asData, sources } from "./doctor/ask.ts";
import { MINIMUM } from "./lib/cli.ts";
import { main, script } from "./lib/command.ts";
import { NoCluster } from "./lib/exit.ts";
import { nodesOf } from "./lib/nodes.ts";
import { askPulumi, DEFAULT_STACK, selectedStack } from "./lib/project.ts";
import { withCluster } from "./lib/report.ts";
import { clusterName, parseState, type StateResource } from "./lib/resources.ts";
import { stackConfig, useStack } from "./lib/stack.ts";
import { asJson, askedOf, containerOf, type Failed, type Files, logOf, resourcesOf } from "./report/parts.ts";
import { Redactor, secretsIn } from "./report/redact.ts";

/** What asks SQL: all of it is left out where the coordinator does not answer. */
async function ofCluster(
    stack: string,
    resources: readonly StateResource[],
    redactor: Redactor,
    failed: Failed,
): Promise<Files> {
    const cluster = clusterName(resources) ?? stack;
    return withCluster(resources, async (coordinator, options) => {
        const found = await diagnose(coordinator, sources(stack, resources, options));
        const files: Files = {
            "doctor.json": asJson(redactor.data(asData({ stack, cluster }, found))),
            "status.json": asJson(redactor.data(judgeHealth(found.looked))),
        };
        for (const name of nodesOf(resources).keys()) {
            const session = await options.open(name);
            if (session instanceof Error) failed(`nodes/${name}/*.json`, session);
            else Object.assign(files, await askedOf(name, session, redactor, failed));
        }
        return files;
    }).catch((error: Error) => {
        failed("doctor.json, status.json and what each node says", error);
        return {};
    });
}

async function versionsOf(resources: readonly StateResource[]): Promise<Files> {
    const [shell] = [...nodesOf(resources).values()].flatMap((node) =>
        node.shell.kind === "docker" ? [node.shell] : [],
    );
    const engine =
        shell &&
        (await dockerEngine(shell.engine)
            .version()
            .catch((error: Error) => error.message));
    const docker = typeof engine === "object" ? { version: engine.Version, os: engine.Os, arch: engine.Arch } : engine;
    return {
        "versions.json": asJson({
            node: process.version,
            platform: process.platform,
            release: release(),
            pulumi: MINIMUM,
            docker,
        }),
    };
}

const plural = (count: number, what: string) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** The first page: what is in it, what was taken out, what is missing. */
function pageOf(files: Files, { taken }: Redactor, missing: readonly string[]): string {
    return [
        "A report of a Citus cluster, made by npm run report. Begin with doctor.json.",
        "",
        "In it:",
        ...Object.keys(files)
            .sort()
            .map((name) => `  ${name}`),
        "",
        "Taken out:",
        `  ${plural(taken.values, "value")} that the stack keeps secret: passwords, keys, passphrases`,
        `  ${plural(taken.keys, "private key or verifier")}`,
        `  ${plural(taken.literals, "literal")} of statements, in logs and in what sessions run`,
        `  ${plural(taken.passwords, "other password")} by where it stood`,
        "  every value of the containers' environment, what resources were given and gave, and rows of tables",
        "Names stay: tables, roles, databases, tenants' schemas, hosts.",
        ...(missing.length === 0 ? [] : ["", "Could not be asked:", ...missing.map((line) => `  ${line}`)]),
        "",
    ].join("\n");
}

async function report({ output }: { output?: string }): Promise<void> {
    const stack = await selectedStack();
    const exported = stack === undefined ? undefined : await askPulumi("stack", "export", "--show-secrets");
    const resources = exported === undefined ? [] : parseState(exported);
    const nodes = nodesOf(resources);
    if (stack === undefined || exported === undefined || nodes.size === 0) throw new NoCluster(stack ?? DEFAULT_STACK);
    const config = await stackConfig(await useStack(stack));
    const configured = Object.values(config).flatMap(({ value, secret }) => (secret ? [value] : []));
    const redactor = new Redactor([...secretsIn(exported), ...configured]);
    const missing: string[] = [];
    const failed: Failed = (what, error) => missing.push(`${what}: ${redactor.log((error as Error).message)}`);
    const files: Files = {
        ...(await versionsOf(resources)),
        ...resourcesOf(resources),
        ...(await ofCluster(stack, resources, redactor, failed)),
    };
    for (const node of nodes.values())
        Object.assign(files, await logOf(node, redactor, failed), await containerOf(node, redactor, failed));
    const page = pageOf(files, redactor, missing);
    const name = `report-${clusterName(resources) ?? stack}-${new Date().toISOString().replace(/[-:]|\.\d+/g, "")}`;
    const all = { "README.txt": page, ...files };
    const tar = await packTar(
        Object.entries(all).map(([path, content]) => ({ name: `${name}/${path}`, mode: 0o600, content })),
    );
    const path = resolve(process.env.INIT_CWD ?? process.cwd(), output ?? `${name}.tar.gz`);
    const packed = gzipSync(tar);
    writeFileSync(path, packed, { mode: 0o600 });
    console.log(`${page}\n${path} (${describeBytes(packed.length)}). Look at it before you send it.`);
}

await main(
    script("report", "Writes one archive about the cluster, for a colleague or an issue, without a secret in it.")
        .option("--output <file>", "the archive, by default report-CLUSTER-TIME.tar.gz in this folder")
        .action(report),
);
