import { CitusCluster, readConfig } from "../../components/index.ts";
import { banks } from "./group.ts";

/** A whole program: a cluster, and the tenants of this example. */
module.exports = async () => {
    const cluster = new CitusCluster("citus", await readConfig());
    const group = banks(cluster);
    return { status: cluster.status, tenants: group.summary, login: group.tenant("first_bank").login.connectionString };
};
