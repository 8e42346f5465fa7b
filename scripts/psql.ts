/** psql on the coordinator, TLS verified, password supplied: npm run psql -- -c 'SELECT 1' */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { caFile } from "../components/names.ts";
import { COORDINATOR } from "../components/topology.ts";
import { nodesOf } from "./lib/nodes.ts";
import { fail, ROOT, readOutputs, selectedStack } from "./lib/project.ts";
import { readResources } from "./lib/resources.ts";
import { psqlBySsm } from "./lib/sql.ts";

try {
    const stack = await selectedStack();
    const outputs = await readOutputs();
    if (!stack || !outputs) throw new Error(`There is no cluster in stack ${stack ?? "dev"}: run npm start first.`);
    const url = new URL(outputs.connectionString);
    const coordinator = nodesOf(await readResources(true)).get(COORDINATOR);
    const access = coordinator?.access;
    if (coordinator && access && "tunnel" in access) {
        const code = await psqlBySsm(access.tunnel, coordinator.machine, access.database, process.argv.slice(2));
        process.exit(code);
    }
    if (spawnSync("psql", ["--version"]).error) {
        throw new Error(
            "psql is not on PATH: install PostgreSQL's client (Debian: postgresql-client, macOS: libpq), then try again.",
        );
    }
    const ca = join(ROOT, caFile(stack));
    if (!existsSync(ca)) {
        mkdirSync(dirname(ca), { recursive: true });
        writeFileSync(ca, outputs.caCertificate);
    }
    const child = spawn("psql", process.argv.slice(2), {
        stdio: "inherit",
        cwd: process.env.INIT_CWD ?? process.cwd(),
        env: {
            ...process.env,
            PGHOST: outputs.coordinator.host,
            // where the name does not resolve, the address does; the certificate is checked against the name
            ...(access && "host" in access && outputs.coordinator.host !== access.host
                ? { PGHOSTADDR: access.host }
                : {}),
            PGPORT: String(outputs.coordinator.port),
            PGUSER: url.username,
            PGPASSWORD: outputs.password,
            PGDATABASE: url.pathname.slice(1),
            PGSSLMODE: "verify-full",
            PGSSLROOTCERT: ca,
        },
    });
    process.on("SIGINT", () => undefined);
    child.on("exit", (code, signal) => process.exit(signal ? 130 : (code ?? 1)));
} catch (error) {
    fail(error);
}
