/** Lines of several nodes as one. Pure. */
import type { LogLine } from "../../core/reach/log.ts";

export interface NodeLine extends LogLine {
    readonly node: string;
}

/** By time; lines of the same time and node stay in their order. */
export const byTime = (lines: readonly NodeLine[]): NodeLine[] => [...lines].sort((a, b) => a.at - b.at);

/** Each line with its node before it, in a column, where there are several. */
export function shownLine({ node, text }: NodeLine, nodes: readonly string[]): string {
    const width = Math.max(...nodes.map((name) => name.length));
    return nodes.length === 1 ? text : `${node.padEnd(width)}  ${text}`;
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Milliseconds that `90s`, `10m`, `2h` or `1d` mean; undefined for anything else. */
export function durationOf(text: string): number | undefined {
    const [, count, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
    return count === undefined ? undefined : Number(count) * (UNITS[unit] ?? 0) * 1000;
}
