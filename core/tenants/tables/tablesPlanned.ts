/** What is planned for the tables of one group, part by part. Pure. */

import { describeBytes } from "../../util/bytes.ts";
import { describeDuration } from "../../util/describeDuration.ts";
import type { Step } from "../group/facet.ts";
import type { GroupSpec, TableSpec } from "../group/spec.ts";
import type { FoundTables, TableStep } from "./tablesFound.ts";
import type { Wish } from "./tablesWish.ts";

/** What the table is to be; the tables of model rls are the coordinator's own. */
export const targetKind = (group: GroupSpec, spec: TableSpec): "local" | "distributed" | "reference" =>
    group.model === "rls" ? "local" : spec.kind;

const list = (names: readonly string[]) => names.join(", ");

export class Plan {
    readonly refusals: string[] = [];
    readonly notes: string[] = [];
    readonly steps: Step[] = [];
    readonly wishes = new Map<string, Wish>();
    readonly missing: string[] = [];
    readonly group: GroupSpec;
    readonly found: FoundTables;
    readonly anchorName: string;
    /** Foreign keys that each table loses. */
    readonly lost = new Map<string, string[]>();
    /** The table that gives the group its shards, as it is now; without one the anchor makes the group. */
    base: Wish | undefined;
    /** Whether all of the group goes by another column. */
    anchorMoves = false;

    constructor(group: GroupSpec, found: FoundTables) {
        this.group = group;
        this.found = found;
        this.anchorName = group.anchor ?? "";
    }

    get anchor(): Wish | undefined {
        return this.wishes.get(this.anchorName);
    }

    allowed(name: string): boolean {
        return this.group.allow.includes(name);
    }

    /** What a file of the template that is still to be run may mend. */
    mendable(text: string): void {
        if (this.found.pending)
            this.notes.push(`${text}\n(unless a file of template that is still to be run corrects it)`);
        else this.refusals.push(text);
    }

    step(kind: string, table: string, text: string, detail: TableStep = {}): void {
        this.steps.push({ kind: `tables.${kind}`, table, text, detail });
    }

    /** The shard count that is declared, where it is not the one that is there. */
    get wantedShards(): number | undefined {
        const count = this.group.tables[this.anchorName]?.shardCount;
        return this.anchor && this.base && count !== undefined && this.base.found.declared !== count
            ? count
            : undefined;
    }

    refuseBeside(name: string, reasons: readonly string[], otherwise: string): void {
        this.refusals.push(
            `${name} can't be made anew beside the old table: ${reasons.join("; ")}.${otherwise === "" ? "" : `\n${otherwise}`}\nTake away what is in the way and make it again afterwards. Or declare ${name} as it is.`,
        );
    }

    /** @returns what will be done, where that is allowed; refuses it otherwise */
    blocked(name: string, what: string, bytes: number, rate: number | undefined, otherwise: string, wait = ""): string {
        const lost = this.lost.get(name) ?? [];
        const keys = lost.length > 0 ? `; the foreign keys ${list(lost)} are dropped` : "";
        const text = `${name}: ${what}; ${describeBytes(bytes)} are copied, ${describeDuration(bytes, rate)}${wait}${keys}`;
        if (!this.allowed(name))
            this.refusals.push(`${text}\nTo allow that, put "${name}" into allow. Otherwise ${otherwise}.`);
        return text;
    }

    asItIs({ found: table }: Wish): string {
        return table.kind === "reference"
            ? "declare it reference: true"
            : `declare it distributeBy: ${table.distributedBy}${this.group.model === "rls" ? " in a group of model row" : ""}`;
    }
}
