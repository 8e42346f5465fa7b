import { vi } from "vitest";

/** Runs with a clock that goes a quarter of a second at each turn of the event loop. */
export async function quickly<T>(work: () => Promise<T>): Promise<T> {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"], now: 1_000_000 });
    try {
        let over = false;
        const result = work().finally(() => {
            over = true;
        });
        result.catch(() => undefined);
        while (!over) {
            await new Promise((resolve) => setImmediate(resolve));
            vi.advanceTimersByTime(250);
        }
        return await result;
    } finally {
        vi.useRealTimers();
    }
}
