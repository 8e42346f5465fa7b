/** Changes of model whose connection is lost at any of their statements, or that are killed there: what the next run makes of it. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { DatabaseError, keepOpen, type Session } from "../../../../core/reach/session.ts";
import { move } from "../../../../core/tenants/change/change.ts";
import type { Copy } from "../../../../core/tenants/change/changeCopy.ts";
import type { TableShape } from "../../../../core/tenants/data/shape.ts";
import type { Context } from "../../../../core/tenants/group/facet.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { EMPTY } from "../../../tenants.ts";

const TABLES = ["users", "projects"];

/** The row groups' tables; a tenant column has to be named by the group. */
const shared = (schema: string) => ({
    rowSecurity: false,
    tables: Object.fromEntries(
        TABLES.map((name) => [`${schema}.${name}`, { kind: "distributed", column: "company" } as const]),
    ),
});

const GROUPS: Readonly<Record<string, GroupSpec>> = {
    clinics: { ...EMPTY, name: "clinics", model: "schema" },
    vaults: { ...EMPTY, name: "vaults", model: "database" },
    billing: { ...EMPTY, name: "billing", model: "row", ...shared("billing") },
};

interface Tenant {
    state: string;
    node: string | null;
    moved?: string;
}

interface Row {
    phase: string;
    detail: { was: string | null; grants: string[]; copied?: Record<string, { count: string; sum: string }> };
}

type Way = readonly [from: string, to: string];

/** Where a statement is lost: unheard by the database, done without an answer, or all that the run has ends with it. */
type Cut = { readonly at: number; readonly how: "unheard" | "unanswered" | "killed" };

/** As much of a cluster as a change of model sees: what a transaction did is undone with it, as when its connection is lost. */
class Cluster {
    readonly tenants = new Map<string, Tenant>();
    readonly changes = new Map<string, Row>();
    /** Rows by database and name of a table. */
    readonly rows = new Map<string, string[]>();
    readonly granted = new Set<string>();
    /** Whether the templates have grown apart. */
    changed = false;
    private lock: object | undefined;
    private statements = 0;
    private dead = false;
    cut: Cut | undefined;

    /** @returns how many statements there have been since the last time */
    counted(): number {
        const n = this.statements;
        this.statements = 0;
        this.dead = false;
        return n;
    }

    of(database: string, table: string): string[] {
        const key = `${database} ${table}`;
        const found = this.rows.get(key) ?? [];
        this.rows.set(key, found);
        return found;
    }

    /** One statement; whoever sends it is told nothing when it is cut. */
    private step<T>(own: { undo: (() => void)[]; dead: boolean }, work: () => T): T {
        const lost = () => new DatabaseError("coordinator", "a statement", { message: "Connection terminated" });
        if (own.dead || this.dead) {
            own.dead = true;
            throw lost();
        }
        const { cut } = this;
        const here = ++this.statements === cut?.at;
        const result = here && cut?.how === "unheard" ? undefined : work();
        if (!here || result instanceof Error) return result as T;
        own.dead = true;
        this.dead = cut?.how === "killed";
        throw lost();
    }

    private open: { undo: (() => void)[]; dead: boolean; begun: boolean }[] = [];

    /** What the database does with those who are gone. */
    private reap(): void {
        for (const own of this.open.filter(({ dead }) => dead || this.dead)) {
            for (const undo of own.undo.splice(0).reverse()) undo();
            if (this.lock === own) this.lock = undefined;
        }
        this.open = this.open.filter(({ dead }) => !dead && !this.dead);
    }

    connect(database: string): Session {
        const own = { undo: [] as (() => void)[], dead: false, begun: false };
        this.open.push(own);
        const did = (undo: () => void) => {
            if (own.begun) own.undo.push(undo);
        };
        const put = <K, V>(map: Map<K, V>, key: K, value: V | undefined) => {
            assert.ok(this.lock, "nothing is written down without the lock");
            const before = map.get(key);
            if (value === undefined) map.delete(key);
            else map.set(key, value);
            did(() => (before === undefined ? map.delete(key) : map.set(key, before)));
        };
        const query = async (sql: string, parameters: readonly unknown[] = []): Promise<object[]> => {
            try {
                return this.step(own, () => this.answer(database, own, did, put, sql, parameters as string[]));
            } finally {
                this.reap();
            }
        };
        return {
            node: "coordinator",
            query: query as unknown as Session["query"],
            certificateEnds: () => undefined,
            close: async () => {
                own.dead = true;
                this.reap();
            },
        };
    }

    private answer(
        database: string,
        own: { undo: (() => void)[]; begun: boolean },
        did: (undo: () => void) => void,
        put: <K, V>(map: Map<K, V>, key: K, value: V | undefined) => void,
        sql: string,
        given: readonly string[],
    ): object[] {
        const flat = sql.replace(/\s+/g, " ").trim();
        const key = `${given[0]}/${given[1]}`;
        const starts = (text: string) => flat.startsWith(text);
        const table = (name: string) => this.of(database, name);
        const tenant = this.tenants.get(key);
        const change = this.changes.get(key);
        const slice = (pattern: RegExp) => {
            const [, name = "", value] = pattern.exec(flat) ?? [];
            return table(name).filter((row) => value === undefined || row.startsWith(`${value}:`));
        };
        const FROM = /FROM ("\w+"\."\w+")(?: WHERE "company" = '(\w+)')?/;
        if (starts("BEGIN")) own.begun = true;
        else if (starts("COMMIT") || starts("ROLLBACK")) {
            if (starts("ROLLBACK")) for (const undo of own.undo.reverse()) undo();
            own.undo = [];
            own.begun = false;
        } else if (starts("SET LOCAL") || starts("LOCK TABLE") || flat === "SELECT") return [];
        else if (flat.includes("pg_try_advisory_lock")) {
            if (this.lock && this.lock !== own) return [{ ok: false }];
            this.lock = own;
            return [{ ok: true }];
        } else if (starts("SELECT spec")) return [{ spec: GROUPS[given[0] ?? ""] }];
        else if (flat.endsWith("AS shapes")) return [{ shapes: this.shapes(flat) }];
        else if (starts("SELECT node")) return [{ node: tenant?.node ?? null }];
        else if (starts("SELECT phase")) return change ? [structuredClone(change)] : [];
        else if (starts("INSERT INTO citus_as_code.tenant_change")) {
            const was = this.tenants.get(`${given[2]}/${given[3]}`)?.state ?? null;
            if (!change) put(this.changes, key, { phase: "plan", detail: { was, grants: [] } });
        } else if (starts("UPDATE citus_as_code.tenant_change SET phase = CASE")) {
            assert.ok(change);
            put(this.changes, key, { ...change, phase: change.phase === "plan" ? "fence" : change.phase });
        } else if (starts("UPDATE citus_as_code.tenant_change SET phase = coalesce")) {
            assert.ok(change);
            const [, , phase, detail = "{}"] = given;
            put(this.changes, key, {
                phase: phase ?? change.phase,
                detail: { ...change.detail, ...(JSON.parse(detail) as object) },
            });
        } else if (starts("DELETE FROM citus_as_code.tenant_change")) put(this.changes, key, undefined);
        else if (starts("INSERT INTO citus_as_code.tenant (")) {
            const state = flat.includes("'frozen') ON") ? "frozen" : "active";
            put(this.tenants, key, { node: null, ...tenant, state });
            return [{ tenant: key }];
        } else if (starts("UPDATE citus_as_code.tenant SET state = 'superseded'")) {
            if (tenant?.state !== "frozen") return [];
            const { moved_to } = JSON.parse(given[2] ?? "") as { moved_to: string };
            put(this.tenants, key, { ...tenant, state: "superseded", moved: moved_to });
            return [{ tenant: key }];
        } else if (starts("UPDATE citus_as_code.tenant SET state = $3")) {
            if (tenant?.state === "frozen") put(this.tenants, key, { ...tenant, state: given[2] ?? "" });
        } else if (starts("DELETE FROM citus_as_code.tenant ")) {
            if (tenant?.state === "frozen") put(this.tenants, key, undefined);
        } else if (starts("SELECT format('REVOKE")) {
            const [schemas, names] = given as unknown as string[][];
            return [...this.granted]
                .filter((of) => names?.some((name, i) => of === `"${schemas?.[i]}"."${name}"`))
                .map((of) => ({ revoke: `REVOKE ${of}`, grant: `GRANT ${of}` }));
        } else if (starts("REVOKE") || starts("GRANT")) {
            const [what = "", of = ""] = flat.split(" ");
            if (what === "GRANT") this.granted.add(of);
            else this.granted.delete(of);
            did(() => (what === "GRANT" ? this.granted.delete(of) : this.granted.add(of)));
        } else if (starts("SELECT count(*)::text AS n FROM pg_largeobject")) return [{ n: "0" }];
        else if (starts("SELECT count(*)::text AS n")) return [{ n: String(slice(FROM).length) }];
        else if (starts("SELECT count(*)::text AS count")) {
            const rows = slice(FROM).map((row) => row.replace(/^.*:/, ""));
            return [{ count: String(rows.length), sum: rows.sort().join() }];
        } else if (/^INSERT INTO "/.test(flat)) {
            const [, name = ""] = /^INSERT INTO ("\w+"\."\w+")/.exec(flat) ?? [];
            const [, value] = /'(\w+)'::bigint/.exec(flat) ?? [];
            const before = [...table(name)];
            const came = slice(FROM).map((row) => row.replace(/^.*:/, ""));
            table(name).push(...came.map((row) => (value ? `${value}:${row}` : row)));
            did(() => this.rows.set(`${database} ${name}`, before));
        } else if (starts("TRUNCATE")) {
            for (const name of flat.slice("TRUNCATE ".length).split(", ")) {
                const before = [...table(name)];
                table(name).length = 0;
                did(() => this.rows.set(`${database} ${name}`, before));
            }
        } else if (/unnest\(\$1::text\[\], \$2::text\[\]\) WITH ORDINALITY|c.relkind = 'S'/.test(flat)) return [];
        else if (starts("SELECT to_regrole")) return [{ ok: false }];
        else if (starts("SELECT extract(epoch")) return [{ seconds: 1 }];
        else throw new Error(`the test does not know ${flat.slice(0, 200)}`);
        return [];
    }

    private type(schema: string): string {
        return this.changed && schema === "acme" ? "text" : "bigint";
    }

    private shapes(flat: string): TableShape[] {
        const [, own] = /AND \(n\.nspname = '(\w+)'\)/.exec(flat) ?? [];
        const schema = own ?? (flat.includes("('billing', 'users')") ? "billing" : "public");
        const key = schema === "billing" ? [{ name: "company", type: "bigint", generated: false }] : [];
        return TABLES.map((name) => ({
            schema,
            name,
            columns: [...key, { name: "id", type: this.type(schema), generated: false }],
            references: [],
        }));
    }

    readonly copy: Copy = async ({ pairs, source, target }) => {
        const own = { undo: [] as (() => void)[], dead: false };
        try {
            this.step(own, () => {
                for (const pair of pairs) {
                    const name = ({ schema, name }: TableShape) => `"${schema}"."${name}"`;
                    const there = this.of(target.database ?? "app", name(pair.target.table));
                    assert.equal(there.length, 0, "a program copies into what is empty");
                    there.push(...this.of(source.database ?? "app", name(pair.source.table)));
                }
            });
        } finally {
            this.reap();
        }
    };

    /** One run of `pulumi up`. @returns its error, if it failed */
    async run([from, to]: Way): Promise<string | undefined> {
        const [group = "", tenant = ""] = to.split("/");
        const [old = "", other = ""] = from.split("/");
        const spec: GroupSpec = {
            ...(GROUPS[group] as GroupSpec),
            tenants: { [tenant]: { from: { group: old, tenant: other } } },
        };
        const kept = keepOpen(async (_node, database) => this.connect(database ?? "app"));
        const session = this.connect("app");
        const context = {
            group: spec,
            session,
            nodes: [],
            open: kept.open,
            alive: () => undefined,
            progress: () => undefined,
            note: () => undefined,
            warn: () => undefined,
        } as unknown as Context;
        try {
            await session.query("SELECT pg_try_advisory_lock($1) AS ok");
            await move(context, { kind: "change.move", tenant, text: "" }, this.copy);
            return undefined;
        } catch (error) {
            if (error instanceof assert.AssertionError) throw error;
            return (error as Error).message;
        } finally {
            await kept.closeAll();
            await session.close();
        }
    }
}

interface Case {
    readonly way: Way;
    /** Database and schema on both sides. */
    readonly source: readonly [database: string, schema: string];
    readonly target: readonly [database: string, schema: string];
    /** A tenant's key where others' rows are in the table. */
    readonly keys?: { readonly source?: string; readonly target?: string };
}

const CASES: readonly Case[] = [
    { way: ["clinics/acme", "vaults/acme"], source: ["app", "acme"], target: ["acme", "public"] },
    { way: ["vaults/acme", "clinics/acme"], source: ["acme", "public"], target: ["app", "acme"] },
    { way: ["billing/7", "clinics/acme"], source: ["app", "billing"], target: ["app", "acme"], keys: { source: "7" } },
    { way: ["clinics/acme", "billing/7"], source: ["app", "acme"], target: ["app", "billing"], keys: { target: "7" } },
];

function start({ way: [from], source, keys }: Case): Cluster {
    const cluster = new Cluster();
    const [database, schema] = source;
    const key = keys?.source ? `${keys.source}:` : "";
    for (const name of TABLES) {
        cluster.of(database, `"${schema}"."${name}"`).push(...[1, 2, 3].map((id) => `${key}${id}`));
        if (!key) cluster.granted.add(`"${schema}"."${name}"`);
    }
    cluster.tenants.set(from, { state: "active", node: database === "app" ? null : "worker-1" });
    for (const vault of ["vaults/acme"])
        if (!cluster.tenants.has(vault)) cluster.tenants.set(vault, { state: "active", node: "worker-1" });
    return cluster;
}

const allRows = (cluster: Cluster, [database, schema]: readonly [string, string]) =>
    Object.fromEntries(TABLES.map((name) => [name, [...cluster.of(database, `"${schema}"."${name}"`)].sort()]));

/** What a run left is one of the two, whole, and is what the run said. */
function assertWhole(cluster: Cluster, { way: [from, to], source, target, keys }: Case, where: string): boolean {
    const key = keys?.target ? `${keys.target}:` : "";
    const rows = TABLES.map((name) => [name, [1, 2, 3].map((id) => `${key}${id}`)]);
    const done = cluster.changes.get(to)?.phase === "done";
    assert.equal(cluster.tenants.get(from)?.state, done ? "superseded" : "active", where);
    assert.deepEqual(
        allRows(cluster, target),
        Object.fromEntries(done ? rows : TABLES.map((name) => [name, []])),
        where,
    );
    if (!done) {
        assert.equal(cluster.changes.has(to), false, where);
        if (!keys?.source)
            assert.deepEqual(
                [...cluster.granted].sort(),
                [...TABLES].sort().map((name) => `"${source[1]}"."${name}"`),
                where,
            );
    }
    return done;
}

for (const given of CASES) {
    const name = given.way.join(" to ");
    const HOWS = ["unheard", "unanswered", "killed"] as const;

    /** Every statement of a whole run, lost in each way. */
    async function walk(use: (cluster: Cluster, where: string, how: Cut["how"], error: string | undefined) => unknown) {
        const whole = start(given);
        assert.equal(await whole.run(given.way), undefined);
        const statements = whole.counted();
        assert.ok(statements > 25);
        for (let at = 1; at <= statements; at++)
            for (const how of HOWS) {
                const cluster = start(given);
                const before = allRows(cluster, given.source);
                cluster.cut = { at, how };
                const error = await cluster.run(given.way);
                cluster.cut = undefined;
                cluster.counted();
                const where = `${name}: ${how} at statement ${at} of ${statements}: ${error}`;
                assert.deepEqual(allRows(cluster, given.source), before, where);
                await use(cluster, where, how, error);
                assert.deepEqual(allRows(cluster, given.source), before, where);
            }
    }

    describe(name, () => {
        test("what was begun and does not fit any more is not left fenced", async () => {
            await walk(async (cluster, where) => {
                const done = cluster.changes.get(given.way[1])?.phase === "done";
                if (done) return;
                cluster.changed = true;
                assert.match((await cluster.run(given.way)) ?? "", /do not fit:.*was given up/s, where);
                assert.equal(assertWhole(cluster, given, where), false, where);
            });
        });

        test("wherever a connection is lost or the run is killed, the next run ends well, and nothing is lost or there twice", async () => {
            let given_up = 0;
            let done_all_the_same = 0;
            await walk(async (cluster, where, how, error) => {
                const done = cluster.changes.get(given.way[1])?.phase === "done";
                if (how !== "killed" && error !== undefined) {
                    // what is said is what is true
                    if (/ was given up: /.test(error)) {
                        given_up++;
                        assert.equal(assertWhole(cluster, given, where), false, where);
                    } else if (/ was done all the same: /.test(error)) {
                        done_all_the_same++;
                        assert.equal(assertWhole(cluster, given, where), true, where);
                    } else assert.equal(cluster.changes.size, 0, where);
                    assert.match(error, /Connection terminated/, where);
                }
                if (!done) assert.equal(await cluster.run(given.way), undefined, where);
                assert.equal(assertWhole(cluster, given, where), true, where);
                assert.equal(cluster.tenants.get(given.way[1])?.state, "active", where);
            });
            assert.ok(given_up > 20 && done_all_the_same > 0, `${given_up} ${done_all_the_same}`);
        });

        test("rows that somebody else put where it goes are never touched", async () => {
            const [database, schema] = given.target;
            const stranger = given.keys?.target ? `${given.keys.target}:99` : "99";
            await walk(async (cluster, where) => {
                const done = cluster.changes.get(given.way[1])?.phase === "done";
                const there = () => cluster.of(database, `"${schema}"."users"`);
                there().push(stranger);
                const before = allRows(cluster, given.target);
                if (done) return;
                const error = await cluster.run(given.way);
                assert.match(error ?? "", /"users"? has \d rows?/, where);
                assert.match(error ?? "", /was given up: .* takes writes again/, where);
                assert.deepEqual(allRows(cluster, given.target), before, where);
                assert.equal(cluster.tenants.get(given.way[0])?.state, "active", where);
            });
        });
    });
}
