/** What the stack's state and the Docker engine say of a cluster's ports. */
import type { StackView } from "../../core/citus/health/checks/view.ts";
import { dockerEngine } from "../../core/reach/docker/engine.ts";
import { nodesOf } from "../lib/nodes.ts";
import { clusterName, type StateResource } from "../lib/resources.ts";

const INGRESS = ["aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"];

/** Ranges in the rules of security groups in a state. Pure. */
export function ingressOf(resources: readonly StateResource[]): StackView["ingress"] {
    return resources
        .filter(({ type }) => INGRESS.includes(type))
        .flatMap(({ outputs = {} }) => {
            const { securityGroupId, fromPort, toPort, cidrIpv4, cidrIpv6 } = outputs as Readonly<
                Record<string, unknown>
            >;
            const port =
                fromPort === undefined
                    ? "of every number"
                    : fromPort === toPort
                      ? `${fromPort}`
                      : `${fromPort}-${toPort}`;
            return [cidrIpv4, cidrIpv6].flatMap((range) =>
                typeof range === "string" && range !== ""
                    ? [{ group: String(securityGroupId ?? "?"), port, range }]
                    : [],
            );
        });
}

/** Every container that is labelled as of this cluster, whoever made it. */
export async function readStackView(resources: readonly StateResource[]): Promise<StackView | Error> {
    const ingress = ingressOf(resources);
    const [shell] = [...nodesOf(resources).values()].flatMap((node) =>
        node.shell.kind === "docker" ? [node.shell] : [],
    );
    const cluster = clusterName(resources);
    if (shell === undefined || cluster === undefined) return { ports: [], ingress };
    return dockerEngine(shell.engine)
        .listContainers({ filters: { label: [`citus.cluster=${cluster}`] } })
        .then(
            (containers) => ({
                ingress,
                ports: containers.flatMap(({ Names, Labels, Ports }) =>
                    Ports.flatMap(({ IP, PublicPort }) =>
                        PublicPort === undefined
                            ? []
                            : [
                                  {
                                      container: (Names[0] ?? "").replace(/^\//, ""),
                                      node: Labels["citus.node"] ?? null,
                                      address: IP ?? "",
                                      port: PublicPort,
                                  },
                              ],
                    ),
                ),
            }),
            (error: Error) => new Error(`the Docker engine does not list its containers: ${error.message}`),
        );
}
