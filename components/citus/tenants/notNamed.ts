/** What is said of tenants that are there and not in the program. */

/** @param tenants at least one */
export function notNamed(tenants: readonly string[]): string {
    const names =
        tenants.length > 5 ? `${tenants.slice(0, 5).join(", ")} and ${tenants.length - 5} more` : tenants.join(", ");
    return `${names}: there, and not in the program; left as ${tenants.length === 1 ? "it is" : "they are"} (delete: ${JSON.stringify(tenants.slice(0, 1))} deletes)`;
}
