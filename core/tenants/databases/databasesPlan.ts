/** What there is to do so that each tenant has its database where the program says. Pure. */

import { ownProperty } from "../../util/ownProperty.ts";
import { databaseOf } from "../data/shape.ts";
import type { FoundMigrations } from "../files/migrations.ts";
import type { Planned, Step } from "../group/facet.ts";
import { notNamed } from "../group/notNamed.ts";
import { type GroupSpec, type TenantSpec, tenantRole } from "../group/spec.ts";
import { newFiles } from "../onboarding/newFiles.ts";
import {
    type DatabaseFound,
    type DatabasesFound,
    databaseOn,
    explainForeign,
    explainMisplaced,
    type LedgerRow,
    nodesWith,
} from "./databaseFound.ts";
import { describeMove } from "./moveWords.ts";

const RESERVED = new Set(["postgres", "template0", "template1"]);

/** Databases of tenants, of any group, by node: where the next one goes. */
class Load {
    private readonly counts: Map<string, number>;

    constructor(found: DatabasesFound) {
        this.counts = new Map(
            found.nodes.map(({ name, databases }) => [
                name,
                databases.filter((d) => d.name !== "postgres" && d.name !== found.own).length,
            ]),
        );
    }

    add(node: string): void {
        this.counts.set(node, (this.counts.get(node) ?? 0) + 1);
    }

    /** The worker with the fewest; the coordinator where there is none. */
    least(): string {
        const workers = [...this.counts].filter(([name]) => name !== "coordinator");
        // a sort keeps the order of equals
        return workers.sort((a, b) => a[1] - b[1])[0]?.[0] ?? "coordinator";
    }
}

/** The role that a tenant connects as, when it has one. */
export const roleOf = (group: GroupSpec, tenant: string): string | undefined =>
    group.tenants[tenant]?.role ? tenantRole(group.name, tenant) : undefined;

export const limitOf = (tenant: TenantSpec | undefined): number => tenant?.limits?.connections ?? -1;

function refuseName(group: GroupSpec, tenant: string, found: DatabasesFound): string | undefined {
    const name = databaseOf(tenant);
    if (RESERVED.has(name) || name === found.own || name.startsWith("citus_as_code"))
        return `${tenant}: a tenant's database can't be called ${name}: PostgreSQL or the cluster uses that name. Choose another name.`;
    if (Buffer.byteLength(name) > 63)
        return `${tenant}: the name is longer than the 63 bytes of a database's name. Choose a shorter one.`;
    const other = found.others[name];
    if (other !== undefined)
        return `${tenant}: group ${other} has a tenant of this name, and each database of a cluster has its own name. Choose another name in ${group.name}.`;
    return undefined;
}

export interface CreateDetail {
    readonly node: string;
    /** Files that it is made from, in their order. */
    readonly files: readonly string[];
}

export interface MoveDetail {
    readonly to: string;
}

/** What one tenant that is in the ledger needs, once nothing of it is in the way. */
function planKnown(
    group: GroupSpec,
    row: LedgerRow,
    found: DatabasesFound,
    files: readonly string[] = [],
): { steps: Step[]; refusal?: string } {
    const { tenant, detail } = row;
    const name = databaseOf(tenant);
    const wanted = group.tenants[tenant];
    const target = wanted?.node ?? detail.move?.to ?? row.node ?? "";
    const there = databaseOn(found, row.node, name);
    // what a restore left is neither made nor moved: it may be half of what it was, or nothing
    if (detail.restoring === true) {
        return {
            steps: [],
            refusal: there
                ? `${tenant}: a restore of its database on ${row.node} was begun and not ended, so it may not be whole. It takes no connections.\nRestore it again: npm run tenants -- restore ${group.name}/${tenant} FILE --replace.`
                : (explainMisplaced(group, row, found) ??
                  `${tenant}: a restore of its database on ${row.node} was begun and not ended, and the database does not exist. No empty one is put in its place.\nRestore it from the same export or another: npm run tenants -- restore ${group.name}/${tenant} FILE. Or give it the state deleted.`),
        };
    }
    const moving: Step[] = [];
    if (detail.move !== undefined || target !== row.node) {
        moving.push({
            kind: "databases.move",
            tenant,
            text: describeMove(tenant, row.node ?? "", target, { ...detail, bytes: there?.bytes, rate: found.rate }),
            detail: { to: target } satisfies MoveDetail,
        });
    }
    if (row.state === "creating") {
        const making: Step = {
            kind: "databases.create",
            tenant,
            text: `${tenant}: go on making its database on ${row.node}`,
            detail: { node: row.node ?? "", files } satisfies CreateDetail,
        };
        return { steps: [making, ...moving] };
    }
    if (detail.move !== undefined) {
        const after = there && wanted ? planAccess(group, tenant, { ...there, limit: detail.move.limit }) : [];
        return { steps: [...moving, ...after] };
    }
    if (!there) {
        return {
            steps: [],
            refusal:
                explainMisplaced(group, row, found) ??
                `${tenant}: its database should be on ${row.node} and is gone. No empty one is put in its place.\nRestore it from an export (npm run tenants -- restore ${group.name}/${tenant} FILE), or under its name from a backup, or write it under delete.`,
        };
    }
    const refusal = explainForeign(group, row, there.comment);
    if (refusal !== undefined) return { steps: [], refusal };
    return { steps: [...moving, ...planAccess(group, tenant, there)] };
}

/** Who may connect, and how often, when that is not as it should be. */
function planAccess(group: GroupSpec, tenant: string, there: DatabaseFound): Step[] {
    const said: string[] = [];
    const role = roleOf(group, tenant);
    const limit = limitOf(group.tenants[tenant]);
    if (there.open) said.push("close its database to everybody else");
    if (role !== undefined && !there.roles?.includes(role)) said.push(`let ${role} in`);
    if (there.limit !== limit)
        said.push(`connection limit ${there.limit < 0 ? "none" : there.limit} → ${limit < 0 ? "none" : limit}`);
    return said.length === 0 ? [] : [{ kind: "databases.access", tenant, text: `${tenant}: ${said.join(", ")}` }];
}

export function plan(group: GroupSpec, found: DatabasesFound, all: Readonly<Record<string, unknown>>): Planned {
    const states = Object.fromEntries(found.ledger.map(({ tenant, state }) => [tenant, state]));
    const filesOf = newFiles(group, all.migrations as FoundMigrations | undefined, states);
    const steps: Step[] = [];
    const refusals: string[] = [];
    const ledger = new Map(found.ledger.map((row) => [row.tenant, row]));
    const load = new Load(found);
    const names = found.nodes.map((node) => node.name);
    for (const [tenant, wanted] of Object.entries(group.tenants)) {
        if (group.delete.includes(tenant)) continue;
        const row = ledger.get(tenant);
        if (row?.state === "deleting") {
            refusals.push(
                `${tenant}: its deletion was begun and not ended. Give it the state deleted again until it is gone. After that it can be made anew.`,
            );
            continue;
        }
        // what became of it is said by its change of model
        if (row?.state === "superseded") continue;
        if (wanted.node !== undefined && found.nodes.length > 0 && !names.includes(wanted.node)) {
            refusals.push(
                `${tenant}: there is no node ${wanted.node}: the cluster has ${names.join(", ")}. Name one of them.`,
            );
            continue;
        }
        if (row) {
            const { steps: its, refusal } = planKnown(group, row, found, filesOf(tenant).files);
            steps.push(...its);
            if (refusal !== undefined) refusals.push(refusal);
            continue;
        }
        const refused = refuseName(group, tenant, found);
        const taken = nodesWith(found, databaseOf(tenant));
        if (refused !== undefined) {
            refusals.push(refused);
        } else if (taken.length > 0) {
            refusals.push(
                `${tenant}: ${taken.join(", ")} has a database ${databaseOf(tenant)} that was not made for it. That database is left as it is.\nRename that database, or choose another name for the tenant.`,
            );
        } else {
            const node = wanted.node ?? load.least();
            load.add(node);
            const { files, said } = filesOf(tenant);
            steps.push({
                kind: "databases.create",
                tenant,
                text: `${tenant}: make its database on ${node}${said}`,
                detail: { node, files } satisfies CreateDetail,
            });
        }
    }
    // who left the program stays, and is not left half-way
    for (const row of found.ledger) {
        if (row.detail.move && !group.tenants[row.tenant]) steps.push(...planKnown(group, row, found).steps);
    }
    const left = found.ledger
        .filter(
            ({ tenant, state }) =>
                !ownProperty(group.tenants, tenant) && !group.delete.includes(tenant) && state !== "superseded",
        )
        .map(({ tenant }) => tenant);
    const notes = left.length === 0 ? [] : [notNamed(left)];
    return { steps: steps.sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind)), refusals, notes };
}

/** Steps of one kind are run together. */
const ORDER = ["databases.create", "databases.move", "databases.access"];
