/** Groups of tenants on a test stack's cluster, without Pulumi: the same facets, the same order. */
import { mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { specOf, textOf } from "../components/config/tenants/project.ts";
import { readFindings } from "../core/reach/nodeFindings.ts";
import { connect, keepOpen } from "../core/reach/session.ts";
import { FACETS } from "../core/tenants/facets.ts";
import { converge, planAll, readGroup } from "../core/tenants/group/converge.ts";
import type { Context, Facet, NodeTarget, Step } from "../core/tenants/group/facet.ts";
import { withOnboarded } from "../core/tenants/group/onboarded.ts";
import { markOf, passwordOf, verifierOf } from "../core/tenants/group/passwords.ts";
import type { GroupSpec } from "../core/tenants/group/spec.ts";
import type { TestStack } from "./lib.ts";

// exports of tests need not outlive the runner that they are run on
delete process.env.CI;

export const SEED = "a seed that only tests know";

export const EMPTY: Omit<GroupSpec, "name" | "model"> = {
    tables: {},
    template: [],
    tenants: {},
    delete: [],
    allow: [],
    rowSecurity: true,
    rollout: { canary: 1, part: 0.1 },
    lockTimeout: 5000,
};

export interface Ran {
    readonly steps: readonly Step[];
    /** What was noted and warned of. */
    readonly said: readonly string[];
}

async function nodesOf(stack: TestStack): Promise<NodeTarget[]> {
    const { coordinator, workers } = await stack.outputs();
    return [{ name: "coordinator", ...coordinator }, ...workers].map(({ name, host, port }) => ({
        name,
        host: `${name}.citus-${stack.name}.node`,
        port: 5432,
        address: { host, port },
    }));
}

/** @param files contents of the group's template by path */
export async function withContext<T>(
    stack: TestStack,
    group: GroupSpec,
    files: Readonly<Record<string, string>>,
    use: (context: Context) => Promise<T>,
): Promise<{ result: T; said: string[] }> {
    const session = await connect(await stack.access(), "coordinator");
    const another = async (name: string, database?: string) => {
        const access = await stack.access(name);
        return connect(database ? { ...access, database } : access, name);
    };
    const kept = keepOpen(another);
    const said: string[] = [];
    const nodes = await nodesOf(stack);
    try {
        const result = await use({
            group,
            session,
            nodes,
            open: kept.open,
            another,
            shell: (name) => ({ kind: "docker", engine: "", container: stack.container(name) }),
            read: (path) => textOf(files[path] ?? readFileSync(path, "utf8")),
            verifier: (role) => ({ verifier: verifierOf(SEED, role), mark: markOf(SEED) }),
            exports: mkdtempSync(join(stack.dir, "exports-")),
            progress: () => undefined,
            note: (text) => said.push(text),
            warn: (text) => said.push(text),
            alive: () => undefined,
        });
        return { result, said };
    } finally {
        await kept.closeAll();
        await session.close();
    }
}

export const fileSpec = specOf;

/** What `pulumi up` does with a group. */
export async function settle(
    stack: TestStack,
    group: GroupSpec,
    files: Readonly<Record<string, string>> = {},
    facets: readonly Facet[] = FACETS[group.model],
): Promise<Ran> {
    const { result, said } = await withContext(stack, group, files, (context) =>
        converge(context, facets, markOf(SEED)),
    );
    return { steps: result, said };
}

/** What `pulumi preview` finds. @param files contents of the group's template by path */
export async function plan(
    stack: TestStack,
    group: GroupSpec,
    facets: readonly Facet[] = FACETS[group.model],
    files: Readonly<Record<string, string>> = {},
) {
    const read = (path: string) => files[path] ?? readFileSync(path, "utf8");
    const session = await stack.session();
    const free = async (name: string) =>
        (await readFindings({ kind: "docker", engine: "", container: stack.container(name) }))?.free;
    const kept = await withOnboarded(session, group);
    return planAll(
        kept,
        facets,
        await readGroup(session, kept, facets, markOf(SEED), await nodesOf(stack), read, free),
    );
}

export interface Client {
    query<T extends object = Record<string, unknown>>(sql: string, parameters?: readonly unknown[]): Promise<T[]>;
    close(): Promise<void>;
}

/**
 * A client of the application: as a role of a group, and with no settings of its own.
 * @param password @default the one that the role is given
 */
export async function as(
    stack: TestStack,
    role: string,
    node = "coordinator",
    database?: string,
    password = passwordOf(SEED, role),
): Promise<Client> {
    const access = await stack.access(node);
    const client = new pg.Client({
        host: access.host,
        port: access.port,
        user: role,
        password,
        database: database ?? access.database,
        ssl: { ca: access.ca, servername: access.serverName },
    });
    client.on("error", () => undefined);
    await client.connect();
    return {
        query: async <T extends object>(sql: string, parameters?: readonly unknown[]) =>
            (await client.query<T>(sql, parameters ? [...parameters] : undefined)).rows,
        close: () => client.end(),
    };
}
