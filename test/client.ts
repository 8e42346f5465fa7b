/**
 * A client that never stops writing and checks what it reads: transfers between companies, inserts, deletes, a table that
 * is emptied again and again, partitions that come and go, sums.
 */

import type { Access } from "../core/node/reach.ts";
import { connect, type Session } from "../core/reach/session.ts";

export interface ClientReport {
    transfers: number;
    inserts: number;
    reads: number;
    deletes: number;
    truncates: number;
    /** Partitions that were dropped. */
    partitions: number;
    /** What a statement failed with before it was tried again. */
    errors: string[];
    /** Sums or counts that were not what they had to be. */
    wrong: string[];
    /** Ids of rows whose insert was confirmed. */
    acknowledged: Set<number>;
    /** Longest statement, in milliseconds. */
    worst: number;
}

export class WritingClient {
    private readonly access: Access;
    private readonly companies: number;
    private readonly report: ClientReport = {
        transfers: 0,
        inserts: 0,
        reads: 0,
        deletes: 0,
        truncates: 0,
        partitions: 0,
        errors: [],
        wrong: [],
        acknowledged: new Set(),
        worst: 0,
    };
    private running = true;
    private loops: Promise<void>[] = [];
    private nextId = 1_000_001;
    private nextQueued = 1;

    private constructor(access: Access, companies: number) {
        this.access = access;
        this.companies = companies;
    }

    static async start(access: Access, companies: number): Promise<WritingClient> {
        const client = new WritingClient(access, companies);
        client.loops = [client.loop("transfer"), client.loop("insert"), client.loop("read")];
        return client;
    }

    /** Also deletes, empties and drops; asks for {@link QUEUES}. */
    static async startDeleting(access: Access, companies: number): Promise<WritingClient> {
        const client = await WritingClient.start(access, companies);
        client.loops.push(client.loop("delete"), client.loop("truncate"), client.loop("partition"));
        return client;
    }

    /** Throws when a wrong sum was seen so far. */
    check(): void {
        if (this.report.wrong.length > 0) throw new Error(this.report.wrong.join("\n"));
    }

    async stop(): Promise<ClientReport> {
        this.running = false;
        await Promise.all(this.loops);
        return this.report;
    }

    private async loop(kind: "transfer" | "insert" | "read" | "delete" | "truncate" | "partition"): Promise<void> {
        let session: Session | undefined;
        while (this.running) {
            try {
                session ??= await connect(this.access, "client", { patience: 1000 });
                const began = Date.now();
                await this[kind](session);
                this.report.worst = Math.max(this.report.worst, Date.now() - began);
            } catch (error) {
                this.report.errors.push(`${kind}: ${(error as Error).message}`);
                await session?.close().catch(() => undefined);
                session = undefined;
                await new Promise((resolve) => setTimeout(resolve, 200));
            }
            await new Promise((resolve) => setTimeout(resolve, 15));
        }
        await session?.close().catch(() => undefined);
    }

    private random(): number {
        return 1 + Math.floor(Math.random() * this.companies);
    }

    /** Moves money between two companies, mostly on different shards: two-phase commit. */
    private async transfer(session: Session): Promise<void> {
        const [a, b] = [this.random(), this.random()].sort((x, y) => x - y) as [number, number];
        if (a === b) return;
        await session.query("BEGIN");
        await session.query("UPDATE companies SET balance = balance - 1 WHERE id = $1", [a]);
        await session.query("UPDATE companies SET balance = balance + 1 WHERE id = $1", [b]);
        await session.query("COMMIT");
        this.report.transfers++;
    }

    private async insert(session: Session): Promise<void> {
        const id = this.nextId++;
        await session.query("INSERT INTO users (company_id, id, email) VALUES ($1, $2, $3)", [
            this.random(),
            id,
            `${id}@example.com`,
        ]);
        this.report.acknowledged.add(id);
        this.report.inserts++;
    }

    /** Rows that nobody removes: their number is known, and a confirmed insert is read back. */
    private async read(session: Session): Promise<void> {
        const [projects] = await session.query<{ n: string }>("SELECT count(*) AS n FROM projects");
        if (Number(projects?.n) !== this.companies * 20)
            this.report.wrong.push(`projects: ${projects?.n} instead of ${this.companies * 20}`);
        const [companies] = await session.query<{ n: string }>("SELECT count(*) AS n FROM companies");
        if (Number(companies?.n) !== this.companies)
            this.report.wrong.push(`companies: ${companies?.n} instead of ${this.companies}`);
        const before = this.report.acknowledged.size;
        const [users] = await session.query<{ n: string }>("SELECT count(*) AS n FROM users WHERE id > 1000000");
        if (Number(users?.n) < before)
            this.report.wrong.push(`users: ${users?.n} after ${before} inserts were confirmed`);
        this.report.reads++;
        await new Promise((resolve) => setTimeout(resolve, 100));
    }

    /** Takes the oldest jobs out of the queue and out of a partitioned one, and goes idle as a pool's connection does. */
    private async delete(session: Session): Promise<void> {
        const id = this.nextQueued++;
        await session.query("DELETE FROM jobs WHERE id = $1", [id]);
        await session.query("DELETE FROM events WHERE id = $1 AND day < 100", [id]);
        this.report.deletes++;
        if (id % 300 === 0) await new Promise((resolve) => setTimeout(resolve, 4000));
    }

    private async truncate(session: Session): Promise<void> {
        await session.query("INSERT INTO buffer SELECT i, 'x' FROM generate_series(1, 100) i");
        const [row] = await session.query<{ n: string }>("SELECT count(*) AS n FROM buffer");
        if (Number(row?.n) !== 100) this.report.wrong.push(`buffer: ${row?.n} instead of 100`);
        await session.query("TRUNCATE buffer");
        this.report.truncates++;
        await new Promise((resolve) => setTimeout(resolve, 500));
    }

    /** What retention does every night. */
    private async partition(session: Session): Promise<void> {
        if (this.report.partitions === OLD_DAYS.length) return;
        const day = OLD_DAYS[this.report.partitions];
        await session.query(`DROP TABLE IF EXISTS events_${day}`);
        this.report.partitions++;
        await new Promise((resolve) => setTimeout(resolve, 10_000));
    }
}

/** Days whose partitions are dropped, one after the other. */
const OLD_DAYS = [100, 101, 102, 103, 104, 105];

/** How many jobs, and events of days that stay, there are at first. */
export const QUEUED = 40_000;

/** Tables out of which a {@link WritingClient} deletes. */
export const QUEUES = [
    "CREATE TABLE jobs (id bigint PRIMARY KEY, body text)",
    "CREATE TABLE events (id bigint, day int, body text, PRIMARY KEY (id, day)) PARTITION BY LIST (day)",
    ...[0, 1, 2, ...OLD_DAYS].map((day) => `CREATE TABLE events_${day} PARTITION OF events FOR VALUES IN (${day})`),
    "CREATE TABLE buffer (id bigint PRIMARY KEY, body text)",
    "SELECT create_distributed_table('jobs', 'id', colocate_with => 'none')",
    "SELECT create_distributed_table('events', 'id', colocate_with => 'jobs')",
    "SELECT create_distributed_table('buffer', 'id', colocate_with => 'jobs')",
    `INSERT INTO jobs SELECT i, md5(i::text) FROM generate_series(1, ${QUEUED}) i`,
    `INSERT INTO events SELECT i, i % 3, md5(i::text) FROM generate_series(1, ${QUEUED}) i`,
    `INSERT INTO events SELECT i, day, 'old' FROM generate_series(1, 2000) i, unnest(ARRAY[${OLD_DAYS}]) day`,
];
