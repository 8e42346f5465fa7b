/** What the parts of the benchmark hand in. */

export interface Row {
    readonly what: string;
    readonly figure: string;
    readonly target: string;
    readonly met: boolean | undefined;
    /** Whether it is missed by so much that no busy machine is the reason: the benchmark fails. @default false */
    readonly far?: boolean;
}

/** A target that is missed by this factor is missed by far. */
const FAR = 3;

/** @param figure measured, in the target's unit: the less, the better */
export const judge = (figure: number, target: number) => ({ met: figure < target, far: !(figure < FAR * target) });

export interface Section {
    readonly rows: readonly Row[];
    readonly data: Readonly<Record<string, unknown>>;
}

export const say = (text: string) => console.error(`  ${text}`);
export const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

export function median(values: readonly number[]): number {
    const sorted = [...values].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    const high = sorted[middle] ?? Number.NaN;
    return sorted.length % 2 === 1 ? high : (high + (sorted[middle - 1] ?? high)) / 2;
}
export const round = (values: readonly number[]) => values.map(Math.round);
