/** A client that never stops writing and checks what it reads: transfers between companies, inserts, sums. */
import { type Access, connect, type Session } from "../components/citus/session.ts";

export interface ClientReport {
    transfers: number;
    inserts: number;
    reads: number;
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
        errors: [],
        wrong: [],
        acknowledged: new Set(),
        worst: 0,
    };
    private running = true;
    private loops: Promise<void>[] = [];
    private nextId = 1_000_001;

    private constructor(access: Access, companies: number) {
        this.access = access;
        this.companies = companies;
    }

    static async start(access: Access, companies: number): Promise<WritingClient> {
        const client = new WritingClient(access, companies);
        client.loops = [client.loop("transfer"), client.loop("insert"), client.loop("read")];
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

    private async loop(kind: "transfer" | "insert" | "read"): Promise<void> {
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
}
