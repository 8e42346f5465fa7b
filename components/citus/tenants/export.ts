/** A tenant's data as a file on this machine. */
import type { Context } from "../../tenants/facet.ts";

/** @returns the file's path */
export async function exportTenant(context: Context, tenant: string): Promise<string> {
    throw new Error(`${context.group.name}/${tenant} can't be exported yet`);
}
