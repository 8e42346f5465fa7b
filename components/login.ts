/** Logins that a group makes, for a program. */
import type * as pulumi from "@pulumi/pulumi";
import type { TenantName } from "./config/tenants/args.ts";

export interface Login {
    /** Name of the PostgreSQL role. */
    readonly role: string;
    /** Its password; secret. */
    readonly password: pulumi.Output<string>;
    /** With the password, and with TLS that verifies the node; secret. Known once the group is made. */
    readonly connectionString: pulumi.Output<string>;
}

/** A tenant of a group: what `from` of another group takes, and how an application logs in as it. */
export class Tenant implements TenantName {
    readonly group: string;
    readonly name: string;
    // no property that Pulumi would wait for when a tenant is an input
    readonly #login: () => Login;

    constructor(group: string, name: string, login: () => Login) {
        this.group = group;
        this.name = name;
        this.#login = login;
    }

    /**
     * The tenant's own role.
     * @throws pulumi.RunError when it has none
     */
    get login(): Login {
        return this.#login();
    }
}
