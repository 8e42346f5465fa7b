import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { CitusCluster } from "./components/cluster.ts";
import { readConfig } from "./components/config.ts";
import { caFile } from "./components/names.ts";

// a stack is made for every promise, which is half of the time a large cluster takes to preview
if (!process.env.PULUMI_DEBUG_PROMISE_LEAKS) Error.stackTraceLimit = 0;

const cluster = new CitusCluster("citus", readConfig());

// psql takes the CA from a file; the certificate is no secret
cluster.caCertificate.apply((certificate) => {
    if (pulumi.runtime.isDryRun()) return;
    const file = caFile(pulumi.getStack());
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, certificate);
});

export const coordinator = cluster.coordinator;
export const workers = cluster.workers;
export const connectionString = cluster.connectionString;
export const password = cluster.password;
export const caCertificate = cluster.caCertificate;
export const backups = cluster.backups;
export const connect = cluster.connect;
export const status = cluster.status;
