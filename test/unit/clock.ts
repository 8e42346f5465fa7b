import type { TestContext } from "node:test";

/** Runs with a clock that goes a quarter of a second at each turn of the event loop. */
export async function quickly<T>(t: TestContext, work: () => Promise<T>): Promise<T> {
    t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
    let over = false;
    const result = work().finally(() => {
        over = true;
    });
    result.catch(() => undefined);
    while (!over) {
        await new Promise((resolve) => setImmediate(resolve));
        t.mock.timers.tick(250);
    }
    return result;
}
