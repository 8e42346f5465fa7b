/** A move of a tenant's database that ends anywhere, and what people do by hand before it is run again: no row is lost. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import { identity, type Move } from "../../../../core/tenants/databases/databaseFound.ts";
import { databasesOf, evacuate } from "../../../../core/tenants/databases/evacuate.ts";
import { moveDatabase } from "../../../../core/tenants/databases/moveDatabase.ts";
import { copyName, type MoveNode } from "../../../../core/tenants/databases/moveState.ts";

const NAME = { group: "clinics", tenant: "acme" };
const OWN = identity(NAME.group, NAME.tenant, 7);

interface Row {
    readonly node: string;
    readonly state: string;
    readonly epoch: number;
    readonly move: Move | null;
}

/** A database that a DROP DATABASE left which did not end. */
const INVALID = -2;

interface Database {
    limit: number;
    comment: string | null;
    rows: string[];
    /** Made by a person under whatever name. */
    foreign?: true;
}

/** Where a run ends or meets an error: at which of its operations, before it is done or after. */
interface Fault {
    readonly at: number;
    readonly after: boolean;
    /** `killed`: nothing is done from then on; `error`: that one fails; a node: whatever is asked of it from then on fails. */
    readonly kind: "killed" | "error" | "coordinator" | "worker-1" | "worker-2" | "none";
    /** What people do then. */
    readonly meanwhile?: () => void;
}

/** Three nodes and a ledger, as far as a move knows them. */
class World {
    readonly nodes: Record<string, Map<string, Database>> = {
        coordinator: new Map(),
        "worker-1": new Map(),
        "worker-2": new Map(),
    };
    readonly ledgers: Record<string, Row> = {};
    /** What a copy would not have. */
    held: string[] = [];
    operations = 0;
    private fault: Fault | undefined;
    private broken = false;

    constructor(...others: string[]) {
        for (const tenant of ["acme", ...others]) {
            const comment = identity(NAME.group, tenant, 7);
            this.at("worker-1").set(tenant, { limit: 7, comment, rows: [`${tenant} 1`, `${tenant} 2`] });
            this.ledgers[tenant] = { node: "worker-1", state: "active", epoch: 7, move: null };
        }
    }

    get ledger(): Row {
        const { acme } = this.ledgers;
        assert.ok(acme);
        return acme;
    }

    note(change: Partial<Row>): void {
        this.ledgers.acme = { ...this.ledger, ...change };
    }

    at(node: string): Map<string, Database> {
        const databases = this.nodes[node];
        assert.ok(databases, `no node ${node}`);
        return databases;
    }

    /** The tenant's database on a node, by its name. */
    get(node: string, name = "acme"): Database | undefined {
        return this.at(node).get(name);
    }

    all(): Database[] {
        return Object.values(this.nodes).flatMap((databases) => [...databases.values()]);
    }

    /** Every row that is anywhere. */
    rows(): string[] {
        return [...new Set(this.all().flatMap(({ rows }) => rows))].sort();
    }

    private act<T>(node: string, effect: () => T): T {
        this.operations++;
        const fault = this.fault;
        const hit = fault?.at === this.operations;
        if (fault && !hit && this.broken && (fault.kind === "killed" || fault.kind === node))
            throw new Error(`${node}: lost`);
        if (!fault || !hit) return effect();
        fault.meanwhile?.();
        if (fault.kind === "none") return effect();
        this.broken = true;
        if (fault.after) effect();
        throw new Error(`${node}: lost`);
    }

    private session(node: string, answer: (sql: string, parameters: readonly unknown[]) => object[]): Session {
        return {
            node,
            query: async <T extends object>(sql: string, parameters: readonly unknown[] = []) => {
                const dropped = /^DROP DATABASE "?(\w+)"? WITH \(FORCE\)$/.exec(sql)?.[1];
                return (dropped === undefined
                    ? this.act(node, () => answer(sql, parameters))
                    : this.drop(node, dropped)) as object[] as T[];
            },
            certificateEnds: () => undefined,
            close: async () => undefined,
        };
    }

    /** As PostgreSQL does it: marked in a transaction of its own, and gone after that. */
    private drop(node: string, name: string): object[] {
        this.act(node, () => {
            const database = this.get(node, name);
            if (database) database.limit = INVALID;
        });
        this.act(node, () => this.at(node).delete(name));
        return [];
    }

    private readonly coordinator = this.session("coordinator", (sql, parameters) => {
        if (/to_regclass|pg_try_advisory_lock/.test(sql)) return [{ ok: true }];
        if (/pg_advisory_unlock/.test(sql)) return [];
        if (/FROM pg_dist_node/.test(sql))
            return Object.keys(this.nodes).map((node, groupId) => ({
                host: `${node}.citus-t.node`,
                port: 5432,
                groupId,
            }));
        if (/model = 'database'/.test(sql))
            return Object.entries(this.ledgers).map(([tenant, { node, move }]) => ({
                group: NAME.group,
                tenant,
                node,
                from: move?.from ?? null,
                to: move?.to ?? null,
            }));
        const [, tenant, node, move] = parameters as [string, string, string, string | null];
        const row = this.ledgers[tenant];
        assert.ok(row, sql);
        if (/^SELECT .* FROM citus_as_code.tenant /s.test(sql)) return [{ ...row }];
        if (/^UPDATE citus_as_code.tenant /.test(sql)) {
            this.ledgers[tenant] = { ...row, node, move: move === null ? null : JSON.parse(move) };
            return [{ tenant }];
        }
        throw new Error(`not known here: ${sql}`);
    });

    private server(node: string, sql: string, parameters: readonly unknown[]): object[] {
        const databases = this.at(node);
        const named = (pattern: RegExp): [string, string[]] | undefined => {
            const match = pattern.exec(sql);
            return match ? [match[1] ?? "", match.slice(2)] : undefined;
        };
        if (/pg_terminate_backend/.test(sql)) return [{ n: 0 }];
        if (/pg_prepared_xacts/.test(sql)) return this.held.map((what) => ({ what }));
        if (/pg_db_role_setting/.test(sql)) {
            const comment = databases.get(String(parameters[0]))?.comment;
            return [{ statement: `COMMENT ON DATABASE ${parameters[1]} IS '${comment ?? ""}'` }];
        }
        if (/FROM pg_database WHERE datname = \$1/.test(sql)) {
            const found = databases.get(String(parameters[0]));
            return found ? [{ limit: found.limit, comment: found.comment }] : [];
        }
        const renamed = named(/RENAME TO "?(\w+)"?/);
        const limited = named(/ALTER DATABASE "?(\w+)"? CONNECTION LIMIT (-?\d+)/);
        assert.ok(limited, `not known here: ${sql}`);
        const [name, [limit]] = limited;
        const database = databases.get(name);
        if (!database) throw new Error(`database "${name}" does not exist`);
        if (database.limit === INVALID) throw new Error(`cannot alter invalid database "${name}"`);
        if (renamed && databases.has(renamed[0])) throw new Error(`database "${renamed[0]}" already exists`);
        database.limit = Number(limit);
        if (!renamed) return [];
        database.comment = named(/COMMENT ON DATABASE "?(\w+)"? IS '(.*?)'/)?.[1][0] ?? null;
        databases.delete(name);
        databases.set(renamed[0], database);
        return [];
    }

    private script(node: string, [script, action, ...args]: readonly string[]) {
        const databases = this.at(node);
        const print = (where: string, name: string) => {
            const found = this.get(where, name);
            if (!found) throw new Error(`database "${name}" does not exist`);
            if (found.limit === INVALID) throw new Error(`FATAL: cannot connect to invalid database "${name}"`);
            return createHash("sha256")
                .update([...found.rows].sort().join())
                .digest("hex");
        };
        const drop = (copy: string, mark: string | undefined) => {
            const found = databases.get(copy);
            const refused = found && found.comment !== mark && !(found.comment === null && found.rows.length === 0);
            if (refused) return { code: 4, stdout: "", stderr: `${copy} is not a copy of this move` };
            this.drop(node, copy);
            return undefined;
        };
        assert.equal(script, "copy-database.sh");
        if (action === "print") {
            const [name = "", host = node] = args;
            return this.act(host, () => ({ code: 0, stdout: `${print(host, name)}\n`, stderr: "" }));
        }
        if (action === "drop") return drop(args[0] ?? "", args[1]) ?? { code: 0, stdout: "", stderr: "" };
        assert.equal(action, "copy");
        const [host = "", , name = "", copy = "", mark = null] = args;
        const refused = drop(copy, mark ?? undefined);
        if (refused) return refused;
        const made: Database = { limit: 0, comment: null, rows: [] };
        this.act(node, () => databases.set(copy, made));
        this.act(node, () => {
            made.comment = mark;
        });
        this.act(node, () => {
            made.rows = [...(this.get(host, name)?.rows ?? [])];
        });
        if (print(host, name) !== print(node, copy)) {
            this.drop(node, copy);
            return { code: 6, stdout: "", stderr: "< table" };
        }
        const stdout = `bytes=100\nsource=${print(host, name)}\ncopy=${print(node, copy)}\n`;
        return this.act(node, () => ({ code: 0, stdout, stderr: "" }));
    }

    private readonly node = (name: string): MoveNode => {
        if (!this.nodes[name]) throw new Error(`there is no node ${name}`);
        const open = async () => this.session(name, (sql, parameters) => this.server(name, sql, parameters));
        return {
            name,
            host: name,
            port: 5432,
            server: open,
            open: async (database) =>
                this.session(name, () => [{ found: (this.get(name, database)?.rows.length ?? 0) > 0 }]),
            run: async (script) => this.script(name, script),
        };
    };

    private begin(fault: Fault | undefined): void {
        this.fault = fault;
        this.broken = false;
        this.operations = 0;
    }

    /** Worker-1 leaves. */
    async evacuate(fault?: Fault): Promise<string[]> {
        this.begin(fault);
        return evacuate(this.coordinator, {
            wanted: [{ host: "worker-2.citus-t.node" }],
            node: ({ name }) => this.node(name),
            progress: () => undefined,
            alive: () => undefined,
        });
    }

    async move(fault?: Fault, to = "worker-2"): Promise<string> {
        this.begin(fault);
        return moveDatabase(this.coordinator, NAME, to, { node: this.node, progress: () => undefined });
    }
}

/** The name of the copy. */
const copyOf = (world: World) => [...world.at("worker-2").keys()].find((name) => name !== "acme");

const write = (database: Database | undefined, row: string, limit = -1) => {
    if (!database || database.limit === INVALID) return false;
    database.limit = limit;
    database.rows.push(row);
    return true;
};

const foreign = (world: World, node: string, more: Partial<Database> = {}) => {
    world.at(node).set("acme", { limit: -1, comment: null, rows: ["theirs"], foreign: true, ...more });
    return true;
};

/** What people do between two runs. @returns false where it can't be done */
const BY_HAND: Record<string, (world: World) => boolean> = {
    nothing: () => true,
    "let clients in at the source": (world) => write(world.get("worker-1"), "source"),
    "let clients in at the source, and close it again": (world) => write(world.get("worker-1"), "source", 0),
    "write at the target": (world) => write(world.get("worker-2"), "target", 7),
    "write at both": (world) =>
        world.get("worker-2") !== undefined &&
        write(world.get("worker-1"), "source") &&
        write(world.get("worker-2"), "target", 7),
    "make another at the source": (world) => world.get("worker-2") !== undefined && foreign(world, "worker-1"),
    "make another at the source, closed": (world) =>
        world.get("worker-2") !== undefined && foreign(world, "worker-1", { limit: 0 }),
    "make another at the target": (world) =>
        world.get("worker-2") === undefined && world.ledger.node === "worker-1" && foreign(world, "worker-2"),
    "drop the copy": (world) => world.at("worker-2").delete(copyOf(world) ?? ""),
    "fill a database of the copy's name": (world) => {
        const copy = copyOf(world);
        if (copy) world.at("worker-2").set(copy, { limit: -1, comment: "kept", rows: ["theirs"], foreign: true });
        return copy !== undefined;
    },
};

/** Runs it again. @returns why it was refused */
async function again(world: World): Promise<Error | undefined> {
    return world.move().then(
        () => undefined,
        (error: Error) => error,
    );
}

/** What there is to be kept. */
function seen(world: World) {
    const { move, node } = world.ledger;
    return {
        rows: world.rows(),
        theirs: world.all().filter((database) => database.foreign),
        limit: move?.limit ?? world.get(node)?.limit,
    };
}

function check(world: World, before: ReturnType<typeof seen>, error: Error | undefined, what: string) {
    const said = `${what} (${error?.message ?? "done"})`;
    const { rows, theirs, limit } = before;
    assert.deepEqual(world.rows(), rows, `${said}: rows are lost`);
    assert.deepEqual(
        world.all().filter((database) => database.foreign),
        theirs,
        `${said}: somebody's database is gone`,
    );
    if (error) return;
    assert.deepEqual([world.ledger.node, world.ledger.move], ["worker-2", null], said);
    const [served, ...others] = world.all().filter((database) => !database.foreign);
    assert.deepEqual([others, served], [[], world.get("worker-2")], `${said}: something is left`);
    assert.deepEqual(
        { ...served, rows: served?.rows.toSorted() },
        { limit, comment: OWN, rows: rows.filter((row) => row !== "theirs") },
        `${said}: it is not whole and open`,
    );
}

/** A run that meets a fault, then people, then two runs more. @returns whether there was anything for people to do */
async function stopped(fault: Fault, hand: string, act: (world: World) => boolean): Promise<boolean> {
    const world = new World();
    await world.move(fault).catch(() => undefined);
    const what = `${fault.after ? "after" : "before"} operation ${fault.at}, ${JSON.stringify(world.ledger)}`;
    if (!act(world)) return false;
    const before = seen(world);
    const error = await again(world);
    check(world, before, error, what);
    check(world, before, await again(world), `${what}, twice`);
    if (["nothing", "drop the copy"].includes(hand) || hand.startsWith("let clients in"))
        assert.equal(error, undefined, what);
    return true;
}

describe.concurrent("a move of a database", () => {
    const operations = async () => {
        const world = new World();
        await world.move();
        return world.operations;
    };

    test("ends with the database, whole and open, on the other node alone", async () => {
        const world = new World();
        assert.match(
            await world.move(),
            /^acme: its database moved from worker-1 to worker-2; nobody could use it for/,
        );
        check(world, { rows: ["acme 1", "acme 2"], theirs: [], limit: 7 }, undefined, "plain");
        assert.equal(await world.move(), "acme: its database is on worker-2");
    });

    for (const kind of ["killed", "error", "coordinator", "worker-1", "worker-2"] as const) {
        for (const [hand, act] of Object.entries(BY_HAND)) {
            test(`loses no row: ${kind} anywhere, then by hand: ${hand}`, async () => {
                const faults = Array.from({ length: await operations() }, (_, i) => i + 1).flatMap((at) =>
                    [false, true].map((after): Fault => ({ at, after, kind })),
                );
                const tried = await Promise.all(faults.map((fault) => stopped(fault, hand, act)));
                assert.ok(tried.includes(true));
            });
        }
    }

    /** A world in which a run ended before the first operation after which the ledger says so. */
    async function endedAt(phase: Move["phase"]): Promise<World> {
        for (let at = 1; ; at++) {
            const world = new World();
            await world.move({ at, after: true, kind: "killed" }).catch(() => undefined);
            if (world.ledger.move?.phase === phase) return world;
            assert.ok(at < 100, phase);
        }
    }

    /** What it is refused with; nothing is another than before. */
    async function refused(world: World, pattern: RegExp, to = "worker-2"): Promise<void> {
        const before = structuredClone([world.nodes, world.ledgers]);
        await assert.rejects(world.move(undefined, to), pattern);
        assert.deepEqual([world.nodes, world.ledgers], before);
    }

    for (const limit of [-1, 0]) {
        test(`loses no row that is written while it runs, by who let clients in (limit ${limit} afterwards)`, async () => {
            // all but the last three: the old one is dropped, and that is written down
            const ends = await Promise.all(
                Array.from({ length: (await operations()) - 3 }, async (_, i) => {
                    const world = new World();
                    const rows = world.rows();
                    const meanwhile = () => {
                        if (write(world.get("worker-1"), "meanwhile", limit)) rows.push("meanwhile");
                    };
                    const fault: Fault = { at: i + 1, after: false, kind: "none", meanwhile };
                    const first = await world.move(fault).catch((error: Error) => error.message);
                    assert.deepEqual(world.rows(), rows, `${fault.at}: ${first}`);
                    assert.equal(await again(world), undefined, `${fault.at}: ${first}`);
                    assert.deepEqual(world.get("worker-2")?.rows.toSorted(), rows, `${fault.at}: ${first}`);
                    return rows.length;
                }),
            );
            assert.deepEqual([...new Set(ends)], [3]);
        });
    }

    test("whose copy is not what was verified any more copies again", async () => {
        const world = await endedAt("switch");
        const copied = world.get("worker-2", copyName(NAME));
        assert.ok(copied);
        copied.rows = [];
        await world.move();
        assert.deepEqual([world.ledger.node, world.get("worker-2")?.rows], ["worker-2", ["acme 1", "acme 2"]]);
    });

    test("lets clients in again after a fault only while it holds the lock: another run may be moving it by then", async () => {
        let closed = 0;
        for (let at = 1; at <= (await operations()); at++) {
            const killed = new World();
            await killed.move({ at, after: false, kind: "killed" }).catch(() => undefined);
            if (killed.ledger.move?.phase !== "copy" || killed.get("worker-1")?.limit !== 0) continue;
            closed++;
            const lost = new World();
            await assert.rejects(
                lost.move({ at, after: false, kind: "coordinator" }),
                /It is whole on worker-1, and takes no connections\. Run pulumi up again/,
            );
            assert.equal(lost.get("worker-1")?.limit, 0);
            const away = new World();
            await assert.rejects(
                away.move({ at, after: false, kind: "worker-2" }),
                /It is served on worker-1 as before/,
            );
            assert.equal(away.get("worker-1")?.limit, 7);
        }
        assert.ok(closed > 3, String(closed));
    });

    test("that left both databases written to is refused with both named, whichever the ledger names", async () => {
        for (const phase of ["switch", "drop"] as const) {
            const world = await endedAt(phase);
            if (phase === "switch") {
                // switched, and not written down
                const other = await endedAt("drop");
                Object.assign(world.nodes, other.nodes);
            }
            write(world.get("worker-1"), "source");
            write(world.get("worker-2"), "target", 7);
            await refused(
                world,
                /clinics\/acme: .*both were written to: acme on worker-1 and acme on worker-2\.\nBoth are kept/,
            );
        }
    });

    test("copies again, whatever the ledger names, when only the original was written to", async () => {
        for (const phase of ["switch", "drop"] as const) {
            const world = await endedAt(phase);
            write(world.get("worker-1"), "source");
            await world.move();
            assert.deepEqual(world.get("worker-2")?.rows, ["acme 1", "acme 2", "source"]);
            assert.deepEqual(
                [world.get("worker-1"), world.ledger.node, world.ledger.move],
                [undefined, "worker-2", null],
            );
        }
    });

    test("that copies again loses no row, wherever it is killed while it drops what it had switched to", async () => {
        const faults = Array.from({ length: 60 }, (_, i) => i + 1).flatMap((at) =>
            [false, true].map((after): Fault => ({ at, after, kind: "killed" })),
        );
        const killed = await endedAt("drop");
        const phases = await Promise.all(
            faults.map(async (fault) => {
                const world = new World();
                Object.assign(world.nodes, structuredClone(killed.nodes));
                world.note(killed.ledger);
                write(world.get("worker-1"), "source");
                const ended = await world.move(fault).then(
                    () => "ended",
                    () => world.ledger.move?.phase,
                );
                await world.move();
                const said = `${fault.after ? "after" : "before"} operation ${fault.at}`;
                assert.deepEqual([world.ledger.node, world.ledger.move], ["worker-2", null], said);
                assert.deepEqual(world.all(), [{ limit: 7, comment: OWN, rows: ["acme 1", "acme 2", "source"] }], said);
                return ended;
            }),
        );
        for (const phase of ["drop", "switch", "copy", "ended"]) assert.ok(phases.includes(phase), phase);
    });

    test("whose old database is dropped half-way ends: it is dropped", async () => {
        const world = await endedAt("drop");
        Object.assign(world.get("worker-1") ?? assert.fail(), { limit: INVALID, rows: ["half"] });
        assert.equal(await world.move(), "acme: its old database on worker-1 is gone");
        assert.deepEqual([world.ledger.node, world.ledger.move], ["worker-2", null]);
        assert.deepEqual(world.all(), [{ limit: 7, comment: OWN, rows: ["acme 1", "acme 2"] }]);
    });

    test("touches nothing when a database that it needs is dropped half-way, and says what is left", async () => {
        const half = (world: World, node: string) => {
            Object.assign(world.get(node) ?? assert.fail(), { limit: INVALID });
            return world;
        };
        await refused(
            half(new World(), "worker-1"),
            /^Error: clinics\/acme: a DROP DATABASE of its database on worker-1 was begun and not ended.*can only be dropped\.\nNothing was changed\. .*restore clinics\/acme FILE/,
        );
        await refused(
            half(await endedAt("copy"), "worker-1"),
            /clinics\/acme: .*a DROP DATABASE of the one on worker-1 was begun and not ended/,
        );
        await refused(
            half(await endedAt("switch"), "worker-1"),
            /a DROP DATABASE of the one on worker-1 was begun and not ended.*\n.*\n.*\nThe copy \w+ on worker-2 has what was in it/,
        );
        await refused(
            half(await endedAt("drop"), "worker-2"),
            /its database moved to worker-2 and a DROP DATABASE of it there was begun and not ended\.\nThe old one on worker-1 is kept\. It takes no connections, /,
        );
        await refused(
            half(half(await endedAt("drop"), "worker-2"), "worker-1"),
            /a DROP DATABASE of it there was begun and not ended, and the old one on worker-1 is gone too/,
        );
    });

    test("of a database that is dropped while it is copied says so, not that it is whole", async () => {
        for (const end of ["gone", "half"]) {
            let told = 0;
            for (let at = 1; at <= (await operations()); at++) {
                const world = new World();
                const meanwhile = () => {
                    if (world.ledger.move?.phase !== "copy") return;
                    if (end === "gone") world.at("worker-1").delete("acme");
                    else Object.assign(world.get("worker-1") ?? {}, { limit: INVALID });
                };
                const fault: Fault = { at, after: false, kind: "none", meanwhile };
                const said = await world.move(fault).catch((error: Error) => error.message);
                if (world.ledger.move?.phase !== "copy") continue;
                told++;
                assert.doesNotMatch(said, /It is whole|It is served/, String(at));
                assert.match(said, end === "gone" ? /the one on worker-1 is gone/ : /not ended/, String(at));
            }
            assert.ok(told > 3, String(told));
        }
    });

    test("of a deleted tenant whose database is dropped half-way is given up, so that its deletion goes on", async () => {
        for (const to of ["worker-2", "worker-1", "coordinator"]) {
            const world = await endedAt("copy");
            world.note({ state: "deleting" });
            Object.assign(world.get("worker-1") ?? assert.fail(), { limit: INVALID });
            assert.equal(
                await world.move(undefined, to),
                "acme: a DROP DATABASE of its database on worker-1 was begun and not ended. It is not moved: its deletion drops what is left",
            );
            assert.deepEqual([world.ledger.node, world.ledger.move], ["worker-1", null]);
            assert.deepEqual(
                world.all().map(({ limit, comment }) => [limit, comment]),
                [[INVALID, OWN]],
            );
        }
    });

    test("that was killed by a program that wrote no print down copies again", async () => {
        const world = await endedAt("switch");
        const { print: _, ...move } = world.ledger.move ?? assert.fail();
        world.note({ move });
        await world.move();
        assert.deepEqual([world.ledger.node, world.get("worker-2")?.rows], ["worker-2", ["acme 1", "acme 2"]]);
    });

    test("that was switched by a program that wrote no print down ends when both databases are the same, else keeps both", async () => {
        const killed = await endedAt("drop");
        const { print: _, ...move } = killed.ledger.move ?? assert.fail();
        for (const phase of ["switch", "drop"] as const) {
            for (const node of [undefined, "worker-1", "worker-2"]) {
                const world = new World();
                Object.assign(world.nodes, structuredClone(killed.nodes));
                world.note({ move: { ...move, phase }, node: phase === "switch" ? "worker-1" : "worker-2" });
                if (node === undefined) {
                    await world.move();
                    assert.deepEqual([world.ledger.node, world.ledger.move], ["worker-2", null]);
                    assert.deepEqual(world.all(), [{ limit: 7, comment: OWN, rows: ["acme 1", "acme 2"] }]);
                    continue;
                }
                write(world.get(node), "since", node === "worker-1" ? 0 : 7);
                await refused(
                    world,
                    /^Error: clinics\/acme: .* begun by an older version, which did not write down what it copied: acme on worker-1 and acme on worker-2 differ, and it can't be known which was written to since\.\nBoth are kept as they are\./,
                );
            }
        }
    });

    test("touches no database that is not the tenant's, and names it", async () => {
        const begun = new World();
        foreign(begun, "worker-1");
        await refused(
            begun,
            /^Error: clinics\/acme: the database acme on worker-1 is not the one .* it has no comment\./,
        );
        const taken = new World();
        foreign(taken, "worker-2");
        await refused(taken, /^Error: clinics\/acme: worker-2 has a database acme that is not its own/);
        for (const phase of ["copy", "switch", "drop"] as const) {
            const world = await endedAt(phase);
            foreign(world, "worker-1", { limit: 0, comment: "citus_as_code: labs/acme, epoch 7" });
            await refused(world, /the database acme on worker-1 is not the one .* its comment is "citus_as_code: labs/);
        }
        for (const phase of ["switch", "drop"] as const) {
            const world = await endedAt(phase);
            foreign(world, "worker-2");
            await refused(world, /the database acme on worker-2 is not the one/);
        }
        const elsewhere = await endedAt("copy");
        foreign(elsewhere, "worker-1");
        await refused(elsewhere, /the database acme on worker-1 is not the one/, "coordinator");
    });

    test("leaves a database of the copy's name alone when nothing says that it is one, and the tenant served", async () => {
        const world = new World();
        const theirs: Database = { limit: 0, comment: null, rows: ["theirs"], foreign: true };
        world.at("worker-2").set(copyName(NAME), theirs);
        await assert.rejects(
            world.move(),
            /is not a copy of this move\nIt is served on worker-1 as before\. Remove the cause/,
        );
        assert.deepEqual([world.get("worker-1")?.limit, world.ledger.move], [7, null]);
        assert.equal(world.get("worker-2", copyName(NAME)), theirs);
    });

    test("leaves a database that is full alone, also when it looks as if a killed run were making it", async () => {
        for (const [rows, done] of [
            [["theirs"], false],
            [[], true],
        ] as const) {
            const world = new World();
            foreign(world, "worker-1", { limit: 0, rows: [...rows] });
            await refused(world, /not the one that was made for it/);
            world.note({ state: "creating" });
            if (done) assert.equal(await world.move(), "acme: its database will be made on worker-2");
            else await refused(world, /not the one that was made for it/);
            assert.equal(world.get("worker-1") === undefined, done);
        }
    });

    test("is refused while the database has what a copy would not have, also when that came later", async () => {
        const world = new World();
        world.held = ["prepared transaction t1", "subscription s1"];
        await refused(
            world,
            /acme: its database on worker-1 has what no copy takes along: prepared transaction t1, subscription s1\./,
        );
        const later = await endedAt("copy");
        later.held = ["replication slot r1"];
        await assert.rejects(later.move(), /replication slot r1.*\nIt is served on worker-1 as before/s);
        assert.deepEqual([later.get("worker-1")?.limit, later.ledger.move], [7, null]);
    });

    for (const phase of ["copy", "switch"] as const) {
        test(`to a node that left the cluster is given up in phase ${phase}, and the database served`, async () => {
            for (const to of ["worker-1", "worker-2"]) {
                const world = await endedAt(phase);
                delete world.nodes["worker-2"];
                assert.match(
                    await world.move(undefined, to),
                    /^acme: moving its database to worker-2, which is not in the cluster any more, was given up: it is served on worker-1/,
                );
                assert.deepEqual([world.ledger.node, world.ledger.move], ["worker-1", null], to);
                assert.deepEqual(world.get("worker-1"), { limit: 7, comment: OWN, rows: ["acme 1", "acme 2"] });
            }
        });

        test(`to a node that left the cluster in phase ${phase} begins anew to the one that is named`, async () => {
            const world = await endedAt(phase);
            delete world.nodes["worker-2"];
            assert.match(
                await world.move(undefined, "coordinator"),
                /was given up: .*\nacme: its database moved from worker-1 to coordinator;/,
            );
            assert.deepEqual([world.ledger.node, world.ledger.move], ["coordinator", null]);
            assert.deepEqual(world.all(), [{ limit: 7, comment: OWN, rows: ["acme 1", "acme 2"] }]);
        });

        test(`whose source left the cluster in phase ${phase} is refused with what to do`, async () => {
            const world = await endedAt(phase);
            delete world.nodes["worker-1"];
            await refused(
                world,
                /^Error: clinics\/acme: .* worker-1, which has it, is not in the cluster any more\.\nNo database was touched\. Register worker-1 again/,
            );
        });
    }

    test("after which the new node left the cluster keeps the old database, and says how to let it in", async () => {
        for (const to of ["worker-2", "worker-1", "coordinator"]) {
            const world = await endedAt("drop");
            delete world.nodes["worker-2"];
            await refused(
                world,
                /^Error: clinics\/acme: its database moved to worker-2 and worker-2 is not in the cluster any more\.\nThe old one on worker-1 is kept\. It takes no connections, .*\n.*CONNECTION LIMIT 7;.*\n {2}UPDATE citus_as_code\.tenant SET node = 'worker-1', detail = detail - 'move' WHERE/,
                to,
            );
        }
    });

    test("after which the old node left the cluster ends with the new database", async () => {
        for (const to of ["worker-2", "coordinator"]) {
            const world = await endedAt("drop");
            delete world.nodes["worker-1"];
            assert.match(
                await world.move(undefined, to),
                /^acme: its old database was on worker-1, which is not in the cluster any more, and was not dropped\nacme: its database/,
            );
            assert.deepEqual([world.ledger.node, world.ledger.move], [to, null]);
            assert.deepEqual(world.all(), [{ limit: 7, comment: OWN, rows: ["acme 1", "acme 2"] }]);
        }
    });
});

describe("a worker that leaves", () => {
    test("hands over every database, and says which one it could not, after those that it did", async () => {
        const all = new World("beta");
        assert.equal((await all.evacuate()).length, 2);
        assert.deepEqual([[...all.at("worker-1").keys()], [...all.at("worker-2").keys()]], [[], ["acme", "beta"]]);
        const { operations } = all;
        const kinds = ["error", "worker-1", "worker-2", "coordinator"] as const;
        const faults = Array.from({ length: operations }, (_, i) =>
            kinds.map((kind): Fault => ({ at: i + 1, after: false, kind })),
        ).flat();
        const named = await Promise.all(
            faults.map(async (fault) => {
                const world = new World("beta");
                const rows = world.rows();
                const said = await world.evacuate(fault).then(String, (error: Error) => error.message);
                assert.deepEqual(world.rows(), rows, said);
                await world.evacuate();
                assert.deepEqual(world.rows(), rows, said);
                assert.deepEqual([...world.at("worker-2").keys()].sort(), ["acme", "beta"], said);
                assert.equal(world.at("worker-1").size, 0, said);
                return /\nworker-1 stays until its tenants' databases are elsewhere: ([01]) of 2 are\.$/.exec(
                    said,
                )?.[1];
            }),
        );
        assert.deepEqual([...new Set(named)].sort(), ["0", "1", undefined]);
    });

    test("stays while a database of a tenant's name there is somebody else's", async () => {
        const world = new World("beta");
        foreign(world, "worker-1");
        await assert.rejects(
            world.evacuate(),
            /the database acme on worker-1 is not the one .*\nworker-1 stays until its tenants' databases are elsewhere: 0 of 2 are\./s,
        );
        assert.deepEqual(world.get("worker-1")?.rows, ["theirs"]);
    });

    test("stays while a database there is dropped half-way by the deletion of its tenant, and hands over the others", async () => {
        for (const begun of [false, true]) {
            const world = new World("beta");
            world.note({ state: "deleting" });
            // what a program that did not look left
            if (begun)
                world.note({ move: { from: "worker-1", to: "worker-2", phase: "copy", limit: INVALID, fenced: 1 } });
            Object.assign(world.get("worker-1") ?? assert.fail(), { limit: INVALID });
            await assert.rejects(world.evacuate(), (error: Error) => {
                assert.match(
                    error.message,
                    /acme: a DROP DATABASE of its database on worker-1 was begun and not ended\. .*\nworker-1 stays until its tenants' databases are elsewhere: 1 of 2 are\. Keep worker-1 until a pulumi up has ended the deletion of acme\. Take it away after that\.$/s,
                );
                assert.doesNotMatch(error.message, /whole|served/);
                return true;
            });
            assert.deepEqual([world.ledger.node, world.ledger.move], ["worker-1", null]);
            assert.equal(world.get("worker-1")?.limit, INVALID);
            assert.deepEqual([world.ledgers.beta?.node, [...world.at("worker-2").keys()]], ["worker-2", ["beta"]]);
        }
    });

    test("goes on when a tenant's database is gone already, and says so", async () => {
        const world = new World();
        world.at("worker-1").delete("acme");
        assert.deepEqual(await world.evacuate(), [
            "acme: its database should be on worker-1 and is gone; it is looked for on worker-2 now",
        ]);
    });

    test("can leave with the databases of its tenants and copies of them that are dropped before, and no other", () => {
        const row = { group: "clinics", tenant: "acme", node: "worker-1", from: "worker-1", to: "worker-3" };
        assert.deepEqual(databasesOf([{ node: "worker-3", tenants: [row] }]), ["acme", copyName(NAME)]);
    });
});
