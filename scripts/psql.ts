/** psql on the coordinator, TLS verified, password supplied: npm run psql -- -c 'SELECT 1' */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { caFile } from "../core/node/names.ts";
import type { DirectAccess } from "../core/node/reach.ts";
import { COORDINATOR } from "../core/node/topology.ts";
import { asksForHelp } from "./lib/command.ts";
import { CannotTell, EXIT, fail } from "./lib/exit.ts";
import { nodesOf } from "./lib/nodes.ts";
import { type Outputs, ROOT, readCluster } from "./lib/project.ts";
import { readResources } from "./lib/resources.ts";
import { psqlBySsm, withoutConnection } from "./lib/sql.ts";

const HELP = `npm run psql -- [--on NODE] [psql's options]

psql on the coordinator of the selected stack's cluster, with TLS verified and the password supplied.
--on NODE, as the first of all, asks a worker instead: npm run psql -- --on worker-1. All other options are psql's own. Exit codes are psql's too, and 2 where there is no cluster or it can't be found.
`;

/** psql with this terminal. */
function run(args: readonly string[], env: NodeJS.ProcessEnv): void {
    if (spawnSync("psql", ["--version"]).error)
        throw new CannotTell(
            "psql is not on PATH: install PostgreSQL's client (Debian: postgresql-client, macOS: libpq), then try again.",
        );
    const child = spawn("psql", [...args], { stdio: "inherit", cwd: process.env.INIT_CWD ?? process.cwd(), env });
    process.on("SIGINT", () => undefined);
    child.on("exit", (code, signal) => process.exit(signal ? EXIT.stopped : (code ?? EXIT.failed)));
}

/** psql's variables for a node's address. */
function whereTo(
    on: string | undefined,
    { coordinator }: Outputs,
    access: DirectAccess | undefined,
): NodeJS.ProcessEnv {
    const { host, port } =
        on === COORDINATOR || access === undefined ? coordinator : { ...access, host: access.serverName };
    // where the name does not resolve, the address does; the certificate is checked against the name
    const address = access && host !== access.host ? access.host.replace(/^localhost$/, "127.0.0.1") : undefined;
    return { PGHOST: host, PGPORT: String(port), ...(address ? { PGHOSTADDR: address } : {}) };
}

async function psql(given: readonly string[]): Promise<void> {
    const on = given[0] === "--on" ? given[1] : COORDINATOR;
    const args = given[0] === "--on" ? given.slice(2) : given;
    if (asksForHelp(given, "-?")) {
        console.log(HELP);
        return run(args, process.env);
    }
    const { stack, outputs } = await readCluster();
    const url = new URL(outputs.connectionString);
    const nodes = nodesOf(await readResources(true));
    const node = nodes.get(on ?? "");
    const access = node?.access;
    if (on !== COORDINATOR && access === undefined)
        throw new CannotTell(
            `There is no node ${on ?? "without a name"} in stack ${stack}. It has ${[...nodes.keys()].join(", ")}. Nothing was done.`,
        );
    if (node && access && "tunnel" in access)
        process.exit(await psqlBySsm(access.tunnel, node.machine, access.database, args));
    const ca = join(ROOT, caFile(stack));
    if (!existsSync(ca)) {
        mkdirSync(dirname(ca), { recursive: true });
        writeFileSync(ca, outputs.caCertificate);
    }
    run(args, {
        ...withoutConnection(process.env),
        ...whereTo(on, outputs, access && "host" in access ? access : undefined),
        PGUSER: url.username,
        PGPASSWORD: outputs.password,
        PGDATABASE: url.pathname.slice(1),
        PGSSLMODE: "verify-full",
        PGSSLROOTCERT: ca,
    });
}

await psql(process.argv.slice(2)).catch(fail);
