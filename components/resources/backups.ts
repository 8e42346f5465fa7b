import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../../core/node/reach.ts";
import { thinProvider } from "./provider.ts";

export interface BackupsInputs {
    coordinator: Access;
    citus: string;
    self?: string;
}

export type BackupsArgs = { [K in keyof BackupsInputs]: pulumi.Input<BackupsInputs[K]> };

const provider = thinProvider("provider/backups.ts");

/** Looks at every `up` and preview whether the cluster's archive and backups are well, and says so when not. */
export class Backups extends pulumi.dynamic.Resource {
    constructor(name: string, args: BackupsArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { ...args }, opts, "citus", "Backups");
    }
}
