/** What must stay in a state so that one resource can stay. Pure. */
import type { StateResource } from "./resources.ts";

/** `pulumi:pulumi:Stack$…::name` of a provider reference `urn::id`. */
const providerUrn = (reference: string) => reference.slice(0, reference.lastIndexOf("::"));

/** What looks after a bucket: it is closed, encrypted and cleaned by resources of its own. */
export function guardsOf(repository: StateResource, resources: readonly StateResource[]): StateResource[] {
    return resources.filter(
        ({ type, dependencies }) =>
            /^aws:s3\/bucket(?!Object)/.test(type) && dependencies?.includes(repository.urn) === true,
    );
}

/** The URNs of a resource and of everything that it rests on: its parents, its provider, what its inputs come from. */
export function keptWith(resource: StateResource, resources: readonly StateResource[]): Set<string> {
    const byUrn = new Map(resources.map((r) => [r.urn, r]));
    const kept = new Set<string>();
    const open = [resource.urn];
    for (let urn = open.pop(); urn !== undefined; urn = open.pop()) {
        if (kept.has(urn)) continue;
        const found = byUrn.get(urn);
        if (!found) continue;
        kept.add(urn);
        if (found.parent) open.push(found.parent);
        if (found.provider) open.push(providerUrn(found.provider));
        open.push(...(found.dependencies ?? []));
    }
    // providers of resources that stay are needed to look after them
    for (const other of resources) if (other.type.startsWith("pulumi:providers:")) kept.add(other.urn);
    return kept;
}
