/** The least that 1 + 2 nodes can take: the same image's PostgreSQL and Citus, by docker run and psql, and nothing else. */
import { randomBytes } from "node:crypto";
import { docker, removeFromDocker, run, undoLater, until } from "./process.ts";

// on the floor's own network only, and only while it is measured
const SERVE = `set -e
export PATH=/usr/lib/postgresql/17/bin:/usr/pgsql-17/bin:$PATH PGDATA=/var/lib/citus/floor
initdb --username=postgres --encoding=UTF8 --locale=C.UTF-8 --data-checksums --auth=trust > /dev/null
echo 'host all all all trust' >> $PGDATA/pg_hba.conf
exec postgres -c listen_addresses='*' -c shared_preload_libraries=citus -c wal_level=logical -c ssl=off \\
    -c unix_socket_directories=/var/lib/citus -c citus.node_conninfo=sslmode=disable`;

/** @returns milliseconds from nothing to an answer from every node */
export async function floor(image: string, workers: number): Promise<number> {
    const id = `citus-floor-${randomBytes(3).toString("hex")}`;
    const label = `citus.floor=${id}`;
    const remove = undoLater(id, () => removeFromDocker(`label=${label}`));
    const nodes = ["coordinator", ...Array.from({ length: workers }, (_, i) => `worker-${i + 1}`)];
    const began = performance.now();
    await docker(["network", "create", "--label", label, id]);
    const ports = await Promise.all(nodes.map((node) => startNode(image, { id, label, node })));
    const [coordinator] = ports;
    if (coordinator === undefined) throw new Error("no coordinator");
    const register = [
        "SELECT citus_set_coordinator_host('coordinator', 5432)",
        ...nodes.slice(1).map((node) => `SELECT citus_add_node('${node}', 5432)`),
    ];
    await psql(coordinator, register.join(";"));
    const answers = await psql(coordinator, "SELECT count(*) FROM run_command_on_all_nodes('SELECT 1') WHERE success");
    const took = performance.now() - began;
    if (answers.split("\n").at(-1) !== String(nodes.length)) throw new Error(`the floor does not serve: ${answers}`);
    await remove();
    return took;
}

async function startNode(image: string, node: { id: string; label: string; node: string }): Promise<number> {
    const name = `${node.id}-${node.node}`;
    const container = await docker([
        ...["run", "--detach", "--name", name, "--label", node.label, "--network", node.id],
        ...["--network-alias", node.node, "--publish", "127.0.0.1::5432", "--volume", "/var/lib/citus"],
        ...["--entrypoint", "bash", image, "-c", SERVE],
    ]);
    const port = Number((await docker(["port", container, "5432/tcp"])).split(":").at(-1));
    await until(`${name} answering`, { limit: 60, every: 50 }, async () => {
        await psql(port, "CREATE EXTENSION IF NOT EXISTS citus");
        return true;
    });
    return port;
}

async function psql(port: number, sql: string): Promise<string> {
    const { stdout } = await run("psql", [
        ...["-h", "127.0.0.1", "-p", String(port), "-U", "postgres", "-d", "postgres"],
        ...["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql],
    ]);
    return stdout.trim();
}
