/** The selected stack's groups of tenants, as its state has them. */

import { COORDINATOR } from "../../core/node/topology.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import type { Context } from "../../core/tenants/group/facet.ts";
import { onboardedTenants, withTenants } from "../../core/tenants/group/onboarded.ts";
import type { GroupSpec } from "../../core/tenants/group/spec.ts";
import { nearest } from "../../core/util/nearest.ts";
import { paced } from "../../core/util/paced.ts";
import type { TenantGroupInputs } from "../../provider/tenantGroup.ts";
import { withContext } from "../../provider/tenantGroup.ts";
import { NoCluster } from "./exit.ts";
import { nodesOf } from "./nodes.ts";
import { DEFAULT_STACK, selectedStack } from "./project.ts";
import { readResources, type StateResource } from "./resources.ts";

const isGroup = ({ type }: StateResource) => type === "citus-clusters:index:TenantGroup";

/** What groups are made from, which is no secret. */
export function specsOf(resources: readonly StateResource[]): GroupSpec[] {
    return resources
        .filter(isGroup)
        .flatMap(({ outputs }) => (outputs?.group === undefined ? [] : [outputs.group as GroupSpec]));
}

/**
 * Groups in the order of their names.
 * @param resources with secrets in the clear
 */
export function groupsOf(resources: readonly StateResource[]): TenantGroupInputs[] {
    const nodes = nodesOf(resources);
    return resources
        .filter(isGroup)
        .flatMap(({ outputs }) => (outputs?.group === undefined ? [] : [outputs as unknown as TenantGroupInputs]))
        .map((inputs) => ({
            ...inputs,
            // a group that had nothing to do may remember its nodes as they were
            nodes: inputs.nodes.map((node) => ({
                ...node,
                shell: nodes.get(node.name)?.shell ?? node.shell,
                access: nodes.get(node.name)?.access ?? node.access,
            })),
        }))
        .sort((a, b) => (a.group.name < b.group.name ? -1 : 1));
}

export interface OpenStack {
    readonly groups: readonly TenantGroupInputs[];
    readonly session: Session;
}

/** @throws NoCluster, NoAnswer */
export async function openStack(): Promise<OpenStack> {
    const stack = await selectedStack();
    const resources = stack === undefined ? [] : await readResources(true);
    const access = nodesOf(resources).get(COORDINATOR)?.access;
    if (!access) throw new NoCluster(stack ?? DEFAULT_STACK);
    const session = await connect(access, COORDINATOR);
    try {
        const groups = [];
        for (const inputs of groupsOf(resources)) {
            const onboarded = await onboardedTenants(session, inputs.group);
            groups.push({ ...inputs, group: withTenants(inputs.group, onboarded) });
        }
        return { groups, session };
    } catch (error) {
        await session.close().catch(() => undefined);
        throw error;
    }
}

/** Opens the stack, hands it on, and closes it whatever happens. */
export async function withStack<T>(use: (stack: OpenStack) => Promise<T>): Promise<T> {
    const stack = await openStack();
    try {
        return await use(stack);
    } finally {
        await stack.session.close().catch(() => undefined);
    }
}

export interface NamedTenant {
    readonly inputs: TenantGroupInputs;
    readonly tenant: string;
}

/**
 * What a person means by `tenant` or `group/tenant`.
 * @throws Error naming what there is
 */
export function findTenant(groups: readonly TenantGroupInputs[], name: string): NamedTenant {
    const has = ({ group }: TenantGroupInputs, tenant: string) => Object.hasOwn(group.tenants, tenant);
    const found = groups.flatMap((inputs): NamedTenant[] => {
        const prefix = `${inputs.group.name}/`;
        const tenant = name.startsWith(prefix) ? name.slice(prefix.length) : undefined;
        if (tenant !== undefined && has(inputs, tenant)) return [{ inputs, tenant }];
        return has(inputs, name) ? [{ inputs, tenant: name }] : [];
    });
    const [first, second] = found;
    if (first && !second) return first;
    if (found.length > 1)
        throw new Error(
            `${name} is a tenant of ${found.map(({ inputs }) => inputs.group.name).join(" and ")}: write ${found.map(({ inputs, tenant }) => `${inputs.group.name}/${tenant}`).join(" or ")}`,
        );
    const within = groups.filter(({ group }) => name.startsWith(`${group.name}/`));
    const [looked = [], cut = ""] = [
        within.length === 0 ? groups : within,
        within[0] ? `${within[0].group.name}/` : "",
    ];
    // the nearest key of a row is another tenant's
    const named = looked.filter(({ group: { model } }) => model !== "row" && model !== "rls");
    const tenants = named.flatMap(({ group }) => Object.keys(group.tenants));
    const meant = nearest(name.slice(cut.length), [...new Set(tenants)]);
    const role = /_(reader|onboarding)$/.exec(name);
    const without = groups.find(({ group }) => role && `${group.name}${role[0]}` === name);
    if (without && role)
        throw new Error(
            `Group ${without.group.name} has no role ${name}: the program does not set ${role[1]}: true. Set it, run pulumi up, then repeat this.`,
        );
    const names = looked.map(({ group }) => group.name);
    throw new Error(
        names.length === 0
            ? `There is no tenant ${name}: this stack has no groups of tenants (citus:tenantGroups, or a class such as RowTenants in a program of your own).`
            : `There is no tenant ${name.slice(cut.length)} in ${names.join(", ")}${meant === undefined ? "" : ` (did you mean ${cut}${meant}?)`}, according to the program of the last pulumi up. npm run tenants lists those of the cluster.\n` +
                  "To bring back one that is not in the program or was deleted: put it into tenants of its group with the state active, run pulumi up, then repeat this. npm run tenants -- restore brings an export back.",
    );
}

/** @throws Error naming the groups that there are */
export function findGroup(groups: readonly TenantGroupInputs[], name: string): TenantGroupInputs {
    const found = groups.find(({ group }) => group.name === name);
    if (found) return found;
    const names = groups.map(({ group }) => group.name);
    throw new Error(
        `There is no group ${name} in the last pulumi up of this stack${names.length === 0 ? "" : `: it has ${names.join(", ")}`}.`,
    );
}

/** Work on one tenant's group as `pulumi up` would do it. */
export function withTenant<T>(
    { inputs, tenant }: NamedTenant,
    use: (context: Context, tenant: string) => Promise<T>,
): Promise<T> {
    // as `pulumi up` says it, without a row of its own
    const say = (text: string) => console.error(text);
    return withContext(inputs, { progress: paced(say), note: say, warn: say }, (context) => use(context, tenant));
}
