import * as pulumi from "@pulumi/pulumi";
import { CitusCluster } from "citus-clusters-as-code";

/** The stack that is copied exports `backups`, the output of its cluster. It is only read. */
const origin = new pulumi.StackReference(new pulumi.Config().require("origin"));
const backups = origin.requireOutput("backups") as pulumi.Output<{ repository: string }>;

/** A copy of the newest restore point, to try something on. It keeps no backups itself. */
const copy = new CitusCluster("copy", {
    workers: 2,
    restoreFrom: { repository: backups.repository, point: "latest" },
    backup: false,
    protect: false,
});

export const { status, connectionString, caCertificate } = copy;
