/** SQL carried by commands: what pg makes of a stream whose bytes travel in exchanges. */
import assert from "node:assert/strict";
import pg from "pg";
import { describe, test } from "vitest";
import { type Carrier, RelayStream } from "../../../../core/reach/aws/relay.ts";

const message = (type: string, body: Buffer = Buffer.alloc(0)) => {
    const head = Buffer.alloc(5);
    head.write(type, 0);
    head.writeInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
};
const READY = message("Z", Buffer.from("I"));
const AUTHENTICATED = message("R", Buffer.from([0, 0, 0, 0]));
const text = (value: string) => Buffer.from(`${value}\0`);

/** One row with one text column. */
function row(value: string): Buffer {
    const column = Buffer.concat([text("answer"), Buffer.alloc(18)]);
    column.writeInt32BE(25, text("answer").length + 6);
    const size = Buffer.alloc(4);
    size.writeInt32BE(value.length);
    return Buffer.concat([
        message("T", Buffer.concat([Buffer.from([0, 1]), column])),
        message("D", Buffer.concat([Buffer.from([0, 1]), size, Buffer.from(value)])),
        message("C", text("SELECT 1")),
        READY,
    ]);
}

/** A server that answers the start of a session, and then each statement with its own text. */
class FakeServer implements Carrier {
    readonly inputs: Buffer[] = [];
    closed = 0;
    private out = Buffer.alloc(0);
    private readonly most: number;
    private readonly slow: number;

    /** @param most bytes an exchange brings back; @param slow exchanges that bring nothing before the answer */
    constructor(most = 12_288, slow = 0) {
        this.most = most;
        this.slow = slow;
    }

    private silent = 0;

    async exchange(input: Buffer, offset: number) {
        if (input.length > 0) {
            this.inputs.push(input);
            const answer =
                input[0] === 0x51 ? row(input.subarray(5, -1).toString()) : Buffer.concat([AUTHENTICATED, READY]);
            this.out = Buffer.concat([this.out, answer]);
            this.silent = this.slow;
        }
        if (this.silent > 0) {
            this.silent--;
            return { next: offset, closed: false, idle: false, data: Buffer.alloc(0) };
        }
        const data = this.out.subarray(offset, offset + this.most);
        const next = offset + data.length;
        return { next, closed: false, idle: next === this.out.length, data };
    }

    async close() {
        this.closed++;
    }
}

async function connected(server: Carrier) {
    const stream = new RelayStream(server);
    const client = new pg.Client({ user: "postgres", database: "app", ssl: false, stream: () => stream });
    await client.connect();
    return { client, stream };
}

describe("RelayStream", () => {
    test("a session begins with one exchange, and a statement costs one more", async () => {
        const server = new FakeServer();
        const { client } = await connected(server);
        assert.equal(server.inputs.length, 1);
        const { rows } = await client.query("SELECT 'a'");
        assert.deepEqual(rows, [{ answer: "SELECT 'a'" }]);
        assert.equal(server.inputs.length, 2);
        await client.end();
        assert.equal(server.closed, 1);
    });

    test("an answer larger than an exchange arrives whole", async () => {
        const { client } = await connected(new FakeServer(100));
        const long = `SELECT '${"x".repeat(5000)}'`;
        assert.equal((await client.query(long)).rows[0].answer, long);
        await client.end();
    });

    test("an answer that takes long is waited for", async () => {
        const { client } = await connected(new FakeServer(12_288, 5));
        assert.equal((await client.query("SELECT 1")).rows[0].answer, "SELECT 1");
        await client.end();
    });

    test("statements one after the other do not mix", async () => {
        const { client } = await connected(new FakeServer(7));
        const found = await Promise.all(["one", "two", "three"].map((sql) => client.query(sql)));
        assert.deepEqual(
            found.map(({ rows }) => rows[0].answer),
            ["one", "two", "three"],
        );
        await client.end();
    });

    test("a machine that can't be reached ends the statement with the reason, not with silence", async () => {
        const server = new FakeServer();
        const { client } = await connected(server);
        client.on("error", () => undefined);
        server.exchange = async () => {
            throw new Error("worker-1: its machine can't be reached");
        };
        await assert.rejects(client.query("SELECT 1"), /can't be reached/);
    });

    test("a server that closes ends the session", async () => {
        const server = new FakeServer();
        const { client } = await connected(server);
        client.on("error", () => undefined);
        server.exchange = async (_input, offset) => ({ next: offset, closed: true, idle: true, data: Buffer.alloc(0) });
        await assert.rejects(client.query("SELECT 1"), /terminated|ended/i);
    });
});
