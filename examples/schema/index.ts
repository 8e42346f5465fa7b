import { CitusCluster } from "citus-clusters-as-code";
import { practices } from "./group.ts";

/** A whole program: a cluster, and the tenants of this example. */
const cluster = new CitusCluster("citus", { workers: 2 });
const group = practices(cluster);

export const status = cluster.status;
export const tenants = group.summary;
export const login = group.tenant("acme").login.connectionString;
export const signUp = group.onboarding.connectionString;
