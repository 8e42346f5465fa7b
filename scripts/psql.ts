/** psql on the coordinator, TLS verified, password supplied: npm run psql -- -c 'SELECT 1' */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { caFile } from "../core/node/names.ts";
import { COORDINATOR } from "../core/node/topology.ts";
import { asksForHelp } from "./lib/command.ts";
import { CannotTell, EXIT, fail } from "./lib/exit.ts";
import { nodesOf } from "./lib/nodes.ts";
import { ROOT, readCluster } from "./lib/project.ts";
import { readResources } from "./lib/resources.ts";
import { psqlBySsm, withoutConnection } from "./lib/sql.ts";

const HELP = `npm run psql -- [psql's options]

psql on the coordinator of the selected stack's cluster, with TLS verified and the password supplied.
All options are psql's own. Exit codes are psql's too, and 2 where there is no cluster or it can't be found.
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

async function psql(args: readonly string[]): Promise<void> {
    if (asksForHelp(args, "-?")) {
        console.log(HELP);
        return run(args, process.env);
    }
    const { stack, outputs } = await readCluster();
    const url = new URL(outputs.connectionString);
    const coordinator = nodesOf(await readResources(true)).get(COORDINATOR);
    const access = coordinator?.access;
    if (coordinator && access && "tunnel" in access)
        process.exit(await psqlBySsm(access.tunnel, coordinator.machine, access.database, args));
    const ca = join(ROOT, caFile(stack));
    if (!existsSync(ca)) {
        mkdirSync(dirname(ca), { recursive: true });
        writeFileSync(ca, outputs.caCertificate);
    }
    run(args, {
        ...withoutConnection(process.env),
        PGHOST: outputs.coordinator.host,
        // where the name does not resolve, the address does; the certificate is checked against the name
        ...(access && "host" in access && outputs.coordinator.host !== access.host ? { PGHOSTADDR: access.host } : {}),
        PGPORT: String(outputs.coordinator.port),
        PGUSER: url.username,
        PGPASSWORD: outputs.password,
        PGDATABASE: url.pathname.slice(1),
        PGSSLMODE: "verify-full",
        PGSSLROOTCERT: ca,
    });
}

await psql(process.argv.slice(2)).catch(fail);
