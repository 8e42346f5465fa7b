/** How a role of a group reaches its tenant. Pure. */

export interface ConnectionPlace {
    readonly host: string;
    readonly port: number;
    readonly database: string;
}

/**
 * The cluster's connection string for another login.
 * @param cluster the superuser's
 * @param place where the tenant is, for one whose database is on a node of its own @default the coordinator
 */
export function connectionTo(
    cluster: string,
    { role, password }: { readonly role: string; readonly password: string },
    place?: ConnectionPlace,
): string {
    const url = new URL(cluster);
    url.username = encodeURIComponent(role);
    url.password = encodeURIComponent(password);
    if (place) {
        url.hostname = place.host;
        url.port = String(place.port);
        url.pathname = `/${encodeURIComponent(place.database)}`;
    }
    return url.href;
}
