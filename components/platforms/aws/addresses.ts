/** Which part of a network's addresses is whose, and which node goes where. Pure. */

import { formatCidr, parseCidr } from "../../../core/util/cidr.ts";

/** Subnets of a VPC that is made. All are CIDR. */
export interface Carved {
    /** Carry nothing but nodes, one an availability zone. */
    readonly nodes: readonly string[];
    /** The NAT gateway's. */
    readonly public: string;
    /** The interface endpoints'. */
    readonly endpoints: string;
}

/** The smallest subnet that AWS makes. */
const SMALLEST = 28;
/** Eighths of a VPC: so many zones could there be, and two for what is beside the nodes. */
const [PUBLIC, ENDPOINTS] = [6, 7] as const;

/**
 * Carves a VPC into eighths. A part does not depend on how many zones there are, so that zones can be added.
 * @param cidr of the VPC, /16 to /25
 */
export function carve(cidr: string, zones: number): Carved {
    const vpc = parseCidr(cidr);
    const eighth = (vpc?.prefix ?? 0) + 3;
    if (vpc?.family !== 4 || !(eighth >= 19 && eighth <= SMALLEST))
        throw new Error(`${cidr} can't be divided: it must be a /16 to a /25`);
    const size = 2n ** BigInt(32 - eighth);
    const part = (i: number, prefix: number) => formatCidr({ family: 4, prefix, first: vpc.first + BigInt(i) * size });
    return {
        nodes: Array.from({ length: zones }, (_, i) => part(i, eighth)),
        public: part(PUBLIC, SMALLEST),
        endpoints: part(ENDPOINTS, SMALLEST),
    };
}

export interface NodeSubnet {
    readonly id: string;
    /** Availability zone. */
    readonly zone: string;
    readonly cidr: string;
}

/**
 * Where a new node's volume goes; one that is there stays where it is.
 * @param index 0 is the coordinator, n is `worker-<n>`
 */
export function zoneFor(index: number, subnets: readonly NodeSubnet[], azs: "spread" | "single"): string {
    const zones = [...new Set(subnets.map(({ zone }) => zone))];
    return zones[azs === "single" ? 0 : index % zones.length] ?? "";
}

/**
 * The subnet of a machine: where its volume is.
 * @throws when no subnet is there any more
 */
export function subnetIn(zone: string, node: string, subnets: readonly NodeSubnet[]): string {
    const found = subnets.find((subnet) => subnet.zone === zone);
    if (found) return found.id;
    throw new Error(
        `${node}: its volume is in ${zone}, and the network has no subnet there (it has ${subnets.map((one) => one.zone).join(", ")}).\n` +
            "Nothing was changed. A volume can't leave its zone: bring that subnet back (citus:network), or retire the worker first (citus:retire).",
    );
}
