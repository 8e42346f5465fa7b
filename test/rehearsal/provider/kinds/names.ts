/** Route 53: zones and records. */
import { type Kind, Refusal } from "../kind.ts";
import { at, ipv4, isObject, type Props, strings, text } from "../values.ts";
import type { World } from "../world.ts";
import { VPC } from "./network.ts";

const ZONE = "aws:route53/zone:Zone";
const RECORD = "aws:route53/record:Record";

const bare = (name: unknown): string => String(name).toLowerCase().replace(/\.$/, "");

const ROUTING = [
    "cidrRoutingPolicy",
    "failoverRoutingPolicies",
    "geolocationRoutingPolicies",
    "geoproximityRoutingPolicy",
    "latencyRoutingPolicies",
    "weightedRoutingPolicies",
    "multivalueAnswerRoutingPolicy",
    "healthCheckId",
    "setIdentifier",
    "aliases",
];

const zone: Kind = {
    autoname: { property: "name" },
    global: true,
    replaces: ["name", "delegationSetId"],
    longest: { name: 255, comment: 256 },
    refers: { "vpcs[].vpcId": [VPC, "InvalidVPCId"] },
    check(inputs, problem) {
        const name = text(inputs, "name");
        if (name !== undefined && !bare(name).split(".").every(isLabel))
            problem("name", `InvalidDomainName: "${name}" is not a domain name`);
    },
    create(inputs, world) {
        const mine = vpcsOf(inputs);
        const same = world
            .all(ZONE)
            .find(
                (row) =>
                    bare(row.props.name) === bare(inputs.name) && vpcsOf(row.props).some((id) => mine.includes(id)),
            );
        if (same)
            throw new Refusal(
                "ConflictingDomainExists",
                `The VPC ${mine.join(", ")} is already associated with another hosted zone ${same.id} of the same name ${inputs.name}`,
            );
        const id = `Z0${world.newId("z").slice(3).toUpperCase()}`;
        return {
            id,
            props: {
                zoneId: id,
                arn: `arn:aws:route53:::hostedzone/${id}`,
                comment: "Managed by Pulumi",
                nameServers: [0, 512, 1024, 1536].map((n) => `ns-${n}.awsdns-00.com`),
                primaryNameServer: "ns-0.awsdns-00.com",
            },
        };
    },
    beforeDelete(row, state, world) {
        const held = world.all(RECORD).filter((record) => record.props.zoneId === row.id);
        if (held.length > 0 && state.forceDestroy !== true)
            throw new Refusal(
                "HostedZoneNotEmpty",
                `The specified hosted zone contains non-required resource record sets: ${held.map((r) => r.props.fqdn).join(", ")}`,
            );
    },
};

const vpcsOf = (props: Props): unknown[] => at(props, "vpcs[].vpcId");

const isLabel = (label: string): boolean => /^(\*|[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)$/.test(label);

/**
 * The full name of a record. The provider appends the zone's name to every name that does not end in it; a name with
 * points that is not in the zone is refused here, since `a.other.example.mine.example` is never meant.
 */
function fqdn(inputs: Props, world: World): string {
    const name = bare(inputs.name);
    const suffix = bare(world.find(ZONE, inputs.zoneId)?.props.name);
    if (name === suffix || name.endsWith(`.${suffix}`)) return name;
    if (name.includes("."))
        throw new Refusal("InvalidChangeBatch", `RRSet with DNS name ${name}. is not permitted in zone ${suffix}.`);
    return name === "" ? suffix : `${name}.${suffix}`;
}

const record: Kind = {
    global: true,
    untagged: true,
    replaces: ["name", "zoneId"],
    refers: { zoneId: [ZONE, "NoSuchHostedZone"] },
    values: { type: ["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SPF", "SRV", "TXT"] },
    range: { ttl: [0, 2147483647] },
    check(inputs, problem) {
        for (const name of ROUTING)
            if (inputs[name] !== undefined) problem(name, "the stand-in knows simple records only");
        if (inputs.records === undefined) problem("records", "InvalidInput: one of records, aliases must be given");
        else if (inputs.ttl === undefined) problem("ttl", "InvalidInput: records need a ttl");
        if (Array.isArray(inputs.records) && inputs.records.length === 0)
            problem("records", "InvalidChangeBatch: at least one record must be given");
        if (inputs.type === "A")
            for (const value of strings(inputs, "records"))
                if (ipv4(value) === undefined)
                    problem(
                        "records",
                        `InvalidChangeBatch: (Value is not a valid IPv4 address) encountered with '${value}'`,
                    );
        const name = text(inputs, "name");
        if (name !== undefined && !bare(name).split(".").every(isLabel))
            problem("name", `InvalidChangeBatch: "${name}" is not a domain name`);
    },
    create(inputs, world) {
        const name = fqdn(inputs, world);
        const taken = world
            .all(RECORD)
            .find(
                (row) =>
                    row.props.zoneId === inputs.zoneId && row.props.fqdn === name && row.props.type === inputs.type,
            );
        if (taken && inputs.allowOverwrite !== true)
            throw new Refusal(
                "InvalidChangeBatch",
                `[Tried to create resource record set [name='${name}.', type='${inputs.type}'] but it already exists]`,
            );
        return { id: `${inputs.zoneId}_${name}_${inputs.type}`, props: { fqdn: name } };
    },
    outside: {
        create: (machines, row) => machines.setRecord(String(row.props.fqdn), strings(row.props, "records")),
        update: (machines, row) => machines.setRecord(String(row.props.fqdn), strings(row.props, "records")),
        delete: (machines, row) => machines.deleteRecord(String(row.props.fqdn)),
    },
    exists: (row, world) => isObject(world.find(ZONE, row.props.zoneId)?.props),
};

export const names: Record<string, Kind> = { [ZONE]: zone, [RECORD]: record };
