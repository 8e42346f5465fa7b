/** Deletions of tenants that are killed anywhere, and what they meet when they go on. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, it } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import type { Prints } from "../../../../core/tenants/data/checksum.ts";
import { identity } from "../../../../core/tenants/databases/databaseFound.ts";
import { readExport } from "../../../../core/tenants/exports/readExport.ts";
import type { Context } from "../../../../core/tenants/group/facet.ts";
import type { GroupSpec, Model } from "../../../../core/tenants/group/spec.ts";
import { removalWith } from "../../../../core/tenants/removal/removal.ts";
import { EMPTY } from "../../../tenants.ts";

const dir = mkdtempSync(join(tmpdir(), "citus-removal-test-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

type Tables = Record<string, string[]>;

interface Detail {
    was?: string;
    exported?: string;
    earlier?: string[];
    dropped?: boolean;
    [more: string]: unknown;
}

interface World {
    ledger: { state: string; node: string | null; detail: Detail } | undefined;
    tombstone: boolean;
    role: boolean;
    /** Of acme, wherever its model has them; those of a schema or database are undefined when that is gone. */
    data: Tables | undefined;
    database: { comment: string | null; limit: number };
}

const groupOf = (model: Model, tenant = "acme"): GroupSpec => ({
    ...EMPTY,
    name: "clinics",
    model,
    delete: [tenant],
    tables:
        model === "row"
            ? { users: { kind: "distributed", column: "tenant" }, notes: { kind: "distributed", column: "tenant" } }
            : {},
});

/** As the database's: the sum of what each row is hashed to. */
const print = (rows: readonly string[]) => ({
    count: String(rows.length),
    sum: String(rows.reduce((sum, row) => sum + createHash("md5").update(row).digest().readBigInt64BE(), 0n)),
});

const printsOf = (data: Tables): Prints =>
    Object.fromEntries(Object.entries(data).map(([table, rows]) => [table, print(rows)]));

const dropping = /^DROP DATABASE/;

/** A cluster with one tenant, as far as its deletion asks; it can be killed before or after any of its statements. */
class Cluster {
    readonly model: Model;
    world: World;
    private before: World | undefined;
    private asked = 0;
    private dead = false;
    kill: { at: number; when: "before" | "after" } | undefined;
    readonly said: string[] = [];
    readonly ran: string[] = [];
    readonly tenant: string;
    /** How users and notes reference each other. */
    circle: "cascade" | "no action" | undefined;
    /** Whether a trigger keeps rows from being deleted. */
    kept = false;
    unasked: { node: string; why: string | null }[] = [];

    constructor(model: Model, tenant = "acme") {
        this.model = model;
        this.tenant = tenant;
        this.world = {
            ledger: { state: "active", node: model === "database" ? "worker-1" : null, detail: { epoch: 7 } },
            tombstone: false,
            role: true,
            data: { users: ["ann", "bob"], notes: ["one", "two", "three"] },
            database: { comment: identity("clinics", "acme", 7), limit: -1 },
        };
    }

    /** Statements that it took. */
    get statements(): number {
        return this.asked;
    }

    /** A new process, which can't be killed. */
    again(): this {
        this.asked = 0;
        this.dead = false;
        this.kill = undefined;
        this.said.length = 0;
        return this;
    }

    private die(): never {
        this.dead = true;
        // the server ends what its client does not
        if (this.before) this.world = this.before;
        this.before = undefined;
        throw new Error("killed");
    }

    readonly session: Session = {
        node: "coordinator",
        query: async <T extends object>(sql: string, parameters: readonly unknown[] = []) => {
            if (this.dead) throw new Error("killed");
            this.asked++;
            this.ran.push(sql);
            const now = this.kill?.at === this.asked ? this.kill.when : undefined;
            if (now === "before") this.die();
            const answer = this.answer(sql.trim(), parameters) as T[];
            if (now === "after") this.die();
            return answer;
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };

    private answer(sql: string, parameters: readonly unknown[]): object[] {
        const { world } = this;
        const rows = this.model === "row";
        const table = /"(users|notes)"/.exec(sql)?.[1] ?? "";
        const own = world.data?.[table] ?? [];
        const names = Object.keys(world.data ?? {});
        if (sql === "BEGIN") this.before = structuredClone(world);
        else if (sql === "COMMIT") this.before = undefined;
        else if (sql === "ROLLBACK") {
            if (this.before) this.world = this.before;
            this.before = undefined;
        } else if (/^SELECT \(SELECT c\.grp/.test(sql)) return [{ by: null }];
        else if (/^SELECT (model, )?state, node, detail FROM citus_as_code\.tenant/.test(sql))
            return world.ledger ? [structuredClone(world.ledger)] : [];
        else if (/^SELECT node FROM citus_as_code\.tenant/.test(sql)) return [{ node: world.ledger?.node }];
        else if (/^INSERT INTO citus_as_code\.tenant AS t/.test(sql)) {
            const { exported, sha256, prints, earlier, dropped, ...rest } = world.ledger?.detail ?? {};
            const { state = "creating", node = null, detail = {} } = world.ledger ?? {};
            world.ledger = {
                state: "deleting",
                node,
                detail: state === "deleting" ? detail : { ...rest, was: state },
            };
        } else if (/^UPDATE citus_as_code\.tenant SET detail = detail \|\| \$3/.test(sql)) {
            ok(world.ledger);
            if (world.ledger.state !== "deleting") return [];
            Object.assign(world.ledger.detail, JSON.parse(String(parameters[2])));
            return [{ tenant: "acme" }];
        } else if (/SET detail = detail \|\| '\{"dropped"/.test(sql)) {
            ok(world.ledger);
            Object.assign(world.ledger.detail, JSON.parse(/\|\| '(.*)' WHERE/.exec(sql)?.[1] ?? ""));
        } else if (/AS own FROM pg_authid/.test(sql)) return world.role ? [{ own: true }] : [];
        else if (/DROP OWNED BY/.test(sql)) world.role = false;
        else if (/tenant_tombstone/.test(sql)) {
            world.ledger = undefined;
            world.tombstone = true;
        } else if (/to_regnamespace\(quote_ident\(\$1\)\) IS NOT NULL/.test(sql))
            return [{ ok: world.data !== undefined }];
        else if (/AS shapes$/.test(sql))
            return [
                {
                    shapes: (rows ? ["users", "notes"] : names).map((name) => ({
                        schema: this.model === "schema" ? "acme" : "public",
                        name,
                        columns: [{ name: "tenant", type: "text", generated: false }],
                        references: [],
                    })),
                },
            ];
        else if (/^SELECT count\(\*\)::text AS count, coalesce/.test(sql)) return [print(own)];
        else if (/^(WITH .*)?DELETE FROM "public"/.test(sql)) {
            const deleted = [...sql.matchAll(/DELETE FROM "public"\."(users|notes)"/g)].map(([, name]) => name ?? "");
            if (this.circle === "no action" && deleted.length === 1) throw new Error("violates foreign key constraint");
            const returned = deleted.map((name, i) => ({ i, ...print(this.kept ? [] : (world.data?.[name] ?? [])) }));
            if (this.circle === "cascade") deleted.push("users", "notes");
            if (this.kept) deleted.length = 0;
            world.data = { ...world.data, ...Object.fromEntries(deleted.map((name) => [name, []])) };
            return returned;
        } else if (/^SELECT a\.attname::text AS name, format_type/.test(sql)) return [];
        else if (/\(quoted, i\)/.test(sql)) {
            const key = { cascades: this.circle === "cascade", columns: ["tenant"], referenced: ["tenant"] };
            const found = [
                { from: 0, to: 1, other: "users", ...key },
                { from: 1, to: 0, other: "notes", ...key },
            ];
            return [{ found: this.circle ? found : [] }];
        } else if (/^SELECT n\.nodename AS node, r\.result AS why/.test(sql)) return this.unasked;
        else if (/^SELECT count\(\*\)::text AS count FROM/.test(sql)) return [{ count: String(own.length) }];
        else if (/AS t \(name, quoted\)/.test(sql)) return [{ name: "users" }, { name: "notes" }];
        else if (/AS id FROM pg_dist_schema/.test(sql))
            return this.model === "schema" && world.data ? [{ id: 11 }] : [];
        else if (/^DROP SCHEMA/.test(sql)) world.data = undefined;
        else if (/^SELECT shobj_description\(oid, 'pg_database'\)/.test(sql)) return world.data ? [world.database] : [];
        else if (/^SELECT( datconnlimit AS limit)? FROM pg_database/.test(sql))
            return world.data ? [world.database] : [];
        else if (sql.includes("citus_as_code.tenant_identity")) return [{ ours: false }];
        else if (/^SELECT EXISTS \(SELECT FROM pg_class WHERE oid >= 16384/.test(sql))
            return [{ found: names.length > 0 }];
        else if (/^ALTER DATABASE "acme" CONNECTION LIMIT/.test(sql)) {
            if (world.database.limit === -2) throw new Error("cannot alter invalid database");
            world.database.limit = Number(sql.split(" ").at(-1));
        } else if (dropping.test(sql)) world.data = undefined;
        else if (/string_agg\(what/.test(sql)) {
            const left = rows ? [] : world.data ? ["it"] : [];
            return [
                {
                    node: "worker-1",
                    success: true,
                    result: [...left, ...(world.role && sql.includes("''role ''") ? ["role"] : [])].join(),
                },
            ];
        } else if (
            !/^(SET |RESET |LOCK |CALL |ALTER ROLE|BEGIN;)|pg_terminate_backend|pg_describe_object|pg_shdepend|pg_dist_cleanup/.test(
                sql,
            )
        )
            throw new Error(`what is this? ${sql}`);
        return [];
    }

    private files = 0;

    /** Writes all that is there, as an export does. */
    readonly toFile = async ({ group }: Context, tenant: string): Promise<string> => {
        ok(this.world.data && this.world.database.limit !== -2, "there is nothing to export");
        const file = join(mkdtempSync(join(dir, "export-")), `acme-${++this.files}.sql.gz`);
        writeExport(file, { group: group.name, tenant, model: group.model }, this.world.data);
        return file;
    };

    run(): Promise<void> {
        const context = {
            group: groupOf(this.model, this.tenant),
            session: this.session,
            open: async () => this.session,
            progress: () => undefined,
            note: (text: string) => this.said.push(text),
            warn: (text: string) => this.said.push(text),
            alive: () => undefined,
        } as unknown as Context;
        const run = removalWith(this.toFile).run.delete;
        ok(run);
        return run(context, [{ kind: "removal.delete", tenant: this.tenant, text: this.tenant }]);
    }
}

function writeExport(file: string, of: { group: string; tenant: string; model: Model }, data: Tables): void {
    const text = JSON.stringify(data);
    writeFileSync(file, text);
    const sha256 = createHash("sha256").update(text).digest("hex");
    const manifest = { format: 1, ...of, bytes: Buffer.byteLength(text), sha256, prints: printsOf(data) };
    writeFileSync(`${file}.json`, JSON.stringify(manifest));
}

const rowsOf = (data: Tables | undefined) =>
    Object.entries(data ?? {}).flatMap(([table, rows]) => rows.map((row) => `${table} ${row}`));

/** Rows in exports that can be relied on. */
async function exportedRows(model: Model, files: readonly string[]): Promise<string[]> {
    const context = { group: groupOf(model) } as unknown as Context;
    const rows: string[] = [];
    for (const file of files)
        if (await readExport(context, "acme", file).catch(() => undefined))
            rows.push(...rowsOf(JSON.parse(readFileSync(file, "utf8"))));
    return rows;
}

const filesIn = (text: string) => text.match(/\S+\.sql\.gz/g) ?? [];

const MODELS: readonly Model[] = ["row", "schema", "database"];

/** What becomes of an export between two runs; and whether it is still one. */
const HARMS: Readonly<Record<string, (file: string, model: Model) => void>> = {
    nothing: () => undefined,
    "is cut off": (file) => truncateSync(file, 5),
    "has no manifest": (file) => rmSync(`${file}.json`),
    "is on another machine": (file) => {
        rmSync(file);
        rmSync(`${file}.json`);
    },
    "is another tenant's": (file, model) =>
        writeExport(file, { group: "clinics", tenant: "globex", model }, { users: [] }),
    "is an older one": (file, model) =>
        writeExport(file, { group: "clinics", tenant: "acme", model }, { users: ["ann"], notes: [] }),
    "has other content": (file) => writeFileSync(file, readFileSync(file, "utf8").replace("ann", "eve")),
};

for (const model of MODELS)
    describe(`a tenant of model ${model} that is deleted`, () => {
        it("is exported and gone", async () => {
            const cluster = new Cluster(model);
            const rows = rowsOf(cluster.world.data);
            await cluster.run();
            const { ledger, tombstone, role, data } = cluster.world;
            deepEqual([ledger, tombstone, role, rowsOf(data)], [undefined, true, false, []]);
            deepEqual(await exportedRows(model, filesIn(cluster.said.join())), rows);
        });

        for (const [harm, apply] of Object.entries(HARMS))
            it(`goes on wherever it was killed, when its export meanwhile: ${harm}`, async () => {
                const whole = new Cluster(model);
                await whole.run();
                const reached = new Set<string>();
                for (let at = 1; at <= whole.statements; at++)
                    for (const when of ["before", "after"] as const) {
                        const cluster = new Cluster(model);
                        const rows = rowsOf(cluster.world.data);
                        cluster.kill = { at, when };
                        await rejects(cluster.run(), /killed/);
                        const point = `${when} statement ${at}`;
                        const { ledger, data } = cluster.world;
                        const { exported } = ledger?.detail ?? {};
                        const now = rowsOf(data);
                        const there = now.length > 0;
                        const partly = there && now.length < rows.length;
                        equal(partly && model !== "row", false, point);
                        reached.add(`${ledger?.state ?? "gone"} ${exported !== undefined} ${there}`);
                        if ((!there || partly) && ledger)
                            deepEqual(
                                await exportedRows(model, [exported ?? ""]),
                                rows,
                                `${point}: deleted unexported`,
                            );
                        if (exported) apply(exported, model);
                        if (!ledger) continue;
                        if (partly && harm !== "nothing") {
                            await rejects(cluster.again().run(), /partly deleted already.*Nothing more is deleted/s);
                            deepEqual(rowsOf(cluster.world.data), now, point);
                            continue;
                        }
                        await cluster.again().run();
                        deepEqual(
                            [
                                cluster.world.ledger,
                                cluster.world.tombstone,
                                cluster.world.role,
                                rowsOf(cluster.world.data),
                            ],
                            [undefined, true, false, []],
                            point,
                        );
                        const said = cluster.said.join("\n");
                        const kept = await exportedRows(model, filesIn(said));
                        if (there || harm === "nothing") deepEqual(kept, rows, `${point}: ${said}`);
                        else match(said, /its data is deleted\. Its export was written to .* can't be used: /, point);
                    }
                // each of the phases: begun, exported, deleted, forgotten
                for (const phase of [
                    "active false true",
                    "deleting false true",
                    "deleting true true",
                    "deleting true false",
                    "gone false false",
                ])
                    ok(reached.has(phase), `${phase} is not among ${[...reached].join(", ")}`);
            });

        it("is exported again when it was written to since", async () => {
            const cluster = new Cluster(model);
            const killed = new Cluster(model);
            await killed.run();
            for (let at = killed.statements; !cluster.world.ledger?.detail.exported; at--) {
                Object.assign(cluster, { world: new Cluster(model).world });
                cluster.again().kill = { at, when: "before" };
                await cluster.run().catch(() => undefined);
                // before anything is deleted
                if (rowsOf(cluster.world.data).length < 5) delete cluster.world.ledger?.detail.exported;
            }
            cluster.world.data?.users?.push("late");
            const rows = rowsOf(cluster.world.data);
            ok(rows.includes("users late"));
            await cluster.again().run();
            equal(cluster.world.tombstone, true);
            deepEqual(await exportedRows(model, filesIn(cluster.said.join())), rows);
        });
    });

it("rows that come while others are deleted are exported too, and both exports are named", async () => {
    const whole = new Cluster("row");
    await whole.run();
    const rows = rowsOf(new Cluster("row").world.data);
    for (let at = 1; at <= whole.statements; at++) {
        const cluster = new Cluster("row");
        cluster.kill = { at, when: "after" };
        await rejects(cluster.run(), /killed/);
        const left = rowsOf(cluster.world.data).length;
        if (left === 0 || left === rows.length) continue;
        cluster.world.data?.notes?.push("late");
        await cluster.again().run();
        deepEqual([cluster.world.tombstone, rowsOf(cluster.world.data)], [true, []]);
        const files = filesIn(cluster.said.join());
        equal(files.length, 2);
        const exported = new Set(await exportedRows("row", files));
        deepEqual([...exported].sort(), [...rows, "notes late"].sort());
        return;
    }
    throw new Error("it is never half-deleted");
});

describe("a tenant that can have no role of its own", () => {
    // the group's own roles have its comment, and the longer name is cut off to another tenant's
    for (const tenant of ["app", "tenants", `${"x".repeat(55)}-one`])
        it(`${tenant}: leaves the role of that name to whose it is`, async () => {
            const cluster = new Cluster("row", tenant);
            await cluster.run();
            deepEqual([cluster.world.tombstone, cluster.world.role, rowsOf(cluster.world.data)], [true, true, []]);
            deepEqual(
                cluster.ran.filter((sql) => /ALTER ROLE|DROP ROLE|DROP OWNED|pg_terminate|pg_authid/.test(sql)),
                [],
            );
        });
});

describe("rows that reference each other in a circle", () => {
    for (const circle of ["cascade", "no action"] as const)
        it(`are exported and gone: ${circle}`, async () => {
            const cluster = new Cluster("row");
            const rows = rowsOf(cluster.world.data);
            cluster.circle = circle;
            await cluster.run();
            deepEqual([cluster.world.tombstone, rowsOf(cluster.world.data)], [true, []]);
            deepEqual(await exportedRows("row", filesIn(cluster.said.join())), rows);
            // both in one statement, and nobody else waits
            equal(cluster.ran.filter((sql) => /^WITH d0 AS .*, d1 AS /.test(sql)).length, 1);
            equal(cluster.ran.filter((sql) => sql.startsWith("LOCK TABLE")).length, 0);
        });

    it("are said to be kept by a trigger, and all are there then", async () => {
        const cluster = new Cluster("row");
        const rows = rowsOf(cluster.world.data);
        cluster.kept = true;
        await rejects(
            cluster.run(),
            /2 of its rows in "public"."users" were still there after they were deleted: .*Nothing of these rows was deleted/s,
        );
        deepEqual([cluster.world.ledger?.detail.dropped, rowsOf(cluster.world.data)], [undefined, rows]);
    });
});

it("an export that was written down without its checksum is held to its manifest's", async () => {
    const cluster = await deletedAndKilled("row");
    const { exported = "" } = cluster.world.ledger?.detail ?? {};
    delete cluster.world.ledger?.detail.sha256;
    await cluster.run();
    deepEqual([cluster.world.tombstone, filesIn(cluster.said.join())], [true, [exported]]);
    equal(cluster.said.length, 1, cluster.said.join());

    const harmed = await deletedAndKilled("row");
    delete harmed.world.ledger?.detail.sha256;
    truncateSync(harmed.world.ledger?.detail.exported ?? "", 5);
    await harmed.run();
    match(
        harmed.said.join(),
        /on this machine it can't be used: .* was changed after it was exported: its sha256 differs/,
    );
});

it("a node that was not asked to end the tenant's sessions is named", async () => {
    const cluster = new Cluster("row");
    cluster.unasked = [{ node: "worker-2", why: null }];
    await cluster.run();
    match(
        cluster.said.join("\n"),
        /worker-2 could not be asked to end the sessions of role clinics_acme \(it is disabled\)/,
    );
});

describe("the proof that nothing is left", () => {
    it("asks for no metadata of other schemas", async () => {
        const cluster = new Cluster("schema");
        await cluster.run();
        const proof = cluster.ran.find((sql) => sql.includes("string_agg(what")) ?? "";
        match(proof, /pg_namespace WHERE nspname = ''acme''/);
        // an orphan of another schema is in none of these
        equal(/NOT EXISTS/.test(proof), false, proof);
        match(proof, /FROM pg_dist_schema WHERE colocationid = 11/);
    });
});

/** Killed right after its data was deleted. */
async function deletedAndKilled(model: Model): Promise<Cluster> {
    const whole = new Cluster(model);
    await whole.run();
    for (let at = 1; at <= whole.statements; at++) {
        const cluster = new Cluster(model);
        cluster.kill = { at, when: "before" };
        await rejects(cluster.run(), /killed/);
        if (rowsOf(cluster.world.data).length === 0) return cluster.again();
    }
    throw new Error("it deletes nothing");
}

describe("what is there again, or only in part, after the data was deleted", () => {
    it("rows: are exported as well, and both exports are named", async () => {
        const cluster = await deletedAndKilled("row");
        const first = cluster.world.ledger?.detail.exported ?? "";
        cluster.world.data = { users: ["late"], notes: [] };
        await cluster.run();
        const files = filesIn(cluster.said.join());
        deepEqual([files.length, files[0], cluster.world.tombstone], [2, first, true]);
        deepEqual(await exportedRows("row", files), [
            "users ann",
            "users bob",
            "notes one",
            "notes two",
            "notes three",
            "users late",
        ]);
    });

    it("rows: are not deleted when the export of those before them is not good", async () => {
        const cluster = await deletedAndKilled("row");
        const { exported = "" } = cluster.world.ledger?.detail ?? {};
        truncateSync(exported, 3);
        cluster.world.data = { users: ["left"], notes: [] };
        await rejects(cluster.run(), (error: Error) => {
            match(
                error.message,
                /acme: could not be deleted\n.*partly deleted already.*was changed after it was exported: its sha256 differs/s,
            );
            match(error.message, /Nothing more is deleted\. Put the export, with its manifest, back to/);
            return error.message.includes(exported);
        });
        deepEqual([rowsOf(cluster.world.data), cluster.world.ledger?.state], [["users left"], "deleting"]);
    });

    it("a schema: is somebody else's", async () => {
        const cluster = await deletedAndKilled("schema");
        cluster.world.data = { theirs: ["row"] };
        await rejects(
            cluster.run(),
            /its schema was deleted, and there is another of its name, which group \w+ did not make/,
        );
        deepEqual(rowsOf(cluster.world.data), ["theirs row"]);
    });

    it("a database: is somebody else's", async () => {
        const cluster = await deletedAndKilled("database");
        cluster.world.data = { theirs: ["row"] };
        cluster.world.database = { comment: null, limit: -1 };
        await rejects(cluster.run(), /is not the one that was made for it: it has no comment/);
        deepEqual([rowsOf(cluster.world.data), cluster.world.database.limit], [["theirs row"], -1]);
    });

    it("a database whose DROP DATABASE did not end: is dropped with a good export alone", async () => {
        const cluster = await deletedAndKilled("database");
        const { exported = "" } = cluster.world.ledger?.detail ?? {};
        const rows = await exportedRows("database", [exported]);
        equal(rows.length, 5);
        cluster.world.data = { users: [] };
        cluster.world.database.limit = -2;
        copyFileSync(exported, `${exported}.away`);
        rmSync(exported);
        await rejects(cluster.run(), (error: Error) => {
            match(error.message, /partly deleted already.*can't be read.*Nothing more is deleted/s);
            return error.message.includes(`back to ${exported}`);
        });
        ok(cluster.world.data);
        copyFileSync(`${exported}.away`, exported);
        await cluster.again().run();
        deepEqual([cluster.world.data, cluster.world.tombstone], [undefined, true]);
        deepEqual(await exportedRows("database", filesIn(cluster.said.join())), rows);
        ok(existsSync(exported));
    });
});

describe("a database of the tenant's name", () => {
    const refused = async (change: (world: World) => void, reason: RegExp) => {
        const cluster = new Cluster("database");
        change(cluster.world);
        const then = structuredClone(cluster.world);
        await rejects(cluster.run(), reason);
        deepEqual(cluster.world, then, "something was touched");
    };

    it("of another epoch, tenant or group is refused, and nothing is touched", async () => {
        for (const comment of [
            identity("clinics", "acme", 8),
            identity("clinics", "acme", 70),
            identity("clinics", "acme2", 7),
            identity("labs", "acme", 7),
            null,
        ])
            await refused((world) => {
                world.database.comment = comment;
            }, /is not the one that was made for it/);
    });

    it("without a comment is ours when it is empty, closed, and was being made", async () => {
        const half = (world: World) => {
            ok(world.ledger);
            world.ledger.state = "creating";
            world.database = { comment: null, limit: 0 };
            world.data = {};
        };
        const reason = /is not the one that was made for it: it has no comment/;
        await refused((world) => {
            half(world);
            world.data = { theirs: ["row"] };
        }, reason);
        await refused((world) => {
            half(world);
            world.database.limit = -1;
        }, reason);
        await refused((world) => {
            half(world);
            ok(world.ledger);
            world.ledger.state = "active";
        }, reason);
        const cluster = new Cluster("database");
        half(cluster.world);
        await cluster.run();
        deepEqual([cluster.world.data, cluster.world.tombstone], [undefined, true]);
    });
});

describe("tables that the group does not declare", () => {
    const group = groupOf("row");
    const one = { full: "public.invoices", type: "bigint", references: null, colocated: false, declared: null };
    const undeclared = [
        { ...one, name: "invoices", column: "tenant" },
        { ...one, name: "lines", column: null, references: "invoices" },
        { ...one, name: "emails", column: "tenant", declared: "reference" as const },
    ];
    const tenants = (state: string | null) => ({
        acme: { state, movedTo: null, tombstone: state === null, taken: null, schema: false, distributed: false },
    });
    const facet = removalWith(async () => "");

    it("refuse a tenant that is to be deleted, with the reason for each", () => {
        const {
            steps,
            refusals = [],
            notes,
        } = facet.plan(group, { tenants: tenants("active"), rows: { users: { acme: 3 } }, undeclared }, {});
        deepEqual([steps, notes], [[], []]);
        equal(refusals.length, 1);
        match(
            refusals[0] ?? "",
            /^acme: .* 3 tables .*invoices \(has tenant bigint\), lines \(references invoices\), emails \(declared reference: true, has tenant bigint\)\. It is not deleted\./,
        );
        match(refusals[0] ?? "", /"invoices": \{"ignore": true\}/);
    });

    it("are a note where nobody is to be deleted, or was long ago", () => {
        for (const spec of [group, { ...group, delete: [] }]) {
            const { refusals, notes = [] } = facet.plan(spec, { tenants: tenants(null), rows: {}, undeclared }, {});
            deepEqual(refusals, []);
            match(notes[0] ?? "", /^3 tables may hold rows of tenants/);
        }
    });
});

it("what a tenant's role owns elsewhere is refused, and what others' tables keep of it is said", () => {
    const group = groupOf("schema");
    const tenants = {
        acme: { state: "active", movedTo: null, tombstone: false, taken: null, schema: true, distributed: true },
    };
    const outside = { owned: [], unasked: [], referenced: ["plans"], writable: ["audit"] };
    const facet = removalWith(async () => "");
    const planned = facet.plan(group, { tenants, rows: {}, outside: { acme: outside } }, {});
    equal(planned.steps.length, 1);
    match(planned.notes?.join() ?? "", /kept when it is deleted: rows of plans, .*; whatever it wrote to audit/);
    const owned = [{ node: "worker-1", what: ["large object 7"], more: 2 }];
    const refused = facet.plan(group, { tenants, rows: {}, outside: { acme: { ...outside, owned } } }, {});
    deepEqual(refused.steps, []);
    match(refused.refusals?.join() ?? "", /role clinics_acme owns .*: large object 7 and 2 more on worker-1/);
    const silent = facet.plan(
        group,
        { tenants, rows: {}, outside: { acme: { ...outside, unasked: ["worker-2"] } } },
        {},
    );
    match(silent.refusals?.join() ?? "", /worker-2 did not say what role clinics_acme owns/);
});

it("on a CI runner a delete needs a place for its export that outlives it", () => {
    const tenants = {
        acme: { state: "active", movedTo: null, tombstone: false, taken: null, schema: true, distributed: true },
    };
    const planOn = (runner: boolean, exports?: string) =>
        removalWith(
            async () => "",
            () => runner,
        ).plan({ ...groupOf("schema"), ...(exports === undefined ? {} : { exports }) }, { tenants, rows: {} }, {});
    deepEqual([planOn(false).steps.length, planOn(false).refusals], [1, []]);
    const { steps, refusals } = planOn(true);
    deepEqual(steps, []);
    match(
        refusals?.join() ?? "",
        /acme: .* a file of this CI runner .*It is not deleted\.\nSet exports of group clinics to "s3:/s,
    );
    match(planOn(true, "s3://acme/x").steps[0]?.text ?? "", /^acme: export it to s3:\/\/acme\/x, delete it/);
});
