import * as pulumi from "@pulumi/pulumi";
import { CitusCluster } from "citus-clusters-as-code";

const config = new pulumi.Config();
const cluster = new CitusCluster("citus", { workers: config.requireNumber("workers") });

export const { status, connectionString, caCertificate, backups } = cluster;
