/** The note about tenants that exist but are not in the program. */
import { joinNames } from "../../util/joinNames.ts";

/** @param tenants at least one */
export function notNamed(tenants: readonly string[]): string {
    return `${joinNames(tenants)}: in the cluster but not in the program; left as ${tenants.length === 1 ? "it is" : "they are"} (${JSON.stringify({ [tenants[0] ?? ""]: { state: "deleted" } })} under tenants deletes it)`;
}
