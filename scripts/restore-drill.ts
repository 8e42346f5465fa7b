/**
 * Restores the newest point (or --point) into a throw-away stack, checks it, prints RTO and RPO, and removes it.
 * The selected stack and its cluster are not touched. --keep leaves the copy.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { describeAge } from "../components/age.ts";
import { describeBytes } from "../components/citus/job.ts";
import { choosePoint } from "../components/restore/points.ts";
import { refusedTarget } from "../components/restore/request.ts";
import { openBackups, readBackups } from "./lib/backups.ts";
import { main, script } from "./lib/command.ts";
import { EXIT, fail } from "./lib/exit.ts";
import { sameCitus } from "./lib/image.ts";
import { clearStack, mustPulumi, readPulumi, STATE } from "./lib/project.ts";

/** Of the origin's configuration, what does not fit a copy that lives for minutes. */
const NOT_COPIED = [
    "name",
    "port",
    "retire",
    "workers",
    "protect",
    "backup",
    "backupPassphrase",
    "restorePassphrase",
    "restoreFrom",
    "postDeploy",
    "alarmTopic",
];
/** Nobody but the drill has business with the copy. */
const NOT_OF_NETWORK = ["allowedCidrs", "allowedSecurityGroups", "openToTheWorld"];

interface ConfigValue {
    readonly value?: string;
    readonly objectValue?: unknown;
    readonly secret?: boolean;
}

const textOf = (value: unknown) => (typeof value === "string" || value === undefined ? value : JSON.stringify(value));

/** A network without those who may connect. */
function closed(value: unknown): string {
    const network = (typeof value === "string" ? JSON.parse(value || "{}") : value) as Record<string, unknown>;
    return JSON.stringify(
        Object.fromEntries(Object.entries(network).filter(([name]) => !NOT_OF_NETWORK.includes(name))),
    );
}

/** The origin's sizes, settings and image; the point's number of workers. */
async function configure(
    drill: string,
    origin: string,
    set: Readonly<Record<string, string>>,
    passphrase: string | undefined,
) {
    const all = JSON.parse(await mustPulumi(["config", "--json", "--stack", origin])) as Record<string, ConfigValue>;
    const values: string[] = [];
    for (const [key, { value, objectValue, secret }] of Object.entries(all)) {
        const [space, name] = key.split(":");
        const ours = space === "citus" ? !NOT_COPIED.includes(name ?? "") : space === "aws";
        if (!ours || secret || Object.hasOwn(set, name ?? "")) continue;
        const text = key === "citus:network" ? closed(objectValue ?? value) : textOf(objectValue ?? value);
        if (text !== undefined) values.push("--plaintext", `${key}=${text}`);
    }
    for (const [name, text] of Object.entries(set)) values.push("--plaintext", `citus:${name}=${text}`);
    await mustPulumi(["config", "set-all", "--stack", drill, ...values]);
    if (passphrase !== undefined)
        await mustPulumi(["config", "set", "--stack", drill, "--secret", "citus:restorePassphrase"], passphrase);
}

async function remove(drill: string, origin: string): Promise<void> {
    await readPulumi(["cancel", "--yes", "--stack", drill]);
    await mustPulumi(["destroy", "--yes", "--skip-preview", "--stack", drill]);
    await mustPulumi(["stack", "rm", "--yes", drill]);
    // removing any stack unselects the one that is selected
    await mustPulumi(["stack", "select", origin]);
    clearStack(join(STATE, drill));
}

/** What goes on without progress of its own, by the types that Pulumi says it creates. */
const STEPS: readonly (readonly [type: RegExp, what: string])[] = [
    [/docker:index:RemoteImage|citus:NodeImage|pulumi-nodejs:dynamic:NodeImage/, "building the node image"],
    [/docker:index:Container|aws:ec2:Instance/, "starting its nodes"],
    [/:Member /, "registering its workers"],
];

/** What a line of `pulumi up` says that begins. Pure. */
function stepOf(line: string): string | undefined {
    return / creating \(/.test(line) ? STEPS.find(([type]) => type.test(line))?.[1] : undefined;
}

let cleanUp: (() => Promise<void>) | undefined;
let stopping = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
        if (stopping) return;
        stopping = true;
        console.error(`\n${signal}: removing the copy`);
        void (cleanUp?.() ?? Promise.resolve()).then(
            () => process.exit(EXIT.stopped),
            (error: Error) => fail(error),
        );
    });
}

async function drill(values: { point: string; keep?: boolean; json?: boolean }): Promise<void> {
    const refusal = refusedTarget(values.point);
    if (refusal !== undefined) throw new Error(`--point ${refusal}, got "${values.point}". Nothing was done.`);
    const backed = await openBackups();
    const wanted = { kind: "restore", cluster: backed.args.name, point: values.point } as const;
    const choice = choosePoint(values.point, await readBackups(backed, wanted));
    if ("refusal" in choice) throw new Error(`There is nothing to drill with: ${choice.refusal}\nNothing was done.`);
    const { point } = choice;
    // what would be lost if the cluster were lost now
    const rpo = (Date.now() - Date.parse(point.time)) / 1000;
    const bytes = point.nodes.reduce((sum, node) => sum + Number(node.bytes), 0);
    const name = `drill-${randomBytes(3).toString("hex")}`;
    const say = (text: string) => values.json || console.log(text);
    say(
        `Restoring ${point.name} (${describeAge(rpo)} old, ${point.nodes.length} nodes, ${describeBytes(bytes)}) into the stack ${name}`,
    );
    await mustPulumi(["stack", "init", name, "--no-select"]);
    cleanUp = () => remove(name, backed.stack);
    let restored = "";
    let seconds = 0;
    try {
        await configure(
            name,
            backed.stack,
            {
                ...sameCitus(backed.args, backed.resources),
                workers: String(point.nodes.length - 1),
                protect: "false",
                backup: "false",
                restoreFrom: JSON.stringify({ stack: backed.stack, point: point.name, cluster: point.cluster }),
            },
            backed.args.backupPassphrase,
        );
        const began = Date.now();
        let shown = "";
        const made = new Set<string>();
        say("  making its networks, certificates and passwords");
        const up = await readPulumi(["up", "--yes", "--skip-preview", "--stack", name], {
            onLine: (line) => {
                const step = stepOf(line);
                if (step !== undefined && !made.has(step)) {
                    made.add(step);
                    say(`  ${step}`);
                }
                const progress = /(?:Restore|Recovered) citus-\S+ +(?:creating|created)[^)]*\) (.+)$/.exec(line)?.[1];
                if (!progress || progress === shown || /^error/.test(progress)) return;
                shown = progress;
                if (/ in [0-9.]+ s \(/.test(progress)) restored = / in ([0-9.]+ s) \(/.exec(progress)?.[1] ?? "";
                say(`  ${progress}`);
            },
        });
        seconds = (Date.now() - began) / 1000;
        if (up.code !== 0) {
            const why = up.stdout
                .slice(Math.max(0, up.stdout.indexOf("Diagnostics:")))
                .replace(/^ *warning: using pulumi-resource.*\n/gm, "");
            throw new Error(`The drill failed: ${point.name} could not be restored.\n${why.trim()}`);
        }
    } finally {
        if (values.keep)
            say(
                `The copy is kept: npm run pulumi -- stack select ${name}; npm run pulumi -- destroy --stack ${name} removes it`,
            );
        else if (!stopping) {
            say(`  removing ${name}`);
            await remove(name, backed.stack);
        }
    }
    if (values.json) {
        console.log(
            JSON.stringify(
                {
                    point: point.name,
                    nodes: point.nodes.length,
                    tables: point.tables.length,
                    bytes,
                    rtoSeconds: seconds,
                    rpoSeconds: rpo,
                },
                null,
                2,
            ),
        );
        return;
    }
    const interval = backed.args.backup.restorePoint;
    console.log(`
${point.name} is restorable: ${point.tables.length} tables on ${point.nodes.length} nodes are whole, no prepared transaction is left.

  RTO   ${seconds.toFixed(1)} s   from pulumi up to a cluster that answers${restored ? `, of which restoring ${restored}` : ""} (${describeBytes(bytes)})
  RPO   ${describeAge(rpo)}   the newest restorable point was this old; ${interval > 0 ? `one is taken every ${describeAge(interval)}` : "none is taken by itself (citus:backup.restorePoint)"}`);
}

await main(
    script(
        "restore-drill",
        "Restores a restore point into a throw-away stack, checks it, prints what a disaster would cost, and removes it.",
    )
        .option("--point <name>", "a restore point, as npm run backups names it", "latest")
        .option("--keep", "leaves the copy")
        .option("--json", "the result as data")
        .action(drill),
);
