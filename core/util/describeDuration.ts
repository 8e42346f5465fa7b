/** How long copying takes, as text. */

import { describeBytes } from "./bytes.ts";

/** Bytes a second where nothing was measured: what a small machine does. */
export const USUAL_RATE = 20_000_000;

const spell = (seconds: number) =>
    seconds < 1
        ? "less than a second"
        : seconds < 120
          ? `about ${Math.ceil(seconds)} s`
          : seconds < 7200
            ? `about ${Math.ceil(seconds / 60)} min`
            : `about ${Math.ceil(seconds / 3600)} h`;

/** How long that much takes, as a clause. */
export function describeDuration(bytes: number, rate: number | undefined): string {
    if (rate !== undefined && rate > 0) return spell(bytes / rate);
    return `${spell(bytes / USUAL_RATE)} (at ${describeBytes(USUAL_RATE)}/s, since no rate was measured yet on this cluster)`;
}
