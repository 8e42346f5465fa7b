/** Rules of the aws platform that need more than one key, and where it runs. They look at what was given. */

import { workerIndex, workerIndexes } from "../../core/node/topology.ts";
import { formatCidr, overlap, parseCidr, within } from "../../core/util/cidr.ts";
import { record } from "../../core/util/fields.ts";
import type { Mistake } from "../../core/util/mistakes.ts";
import { shown } from "../../core/util/shown.ts";
import { MAX_WORKERS } from "./args.ts";
import type { Key } from "./keys.ts";
import { MACHINE } from "./machine.ts";
import type { ConfigSource } from "./source.ts";

const set = (value: unknown): string | undefined => (value === undefined || value === "" ? undefined : String(value));

/** The region as it was given, and the profile. */
export function awsPlace(source: ConfigSource): { region?: string; profile?: string } {
    const { aws = {}, environment = {} } = source;
    const region = set(aws.region) ?? set(environment.AWS_REGION) ?? set(environment.AWS_DEFAULT_REGION);
    const profile = set(aws.profile) ?? set(environment.AWS_PROFILE);
    return { ...(region === undefined ? {} : { region }), ...(profile === undefined ? {} : { profile }) };
}

const REGION = /^[a-z]{2}(-gov)?-(north|south|east|west|central|northeast|northwest|southeast|southwest)-[1-9]$/;

export function isRegion(text: string | undefined): boolean {
    return text !== undefined && REGION.test(text) && !text.startsWith("cn-");
}

function regionChecks(region: string | undefined): Mistake[] {
    if (isRegion(region)) return [];
    const wrong = (message: string) => [{ path: "aws:region", message }];
    if (region === undefined)
        return wrong(
            "must be set, got nothing (AWS_REGION and AWS_DEFAULT_REGION are not set either) - pulumi config set aws:region eu-central-1",
        );
    const must = `must be an AWS region such as eu-central-1, got ${shown(region)}`;
    if (region.startsWith("cn-"))
        return wrong(`${must} - the regions in China have other endpoints and are not supported`);
    const zone = REGION.test(region.slice(0, -1)) ? region.slice(0, -1) : undefined;
    return wrong(zone ? `${must}, an availability zone - its region is ${zone}` : `${must}`);
}

/** Provider settings that what reaches the nodes can't follow. */
const PROVIDER_ONLY: Readonly<Record<string, string>> = {
    assumeRole: "name a profile with role_arn and source_profile",
    assumeRoles: "name a profile with role_arn and source_profile",
    assumeRoleWithWebIdentity: "set AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN",
    accessKey: "set AWS_ACCESS_KEY_ID, or name a profile",
    secretKey: "set AWS_SECRET_ACCESS_KEY, or name a profile",
    token: "set AWS_SESSION_TOKEN, or name a profile",
    sharedConfigFiles: "set AWS_CONFIG_FILE",
    sharedCredentialsFiles: "set AWS_SHARED_CREDENTIALS_FILE",
};

function credentialChecks({ aws = {}, environment = {} }: ConfigSource): Mistake[] {
    const mistakes = Object.entries(PROVIDER_ONLY)
        .filter(([key]) => set(aws[key]) !== undefined)
        .map(([key, instead]) => ({
            path: `aws:${key}`,
            message: `is only seen by Pulumi's provider; what reaches the nodes takes credentials from AWS' own chain, and must find the same - take it away and ${instead}${instead.includes("profile") ? " (aws:profile, AWS_PROFILE)" : ""}`,
        }));
    if (!set(aws.profile) && set(environment.AWS_PROFILE) && set(environment.AWS_ACCESS_KEY_ID)) {
        mistakes.push({
            path: "aws:profile",
            message: `must say which credentials are meant, got AWS_PROFILE (${shown(environment.AWS_PROFILE)}) and AWS_ACCESS_KEY_ID, of which Pulumi's provider takes the key and AWS' SDK the profile - unset one, or set aws:profile`,
        });
    }
    return mistakes;
}

function nameChecks(name: unknown): Mistake[] {
    const prefix = ["sg-", "xn--", "sthree-", "amzn-s3-demo-"].find((start) => String(name).startsWith(start));
    if (prefix === undefined) return [];
    const what = prefix === "sg-" ? "security groups" : "buckets";
    return [
        { path: "name", message: `must not begin with ${prefix}, got ${shown(name)} - AWS keeps that from ${what}` },
    ];
}

const strings = (value: unknown): string[] =>
    (Array.isArray(value) ? value : []).filter((element) => typeof element === "string");

/** Almost every address there is: two halves of the world are the world too. */
function isTheWorld(text: string): boolean {
    const range = parseCidr(text);
    const local = parseCidr("fc00::/7");
    if (range === undefined || (local !== undefined && within(range, local))) return false;
    return range.prefix < (range.family === 4 ? 8 : 16);
}

function networkChecks(raw: Readonly<Record<Key, unknown>>): Mistake[] {
    const mistakes: Mistake[] = [];
    const network = record(raw.network);
    const wrong = (path: string, message: string) => mistakes.push({ path: `network.${path}`, message });
    const existing = network.vpcId !== undefined;
    const subnets = Array.isArray(network.subnetIds) ? network.subnetIds : [];
    if (existing && subnets.length === 0)
        wrong(
            "subnetIds",
            `must name the subnets in ${shown(network.vpcId)} that carry nothing but the nodes, got ${shown(network.subnetIds)} - one for each availability zone; without vpcId they are made`,
        );
    if (!existing && subnets.length > 0)
        wrong("vpcId", `must name the VPC of network.subnetIds, got nothing - without both a VPC is made`);
    if (existing || subnets.length > 0) {
        for (const key of ["cidr", "zones", "egress"])
            if (network[key] !== undefined)
                wrong(
                    key,
                    `only means something for a VPC that is made, got ${shown(network[key])} - take it away, or network.vpcId and network.subnetIds`,
                );
    } else if (raw.azs === "single" && Number(network.zones ?? 1) > 1) {
        wrong("zones", `must be 1 with azs single, got ${shown(network.zones)} - take one of the two away`);
    }
    if (raw.azs === "single" && subnets.length > 1)
        wrong(
            "subnetIds",
            `must hold one subnet with azs single, got ${subnets.length} - keep the one that nodes go into`,
        );
    const single = subnets.length === 1 || (subnets.length === 0 && network.zones === 1);
    if (raw.azs === "spread" && single)
        mistakes.push({
            path: "azs",
            message: `must be single when there is one availability zone, got "spread" - or name more in ${existing ? "network.subnetIds" : "network.zones"}`,
        });

    const own = existing ? undefined : parseCidr(String(network.cidr ?? "10.64.0.0/16"));
    const world = strings(network.allowedCidrs).filter(isTheWorld);
    (Array.isArray(network.allowedCidrs) ? network.allowedCidrs : []).forEach((given, i) => {
        const range = typeof given === "string" ? parseCidr(given) : undefined;
        if (range === undefined || range.hostBits) return;
        if (isTheWorld(given)) {
            if (network.openToTheWorld !== true)
                wrong(
                    `allowedCidrs[${i}]`,
                    `lets the whole world try passwords, got ${shown(given)} - name the ranges clients come from, or set network.openToTheWorld to true`,
                );
        } else if (own !== undefined && overlap(range, own)) {
            wrong(
                `allowedCidrs[${i}]`,
                `must not overlap the nodes' own ${formatCidr(own)}, got ${shown(given)} - there only a node's certificate lets in; choose another network.cidr or a narrower range`,
            );
        }
    });
    if (network.openToTheWorld === true && world.length === 0)
        wrong(
            "openToTheWorld",
            "allows nothing, got true - no range in network.allowedCidrs is the world; take it away",
        );
    return mistakes;
}

/** How many availability zones the nodes are spread over. */
function zoneCount(raw: Readonly<Record<Key, unknown>>): number {
    const network = record(raw.network);
    if (raw.azs === "single") return 1;
    if (Array.isArray(network.subnetIds) && network.subnetIds.length > 0) return network.subnetIds.length;
    return Number.isInteger(network.zones) ? (network.zones as number) : 3;
}

/** Running instances of a spread placement group in one availability zone. */
const SPREAD_LIMIT = 7;

function placementChecks(raw: Readonly<Record<Key, unknown>>): Mistake[] {
    if (raw.placement !== "spread" || !Number.isInteger(raw.workers)) return [];
    const workers = Math.max(0, Math.min(MAX_WORKERS, raw.workers as number));
    const retired = strings(raw.retire).flatMap((name) => workerIndex(name) ?? []);
    const zones = zoneCount(raw);
    const nodes = Array.from({ length: zones }, () => 0);
    for (const index of [0, ...workerIndexes(workers, retired)]) nodes[index % zones] = (nodes[index % zones] ?? 0) + 1;
    const most = Math.max(...nodes);
    if (most <= SPREAD_LIMIT) return [];
    return [
        {
            path: "placement",
            message: `must be partition or none for ${workers} workers, got "spread" - it takes ${SPREAD_LIMIT} nodes an availability zone, and one of ${zones} would hold ${most}`,
        },
    ];
}

function volumeChecks(raw: Readonly<Record<Key, unknown>>): Mistake[] {
    return (["coordinator", "worker"] as const).flatMap((part) => {
        const machine = record(raw[part]);
        // of a figure that is itself wrong there is nothing more to say
        const figure = (key: "volumeSize" | "iops" | "throughput") =>
            MACHINE[key].value("aws").safeParse(machine[key]).data ?? Number.NaN;
        const [size, iops, throughput] = [figure("volumeSize"), figure("iops"), figure("throughput")];
        const mistakes: Mistake[] = [];
        // 3000 come with a volume of any size
        if (iops > 3000 && iops > size * 500)
            mistakes.push({
                path: `${part}.iops`,
                message: `must be at most 500 for each GiB, got ${iops} for ${size} GiB - at most ${Math.max(3000, size * 500)}, or a volumeSize of ${Math.ceil(iops / 500)}`,
            });
        if (throughput > iops / 4)
            mistakes.push({
                path: `${part}.throughput`,
                message: `must be at most a quarter of iops, got ${throughput} MiB/s for ${iops} - at most ${Math.floor(iops / 4)}, or iops of ${throughput * 4}`,
            });
        return mistakes;
    });
}

function arnChecks(raw: Readonly<Record<Key, unknown>>, region: string | undefined): Mistake[] {
    return (["kmsKeyId", "alarmTopic"] as const).flatMap((key) => {
        const there = typeof raw[key] === "string" ? raw[key].split(":")[3] : undefined;
        if (!there || !isRegion(region) || there === region) return [];
        return [
            {
                path: key,
                message: `must be in ${region}, where the cluster is, got one in ${there} (${shown(raw[key])})`,
            },
        ];
    });
}

/** @param raw each key as it was given, or its default */
export function awsChecks(raw: Readonly<Record<Key, unknown>>, source: ConfigSource): Mistake[] {
    const { region } = awsPlace(source);
    return [
        ...regionChecks(region),
        ...credentialChecks(source),
        ...nameChecks(raw.name),
        ...networkChecks(raw),
        ...placementChecks(raw),
        ...volumeChecks(raw),
        ...arnChecks(raw, region),
    ];
}
