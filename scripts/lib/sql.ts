/** psql on a machine that only commands reach. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { SsmShell } from "../../core/node/reach.ts";
import { runScript } from "../../core/reach/run.ts";

/** Variables of psql's that say where to, and as whom: those of somebody else's server must not mix with ours. */
const CONNECTION =
    /^PG(HOST|HOSTADDR|PORT|USER|PASSWORD|PASSFILE|DATABASE|SERVICE|SERVICEFILE|SSL.*|REQUIRE.*|CHANNELBINDING|GSS.*|KRB.*|TARGETSESSIONATTRS|LOADBALANCEHOSTS|MINPROTOCOLVERSION|MAXPROTOCOLVERSION)$/;

/** An environment without them. Pure. */
export function withoutConnection(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
    return Object.fromEntries(Object.entries(env).filter(([name]) => !CONNECTION.test(name)));
}

/** Arguments of psql with the files that they name, which go along. Pure but for reading them. */
export function withFiles(
    args: readonly string[],
    read: (path: string) => string,
): { args: string[]; files: Record<string, string> } {
    const files: Record<string, string> = {};
    const send = (path: string) => {
        const name = `${Object.keys(files).length}-${basename(path)}`;
        files[name] = read(path);
        return name;
    };
    const sent: string[] = [];
    for (let i = 0; i < args.length; i++) {
        const arg = args[i] ?? "";
        const next = args[i + 1];
        if ((arg === "-f" || arg === "--file") && next !== undefined && next !== "-") {
            sent.push(arg, send(next));
            i++;
        } else if (/^--file=./.test(arg)) sent.push(`--file=${send(arg.slice("--file=".length))}`);
        else if (/^-f./.test(arg)) sent.push("-f", send(arg.slice("-f".length)));
        else sent.push(arg);
    }
    return { args: sent, files };
}

/** Whether these arguments leave nothing for a person to type. */
export function isBatch(args: readonly string[]): boolean {
    return args.some((arg) => /^(-[a-zA-Z]*[cflV]|--(command|file|list|version)\b)/.test(arg));
}

async function readStdin(): Promise<string> {
    if (process.stdin.isTTY) return "";
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString("utf8");
}

/** A terminal on the machine: AWS' own tools carry it. */
function interactive(shell: SsmShell, machine: string, database: string, args: readonly string[]): Promise<number> {
    if (spawnSync("aws", ["--version"]).error || spawnSync("session-manager-plugin", ["--version"]).error) {
        throw new Error(
            "A terminal through SSM needs AWS' command line and its session-manager-plugin on PATH\n" +
                "  (https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html).\n" +
                "Without them: npm run psql -- -c 'SELECT 1', or npm run psql -- -f FILE.",
        );
    }
    const quoted = args.map((arg) => `'${arg.replaceAll("'", "'\\''")}'`);
    const command = ["sudo runuser -u postgres -- psql -h /var/lib/citus/run -U postgres -d", database, ...quoted].join(
        " ",
    );
    const profile = shell.profile === "" ? [] : ["--profile", shell.profile];
    const child = spawn(
        "aws",
        [
            "ssm",
            "start-session",
            "--region",
            shell.region,
            ...profile,
            "--target",
            machine,
            "--document-name",
            "AWS-StartInteractiveCommand",
            "--parameters",
            JSON.stringify({ command: [command] }),
        ],
        { stdio: "inherit" },
    );
    process.on("SIGINT", () => undefined);
    return new Promise((done) => child.on("exit", (code) => done(code ?? 130)));
}

/**
 * Runs psql on the node.
 * @returns its exit code
 */
export async function psqlBySsm(
    shell: SsmShell,
    machine: string,
    database: string,
    args: readonly string[],
): Promise<number> {
    if (process.stdin.isTTY && !isBatch(args)) return interactive(shell, machine, database, args);
    const from = process.env.INIT_CWD ?? process.cwd();
    const sent = withFiles(args, (path) => readFileSync(resolve(from, path), "utf8"));
    const stdin = isBatch(args) ? "" : await readStdin();
    const result = await runScript(shell, ["psql.sh", database, ...sent.args], { files: { ...sent.files, stdin } });
    process.stdout.write(result.stdout);
    process.stderr.write(result.stderr);
    return result.code;
}
