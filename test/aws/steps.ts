/** Tests one after the other on the same cluster, each said with its seconds; nothing is begun after what can't go on. */
import { test } from "vitest";

const began = Date.now();

/** A line with the time since the start. */
export function say(text: string): void {
    console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(5)} s  ${text}`);
}

export class Steps {
    private reason: string | undefined;

    /** What is not begun yet is not begun any more. */
    stop(reason: string): void {
        this.reason ??= reason;
    }

    /** A test that the rest can do without. */
    check(title: string, work: () => Promise<void>): void {
        void test(title, () => this.run(title, work));
    }

    /** A test without which the rest can't be. */
    step(title: string, work: () => Promise<void>): void {
        void test(title, async () => {
            try {
                await this.run(title, work);
            } catch (error) {
                this.stop(`"${title}" failed`);
                throw error;
            }
        });
    }

    private async run(title: string, work: () => Promise<void>): Promise<void> {
        if (this.reason !== undefined) throw notBegun(this.reason);
        await timed(title, work);
    }
}

/** Where it was found out does not matter, and would be printed for every test that is left. */
function notBegun(reason: string): Error {
    const error = new Error(`not begun: ${reason}`);
    error.stack = error.message;
    return error;
}

/** Says when it begins, and how it ended after how many seconds. */
export async function timed(title: string, work: () => Promise<void>): Promise<void> {
    const start = Date.now();
    const took = () => `${((Date.now() - start) / 1000).toFixed(0)} s`;
    say(`${title} ...`);
    try {
        await work();
        say(`${title}: ok, ${took()}`);
    } catch (error) {
        say(`${title}: FAILED after ${took()}`);
        throw error;
    }
}
