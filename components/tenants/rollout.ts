/** In which order a change of a group's template reaches its tenants. Pure. */
import { own } from "./own.ts";

export const WAVES = ["canary", "part", "rest"] as const;
export type Wave = (typeof WAVES)[number];

/**
 * Which wave each tenant is in: the first `canary` of them, then a `part` of the others, then all. The same for every run
 * while the tenants stay the same, whichever have it already.
 */
export function wavesOf(
    tenants: readonly string[],
    { canary = 1, part = 0.1 }: { readonly canary?: number; readonly part?: number },
): Map<string, Wave> {
    const partEnd = canary + Math.ceil(part * Math.max(0, tenants.length - canary));
    return new Map(tenants.map((name, i) => [name, i < canary ? "canary" : i < partEnd ? "part" : "rest"]));
}

/** Tenants with what each has not run, wave after wave. */
export function rollout(
    tenants: readonly string[],
    pending: Readonly<Record<string, readonly string[]>>,
    settings: { readonly canary?: number; readonly part?: number },
): { tenant: string; wave: Wave; files: readonly string[] }[] {
    const waves = wavesOf(tenants, settings);
    return WAVES.flatMap((wave) =>
        tenants.flatMap((tenant) => {
            const files = own(pending, tenant) ?? [];
            return waves.get(tenant) === wave && files.length > 0 ? [{ tenant, wave, files }] : [];
        }),
    );
}
