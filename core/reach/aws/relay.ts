/**
 * A connection to a machine's PostgreSQL without a port to reach: its bytes are carried by commands. Each write and what
 * comes back is one exchange, so a statement costs one command.
 */
import { Duplex } from "node:stream";

export interface Exchanged {
    /** How many bytes of the answer have been read so far. */
    readonly next: number;
    /** Whether the server has closed the connection. */
    readonly closed: boolean;
    /** Whether the answer is whole: the server waits for the next statement. */
    readonly idle: boolean;
    readonly data: Buffer;
}

export interface Carrier {
    /** Sends bytes, and waits some seconds for what comes back after the first `offset` bytes. */
    exchange(input: Buffer, offset: number): Promise<Exchanged>;
    close(): Promise<void>;
}

/** The other side ends a connection that is silent for two minutes. */
const KEEP_ALIVE = 40_000;
/** PostgreSQL's Terminate message: nothing comes back but the end. */
const TERMINATE = Buffer.from([0x58, 0, 0, 0, 4]);

/** A socket as `pg` uses one, over a carrier. */
export class RelayStream extends Duplex {
    private readonly carrier: Carrier;
    private pending: Buffer[] = [];
    private offset = 0;
    private running = false;
    private timer: NodeJS.Timeout | undefined;

    constructor(carrier: Carrier) {
        super({ allowHalfOpen: false });
        this.carrier = carrier;
    }

    /** There is nothing to dial: the first exchange opens the connection. */
    connect(): this {
        setImmediate(() => this.emit("connect"));
        return this;
    }

    setNoDelay(): this {
        return this;
    }

    setKeepAlive(): this {
        return this;
    }

    ref(): this {
        return this;
    }

    unref(): this {
        return this;
    }

    override _read(): void {
        // data is pushed when an exchange brings some
    }

    override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
        this.pending.push(chunk);
        done();
        // what is written in one turn travels together
        setImmediate(() => void this.pump());
    }

    override _final(done: (error?: Error | null) => void): void {
        this.end_();
        done();
    }

    override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
        clearTimeout(this.timer);
        this.carrier.close().then(
            () => done(error),
            () => done(error),
        );
    }

    private end_(): void {
        clearTimeout(this.timer);
        if (!this.readableEnded) this.push(null);
    }

    private async pump(keepAlive = false): Promise<void> {
        if (this.running || this.destroyed || (this.pending.length === 0 && !keepAlive)) return;
        this.running = true;
        clearTimeout(this.timer);
        try {
            let idle = false;
            while (!this.destroyed && (this.pending.length > 0 || !idle)) {
                const input = Buffer.concat(this.pending);
                this.pending = [];
                if (input.subarray(-TERMINATE.length).equals(TERMINATE)) {
                    this.end_();
                    return;
                }
                const answer = await this.carrier.exchange(input, this.offset);
                this.offset = answer.next;
                idle = answer.idle;
                if (answer.data.length > 0) this.push(answer.data);
                if (answer.closed) {
                    this.end_();
                    return;
                }
            }
            this.timer = setTimeout(() => void this.pump(true), KEEP_ALIVE);
            this.timer.unref();
        } catch (error) {
            this.destroy(error as Error);
        } finally {
            this.running = false;
        }
        if (this.pending.length > 0) await this.pump();
    }
}
