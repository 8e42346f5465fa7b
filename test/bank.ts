/** Transfers between accounts on different nodes, written so that half a transfer can be seen: two balances and two ledger rows. */
import { randomBytes } from "node:crypto";
import type { Access } from "../core/node/reach.ts";
import { connect, type Session } from "../core/reach/session.ts";

export const BANK = `
CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE ledger (account bigint, transfer text, amount bigint NOT NULL, PRIMARY KEY (account, transfer));
CREATE TABLE currencies (id int PRIMARY KEY, code text NOT NULL);
SELECT create_reference_table('currencies');
SELECT create_distributed_table('accounts', 'id');
SELECT create_distributed_table('ledger', 'account', colocate_with => 'accounts');
CREATE TABLE counters (id int PRIMARY KEY, n bigint NOT NULL);
CREATE TABLE local_counters (id int PRIMARY KEY, n bigint NOT NULL);
SELECT create_distributed_table('counters', 'id', colocate_with => 'none');
INSERT INTO counters SELECT i, 0 FROM generate_series(1, 32) i;
INSERT INTO local_counters SELECT i, 0 FROM generate_series(1, 32) i;
INSERT INTO currencies VALUES (1, 'EUR'), (2, 'CHF');
`;

export const START = 1000;

export class Bank {
    private readonly accounts: number;
    /** Transfers of another bank on the same accounts have other names. */
    private readonly id = randomBytes(3).toString("hex");
    private running = true;
    private loops: Promise<void>[] = [];
    transfers = 0;
    readonly errors: string[] = [];

    constructor(accounts: number) {
        this.accounts = accounts;
    }

    static async open(session: Session, accounts: number): Promise<void> {
        await session.query(BANK);
        await session.query(`INSERT INTO accounts SELECT i, ${START} FROM generate_series(1, ${accounts}) i`);
    }

    /** One client a node that is named, until stop(). */
    start(entries: readonly { readonly name: string; readonly access: Access }[], clients = 1): void {
        for (const entry of entries)
            for (let i = 0; i < clients; i++) this.loops.push(this.loop(entry.name, entry.access, i));
        // a table that Citus does not know and one shard in one transaction, which commits without two phases
        const coordinator = entries.find(({ name }) => name === "coordinator");
        if (coordinator)
            for (let i = 0; i < 2 * clients; i++)
                this.loops.push(this.loop("coordinator", coordinator.access, 1 + i, true));
    }

    async stop(): Promise<void> {
        this.running = false;
        await Promise.all(this.loops);
    }

    private async loop(name: string, access: Access, client: number, local = false): Promise<void> {
        let session: Session | undefined;
        for (let n = 0; this.running; n++) {
            try {
                session ??= await connect(access, name, { patience: 1000 });
                if (local) await this.count(session, client);
                else await this.transfer(session, `${this.id}-${name}-${client}-${n}`);
                this.transfers++;
            } catch (error) {
                this.errors.push(`${name}: ${(error as Error).message}`);
                await session?.query("ROLLBACK").catch(() => undefined);
                await session?.close().catch(() => undefined);
                session = undefined;
                await new Promise((resolve) => setTimeout(resolve, 100));
            }
        }
        await session?.close().catch(() => undefined);
    }

    private async count(session: Session, id: number): Promise<void> {
        await session.query("BEGIN");
        await session.query("UPDATE local_counters SET n = n + 1 WHERE id = $1", [id]);
        await session.query("UPDATE counters SET n = n + 1 WHERE id = $1", [id]);
        await session.query("COMMIT");
    }

    private async transfer(session: Session, id: string): Promise<void> {
        const pick = () => 1 + Math.floor(Math.random() * this.accounts);
        // always in the same order, so that transfers never wait for each other in a circle
        const [a, b] = [pick(), pick()].sort((x, y) => x - y) as [number, number];
        if (a === b) return;
        const amount = 1 + Math.floor(Math.random() * 20);
        await session.query("BEGIN");
        await session.query("UPDATE accounts SET balance = balance - $2 WHERE id = $1", [a, amount]);
        await session.query("UPDATE accounts SET balance = balance + $2 WHERE id = $1", [b, amount]);
        await session.query("INSERT INTO ledger VALUES ($1, $2, $3)", [a, id, -amount]);
        await session.query("INSERT INTO ledger VALUES ($1, $2, $3)", [b, id, amount]);
        await session.query("COMMIT");
    }
}

/** What is wrong with the books; empty when every transfer is whole. Only means something while nobody writes. */
export async function audit(session: Session, accounts: number): Promise<string[]> {
    const wrong: string[] = [];
    const [total] = await session.query<{ n: number; sum: string }>(
        "SELECT count(*)::int AS n, sum(balance)::text AS sum FROM accounts",
    );
    if (total?.n !== accounts || Number(total.sum) !== accounts * START)
        wrong.push(`${total?.n} accounts hold ${total?.sum}, it should be ${accounts} with ${accounts * START}`);
    const [halves] = await session.query<{ n: number }>(
        "SELECT count(*)::int AS n FROM (SELECT transfer FROM ledger GROUP BY transfer HAVING count(*) <> 2 OR sum(amount) <> 0) x",
    );
    if (halves?.n !== 0) wrong.push(`${halves?.n} transfers are not whole`);
    const [off] = await session.query<{ n: number }>(
        `SELECT count(*)::int AS n FROM (SELECT a.id FROM accounts a LEFT JOIN ledger l ON l.account = a.id
           GROUP BY a.id, a.balance HAVING a.balance <> ${START} + coalesce(sum(l.amount), 0)) x`,
    );
    if (off?.n !== 0) wrong.push(`${off?.n} balances differ from their ledger`);
    const [known] = await session.query<{ there: boolean }>(
        "SELECT to_regclass('local_counters') IS NOT NULL AS there",
    );
    if (known?.there) {
        const [apart] = await session.query<{ n: number }>(
            "SELECT count(*)::int AS n FROM counters c JOIN (SELECT * FROM local_counters OFFSET 0) l USING (id) WHERE c.n <> l.n",
        );
        if (apart?.n !== 0) wrong.push(`${apart?.n} counters differ from their local table`);
    }
    return wrong;
}
