import { CitusCluster } from "citus-clusters-as-code";

/** One coordinator and two workers on this machine's Docker engine. Edit `workers` to scale. */
const cluster = new CitusCluster("orders", { workers: 2 });

export const { status, connectionString, caCertificate } = cluster;
