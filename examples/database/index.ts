import { CitusCluster } from "citus-clusters-as-code";
import { banks } from "./group.ts";

/** A whole program: a cluster, and the tenants of this example. */
const cluster = new CitusCluster("citus", { workers: 2 });
const group = banks(cluster);

export const status = cluster.status;
export const tenants = group.summary;
export const login = group.tenant("first_bank").login.connectionString;
