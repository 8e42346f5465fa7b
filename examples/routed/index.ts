import { CitusCluster, readConfig } from "../../components/index.ts";
import { regions } from "./group.ts";

/** A whole program: a cluster, and the tenants of this example. */
module.exports = async () => {
    const cluster = new CitusCluster("citus", await readConfig());
    const group = regions(cluster, { host: "eu-1.example.com" });
    return { status: cluster.status, tenants: group.summary };
};
