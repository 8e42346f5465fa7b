import { CitusCluster } from "citus-clusters-as-code";

/** Two clusters of one program. Nothing of them is shared: each has its own name, ports, networks and backups. */
const orders = new CitusCluster("orders", { workers: 2, caFile: "orders.crt" });
const events = new CitusCluster("events", {
    workers: 1,
    caFile: "events.crt",
    coordinator: { shards: true },
    backup: false,
});

export const ordersUrl = orders.connectionString;
export const eventsUrl = events.connectionString;
