import { CitusCluster, readConfig } from "../../components/index.ts";
import { practices } from "./group.ts";

/** A whole program: a cluster, and the tenants of this example. */
module.exports = async () => {
    const cluster = new CitusCluster("citus", await readConfig());
    const group = practices(cluster);
    return {
        status: cluster.status,
        tenants: group.summary,
        login: group.tenant("acme").login.connectionString,
        signUp: group.onboarding.connectionString,
    };
};
