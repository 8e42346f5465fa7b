import { CitusCluster } from "citus-clusters-as-code";
import { regions } from "./group.ts";

/** A whole program: a cluster, and the tenants of this example. */
const cluster = new CitusCluster("citus", { workers: 2 });
const group = regions(cluster, { host: "eu-1.example.com" });

export const status = cluster.status;
export const tenants = group.summary;
