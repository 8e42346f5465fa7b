import { CitusCluster, readConfig } from "../../components/index.ts";
import { helpdesk } from "./group.ts";

/** A whole program: a cluster, and the tenants of this example. */
module.exports = async () => {
    const cluster = new CitusCluster("citus", await readConfig());
    const group = helpdesk(cluster);
    return {
        status: cluster.status,
        tenants: group.summary,
        login: group.app.connectionString,
        signUp: group.onboarding.connectionString,
    };
};
