import type * as pulumi from "@pulumi/pulumi";
import type { BackupsInputs, BackupsKind } from "../../provider/backups.ts";
import { CitusResource } from "./resource.ts";

export type BackupsArgs = { [K in keyof BackupsInputs]: pulumi.Input<BackupsInputs[K]> };

/** Looks at every `up` and preview whether the cluster's archive and backups are well, and says so when not. */
export class Backups extends CitusResource<BackupsKind> {
    constructor(name: string, args: BackupsArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:Backups", name, { ...args }, opts);
    }
}
