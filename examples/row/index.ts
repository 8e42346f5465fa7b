import { CitusCluster } from "citus-clusters-as-code";
import { billing } from "./group.ts";

/** A whole program: a cluster, and the tenants of this example. */
const cluster = new CitusCluster("citus", { workers: 2 });
const group = billing(cluster);

export const status = cluster.status;
export const tenants = group.summary;
export const login = group.app.connectionString;
export const signUp = group.onboarding.connectionString;
