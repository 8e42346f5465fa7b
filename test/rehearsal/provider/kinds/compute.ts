/** Machines and their disks. */
import { isInstanceType, machine } from "../catalogue.ts";
import { type Kind, Refusal } from "../kind.ts";
import { block, hasUnknown, ipv4, ipv4Text, isObject, number, type Props, strings, tagsOf, text } from "../values.ts";
import type { Row, World } from "../world.ts";
import { hex } from "../world.ts";
import { PROFILE } from "./iam.ts";
import { INSTANCE, SECURITY_GROUP, SUBNET } from "./network.ts";

export const VOLUME = "aws:ebs/volume:Volume";
export const ATTACHMENT = "aws:ec2/volumeAttachment:VolumeAttachment";
const PLACEMENT_GROUP = "aws:ec2/placementGroup:PlacementGroup";

/** Bytes, decoded. */
const USER_DATA_LIMIT = 16384;
const VOLUME_TYPES = ["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"];
const SWITCH = ["enabled", "disabled"];

/** As the instance gets it. */
export const userDataOf = (props: Props): Buffer =>
    Buffer.from(
        text(props, "userDataBase64") ?? text(props, "userData") ?? "",
        props.userDataBase64 === undefined ? "utf8" : "base64",
    );

/** AWS hands out the first four addresses of a subnet and its last to nobody. */
function freeAddress(subnet: Row, world: World, wanted?: string): string {
    const range = block(text(subnet.props, "cidrBlock") ?? "");
    if (!range) throw new Error(`${subnet.id} has no IPv4 block`);
    const used = new Set(
        world.all(INSTANCE).flatMap((row) => (row.props.subnetId === subnet.id ? [String(row.props.privateIp)] : [])),
    );
    const [first, last] = [range.first + 4, range.last - 1];
    if (wanted !== undefined) {
        const address = ipv4(wanted);
        if (address === undefined || address < first || address > last)
            throw new Refusal(
                "InvalidParameterValue",
                `Address ${wanted} does not fall within the subnet's address range`,
            );
        if (used.has(wanted)) throw new Refusal("InvalidIPAddress.InUse", `Address ${wanted} is in use.`);
        return wanted;
    }
    let next = world.data.addresses[subnet.id] ?? first - 1;
    for (let tries = first; tries <= last; tries++) {
        next = next >= last ? first : next + 1;
        if (used.has(ipv4Text(next))) continue;
        world.data.addresses[subnet.id] = next;
        return ipv4Text(next);
    }
    throw new Refusal("InsufficientFreeAddressesInSubnet", `The specified subnet ${subnet.id} has no free addresses.`);
}

function refuseInstance(inputs: Props, world: World): void {
    const ami = world.data.amis.find((a) => a.id === inputs.ami);
    if (!ami) throw new Refusal("InvalidAMIID.NotFound", `The image id '[${inputs.ami}]' does not exist`);
    const type = String(inputs.instanceType);
    const size = machine(type);
    if (!size) throw new Error(`the stand-in can't tell what a ${type} has`);
    if (size.architecture !== ami.architecture)
        throw new Refusal(
            "InvalidParameterValue",
            `The architecture '${size.architecture}' of the specified instance type does not match the architecture '${ami.architecture}' of the specified AMI.`,
        );
    const subnet = world.find(SUBNET, inputs.subnetId);
    for (const id of strings(inputs, "vpcSecurityGroupIds"))
        if (world.find(SECURITY_GROUP, id)?.props.vpcId !== subnet?.props.vpcId)
            throw new Refusal(
                "InvalidParameter",
                `Security group ${id} and subnet ${subnet?.id} belong to different networks.`,
            );
    const zone = text(inputs, "availabilityZone");
    if (zone !== undefined && zone !== subnet?.props.availabilityZone)
        throw new Refusal(
            "InvalidParameterValue",
            `Value (${zone}) for parameter availabilityZone is invalid. The requested Availability Zone is not that of subnet ${subnet?.id}`,
        );
    refuseProfile(inputs, world);
    refusePlacement(inputs, subnet, world);
}

function refuseProfile(inputs: Props, world: World): void {
    const name = text(inputs, "iamInstanceProfile");
    if (name === undefined || name === "") return;
    const profile = world.find(PROFILE, name);
    if (!profile)
        throw new Refusal(
            "InvalidParameterValue",
            `Value (${name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name`,
        );
    if (!profile.props.role)
        throw new Refusal(
            "InvalidParameterValue",
            `IAM Instance Profile "${profile.props.arn}" has no associated IAM Roles`,
        );
}

/** AWS' limit for a group of strategy spread. */
const SPREAD_PER_ZONE = 7;

function refusePlacement(inputs: Props, subnet: Row | undefined, world: World): void {
    const name = text(inputs, "placementGroup");
    const group = name === undefined ? undefined : world.find(PLACEMENT_GROUP, name);
    if (name !== undefined && name !== "" && !group)
        throw new Refusal("InvalidPlacementGroup.Unknown", `The Placement Group '${name}' is unknown.`);
    if (inputs.placementPartitionNumber !== undefined && group?.props.strategy !== "partition")
        throw new Refusal(
            "InvalidParameterCombination",
            "A partition number needs a placement group with strategy partition.",
        );
    const partitions = Number(group?.props.partitionCount ?? 0);
    if (Number(inputs.placementPartitionNumber ?? 0) > partitions)
        throw new Refusal("InvalidParameterValue", `Partition ${inputs.placementPartitionNumber} of ${partitions}`);
    if (group?.props.strategy !== "spread") return;
    const beside = world
        .all(INSTANCE)
        .filter(
            (row) => row.props.placementGroup === name && row.props.availabilityZone === subnet?.props.availabilityZone,
        );
    if (beside.length >= SPREAD_PER_ZONE)
        throw new Refusal(
            "InsufficientInstanceCapacity",
            `A spread placement group has at most ${SPREAD_PER_ZONE} running instances per Availability Zone`,
        );
}

const restarts = (olds: Props, news: Props) =>
    ["instanceType", "userData", "userDataBase64"].some((name) => olds[name] !== news[name]);

const instance: Kind = {
    replaces: [
        "ami",
        "associatePublicIpAddress",
        "availabilityZone",
        "cpuOptions",
        "ebsBlockDevices",
        "ebsOptimized",
        "enclaveOptions",
        "ephemeralBlockDevices",
        "hibernation",
        "hostId",
        "ipv6AddressCount",
        "ipv6Addresses",
        "keyName",
        "launchTemplate",
        "networkInterfaces",
        "placementGroup",
        "placementGroupId",
        "placementPartitionNumber",
        "primaryNetworkInterface",
        "privateDnsNameOptions",
        "privateIp",
        "region",
        "rootBlockDevice.encrypted",
        "rootBlockDevice.kmsKeyId",
        "securityGroups",
        "subnetId",
        "tenancy",
    ],
    replacesIf: (news) => (news.userDataReplaceOnChange === true ? ["userData", "userDataBase64"] : []),
    refers: {
        subnetId: [SUBNET, "InvalidSubnetID.NotFound"],
        "vpcSecurityGroupIds[]": [SECURITY_GROUP, "InvalidGroup.NotFound"],
    },
    values: {
        "metadataOptions.httpTokens": ["optional", "required"],
        "metadataOptions.httpEndpoint": SWITCH,
        "metadataOptions.httpProtocolIpv6": SWITCH,
        "metadataOptions.instanceMetadataTags": SWITCH,
        "maintenanceOptions.autoRecovery": ["default", "disabled"],
        "rootBlockDevice.volumeType": VOLUME_TYPES,
        "creditSpecification.cpuCredits": ["standard", "unlimited"],
        instanceInitiatedShutdownBehavior: ["stop", "terminate"],
        tenancy: ["default", "dedicated", "host"],
    },
    range: { "metadataOptions.httpPutResponseHopLimit": [1, 64] },
    check(inputs, problem) {
        if (inputs.ami === undefined && inputs.launchTemplate === undefined)
            problem("ami", "MissingParameter: one of ami, launchTemplate must be specified");
        if (inputs.instanceType === undefined && inputs.launchTemplate === undefined)
            problem("instanceType", "MissingParameter: one of instanceType, launchTemplate must be specified");
        if (inputs.subnetId === undefined)
            problem("subnetId", "VPCIdNotSpecified: no default VPC for this user; a subnet must be given");
        const ami = text(inputs, "ami");
        if (ami !== undefined && !/^ami-[0-9a-f]{8,17}$/.test(ami))
            problem("ami", `InvalidAMIID.Malformed: invalid id: "${ami}"`);
        const type = text(inputs, "instanceType");
        if (type !== undefined && !isInstanceType(type))
            problem("instanceType", `InvalidParameterValue: invalid value '${type}' for InstanceType`);
        if (inputs.userData !== undefined && inputs.userDataBase64 !== undefined)
            problem("userData", "conflicts with userDataBase64");
        if (!hasUnknown([inputs.userData, inputs.userDataBase64])) {
            const base64 = text(inputs, "userDataBase64");
            if (base64 !== undefined && Buffer.from(base64, "base64").toString("base64") !== base64)
                problem("userDataBase64", "must be base64-encoded");
            const bytes = userDataOf(inputs).length;
            if (bytes > USER_DATA_LIMIT)
                problem(
                    base64 === undefined ? "userData" : "userDataBase64",
                    `InvalidParameterValue: user data is limited to ${USER_DATA_LIMIT} bytes, and this has ${bytes}`,
                );
        }
        if (isObject(inputs.metadataOptions) && inputs.metadataOptions.instanceMetadataTags === "enabled")
            for (const key of Object.keys(tagsOf(inputs)))
                if (!/^[0-9a-zA-Z\-_+=,.@:]{1,255}$/.test(key) || [".", "..", "_index"].includes(key))
                    problem(
                        "tags",
                        `InvalidParameterValue: '${key}' is not a valid tag key when instance metadata tags are enabled`,
                    );
    },
    create(inputs, world) {
        refuseInstance(inputs, world);
        const subnet = world.find(SUBNET, inputs.subnetId);
        if (!subnet) throw new Error("no subnet");
        const privateIp = freeAddress(subnet, world, text(inputs, "privateIp"));
        const id = world.newId("i");
        return {
            id,
            props: {
                arn: world.arn("ec2", `instance/${id}`),
                availabilityZone: subnet.props.availabilityZone,
                associatePublicIpAddress: subnet.props.mapPublicIpOnLaunch === true,
                privateIp,
                privateDns: `ip-${privateIp.replaceAll(".", "-")}.${world.region}.compute.internal`,
                publicIp: "",
                publicDns: "",
                instanceState: "running",
                primaryNetworkInterfaceId: world.newId("eni"),
                iamInstanceProfile: "",
                disableApiStop: false,
                disableApiTermination: false,
                ebsOptimized: false,
                hibernation: false,
                monitoring: false,
                sourceDestCheck: true,
                keyName: "",
                tenancy: "default",
                placementGroup: "",
                instanceInitiatedShutdownBehavior: "stop",
                ipv6Addresses: [],
                ipv6AddressCount: 0,
                secondaryPrivateIps: [],
                securityGroups: [],
                vpcSecurityGroupIds: [],
                ebsBlockDevices: [],
                ephemeralBlockDevices: [],
            },
        };
    },
    update(row, news, world) {
        refuseProfile(news, world);
        if (row.props.instanceType !== news.instanceType) refuseInstance({ ...news }, world);
        if (restarts(row.props, news) && row.props.disableApiStop === true && news.disableApiStop !== false)
            throw new Refusal(
                "OperationNotPermitted",
                `The instance '${row.id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.`,
            );
        return restarts(row.props, news) ? { instanceState: "running" } : undefined;
    },
    beforeDelete(row, state) {
        if (row.props.disableApiTermination === true && state.forceDestroy !== true)
            throw new Refusal(
                "OperationNotPermitted",
                `The instance '${row.id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.`,
            );
    },
    afterDelete(row, _state, world) {
        for (const attached of world.all(ATTACHMENT))
            if (attached.props.instanceId === row.id) world.remove(ATTACHMENT, attached.id);
    },
    outside: {
        create: (machines, row) =>
            machines.createInstance({
                id: row.id,
                name: tagsOf(row.props).Name ?? row.id,
                userData: userDataOf(row.props).toString("utf8"),
                privateIp: String(row.props.privateIp),
                tags: tagsOf(row.props),
                instanceProfile: text(row.props, "iamInstanceProfile") ?? "",
            }),
        async update(machines, row, olds) {
            if (JSON.stringify(tagsOf(olds)) !== JSON.stringify(tagsOf(row.props)))
                await machines.tagInstance(row.id, tagsOf(row.props));
            if (!restarts(olds, row.props)) return;
            await machines.stopInstance(row.id);
            await machines.startInstance(row.id);
        },
        async delete(machines, row, _state, world) {
            for (const attached of world.all(ATTACHMENT))
                if (attached.props.instanceId === row.id)
                    await machines.detach(String(attached.props.volumeId), row.id);
            await machines.deleteInstance(row.id);
        },
        exists: (machines, row) => machines.instanceExists(row.id),
    },
};

const placementGroup: Kind = {
    autoname: { property: "name" },
    replaces: ["name", "strategy", "partitionCount", "spreadLevel", "region"],
    values: { strategy: ["cluster", "partition", "spread"], spreadLevel: ["host", "rack"] },
    range: { partitionCount: [1, 7] },
    usedBy: [[INSTANCE, "placementGroup"]],
    check(inputs, problem) {
        if (inputs.partitionCount !== undefined && inputs.strategy !== "partition")
            problem("partitionCount", "must not be set unless strategy is partition");
    },
    create(inputs, world) {
        const name = String(inputs.name);
        if (world.find(PLACEMENT_GROUP, name))
            throw new Refusal("InvalidPlacementGroup.Duplicate", `The Placement Group '${name}' already exists.`);
        return {
            id: name,
            props: {
                arn: world.arn("ec2", `placement-group/${name}`),
                placementGroupId: world.newId("pg"),
                partitionCount: inputs.strategy === "partition" ? 2 : 0,
                spreadLevel: inputs.strategy === "spread" ? "rack" : "",
            },
        };
    },
};

function checkVolume(inputs: Props, problem: (property: string, reason: string) => void): void {
    const type = text(inputs, "type") ?? "gp2";
    const [size, iops, throughput] = [number(inputs, "size"), number(inputs, "iops"), number(inputs, "throughput")];
    if (inputs.size === undefined && inputs.snapshotId === undefined)
        problem("size", "MissingParameter: one of size, snapshotId must be specified");
    if (hasUnknown([inputs.type])) return;
    if (["io1", "io2"].includes(type) && inputs.iops === undefined) problem("iops", `must be set when type is ${type}`);
    if (iops !== undefined && !["io1", "io2", "gp3"].includes(type))
        problem("iops", `must not be set when type is ${type}`);
    if (throughput !== undefined && type !== "gp3") problem("throughput", `must not be set when type is ${type}`);
    if (inputs.kmsKeyId !== undefined && inputs.encrypted === false) problem("kmsKeyId", "needs encrypted to be true");
    if (inputs.volumeInitializationRate !== undefined && inputs.snapshotId === undefined)
        problem("volumeInitializationRate", "must not be set unless snapshotId is set");
    if (type !== "gp3") return;
    if (iops !== undefined && (iops < 3000 || iops > 80000))
        problem("iops", `InvalidParameterValue: gp3 has 3000 to 80000 IOPS, not ${iops}`);
    if (throughput !== undefined && (throughput < 125 || throughput > 2000))
        problem("throughput", `InvalidParameterValue: gp3 has 125 to 2000 MiB/s, not ${throughput}`);
    if (iops !== undefined && size !== undefined && iops > Math.max(3000, size * 500))
        problem("iops", `InvalidParameterCombination: at most 500 IOPS a GiB, and ${iops} is more for ${size} GiB`);
    if (throughput !== undefined && throughput > Math.max(125, (iops ?? 3000) / 4))
        problem("throughput", `InvalidParameterCombination: at most 0.25 MiB/s an IOPS, and ${throughput} is more`);
}

const attachmentOf = (volume: string, world: World) =>
    world.all(ATTACHMENT).find((row) => row.props.volumeId === volume && world.find(INSTANCE, row.props.instanceId));

const volume: Kind = {
    replaces: ["availabilityZone", "encrypted", "kmsKeyId", "multiAttachEnabled", "outpostArn", "snapshotId", "region"],
    values: { type: VOLUME_TYPES },
    range: { size: [1, 65536], volumeInitializationRate: [100, 300] },
    check(inputs, problem) {
        checkVolume(inputs, problem);
        const key = text(inputs, "kmsKeyId");
        if (key !== undefined && !/^arn:aws[a-z-]*:kms:/.test(key)) problem("kmsKeyId", `"${key}" is not an ARN`);
    },
    create(inputs, world) {
        const zone = String(inputs.availabilityZone);
        if (!world.zones().includes(zone))
            throw new Refusal("InvalidZone.NotFound", `The zone '${zone}' does not exist.`);
        const id = world.newId("vol");
        return {
            id,
            props: {
                arn: world.arn("ec2", `volume/${id}`),
                type: "gp2",
                encrypted: false,
                iops: inputs.type === "gp3" ? 3000 : 100,
                throughput: inputs.type === "gp3" ? 125 : 0,
                snapshotId: "",
                kmsKeyId: inputs.encrypted === true ? world.arn("kms", "alias/aws/ebs") : "",
                createTime: new Date().toISOString(),
            },
        };
    },
    update(row, news) {
        if (Number(news.size ?? row.props.size) < Number(row.props.size))
            throw new Refusal(
                "InvalidParameterValue",
                `New size cannot be smaller than existing size: ${row.id} has ${row.props.size} GiB, ${news.size} is wanted`,
            );
        return undefined;
    },
    beforeDelete(row, _state, world) {
        const attached = attachmentOf(row.id, world);
        if (attached)
            throw new Refusal("VolumeInUse", `Volume ${row.id} is currently attached to ${attached.props.instanceId}`);
    },
    outside: {
        create: (machines, row) => machines.createVolume(row.id, Number(row.props.size)),
        async update(machines, row, olds) {
            if (row.props.size !== olds.size) await machines.growVolume(row.id, Number(row.props.size));
        },
        delete: (machines, row) => machines.deleteVolume(row.id),
    },
};

const attachment: Kind = {
    untagged: true,
    replaces: ["deviceName", "instanceId", "volumeId", "region"],
    refers: {
        instanceId: [INSTANCE, "InvalidInstanceID.NotFound"],
        volumeId: [VOLUME, "InvalidVolume.NotFound"],
    },
    check(inputs, problem) {
        const device = text(inputs, "deviceName");
        if (device !== undefined && !/^(\/dev\/)?(sd|xvd)[a-z]{1,2}\d{0,2}$/.test(device))
            problem("deviceName", `InvalidParameterValue: value (${device}) for parameter device is invalid`);
    },
    create(inputs, world) {
        const machineRow = world.find(INSTANCE, inputs.instanceId);
        const disk = world.find(VOLUME, inputs.volumeId);
        if (!machineRow || !disk) throw new Error("no instance or volume");
        const taken = attachmentOf(disk.id, world);
        if (taken)
            throw new Refusal(
                "VolumeInUse",
                `${disk.id} is already attached to an instance: ${taken.props.instanceId}`,
            );
        if (disk.props.availabilityZone !== machineRow.props.availabilityZone)
            throw new Refusal(
                "InvalidVolume.ZoneMismatch",
                `The volume '${disk.id}' is in ${disk.props.availabilityZone}, not in the same availability zone as instance '${machineRow.id}' (${machineRow.props.availabilityZone})`,
            );
        const device = world
            .all(ATTACHMENT)
            .some((row) => row.props.instanceId === machineRow.id && row.props.deviceName === inputs.deviceName);
        if (device)
            throw new Refusal(
                "InvalidParameterValue",
                `Invalid value '${inputs.deviceName}' for unixDevice. Attachment point is already in use`,
            );
        return { id: `vai-${Number.parseInt(hex(`${inputs.deviceName}-${machineRow.id}-${disk.id}-`, 8), 16)}` };
    },
    beforeDelete(row, state, world) {
        const machineRow = world.find(INSTANCE, row.props.instanceId);
        if (machineRow?.props.instanceState !== "running") return;
        if (state.stopInstanceBeforeDetaching !== true && state.forceDetach !== true)
            throw new Refusal(
                "IncorrectState",
                `Volume ${row.props.volumeId} is busy: it is mounted on ${machineRow.id}, which is running; stopInstanceBeforeDetaching is not set`,
            );
        if (state.stopInstanceBeforeDetaching === true && machineRow.props.disableApiStop === true)
            throw new Refusal("OperationNotPermitted", `The instance '${machineRow.id}' may not be stopped.`);
    },
    afterDelete(row, state, world) {
        const machineRow = world.find(INSTANCE, row.props.instanceId);
        if (machineRow && state.stopInstanceBeforeDetaching === true) machineRow.props.instanceState = "stopped";
    },
    exists: (row, world) =>
        world.find(INSTANCE, row.props.instanceId) !== undefined &&
        world.find(VOLUME, row.props.volumeId) !== undefined,
    outside: {
        create: (machines, row) => machines.attach(String(row.props.volumeId), String(row.props.instanceId)),
        async delete(machines, row, state, world) {
            const machineRow = world.find(INSTANCE, row.props.instanceId);
            if (!machineRow) return;
            if (state.stopInstanceBeforeDetaching === true && machineRow.props.instanceState === "running")
                await machines.stopInstance(machineRow.id);
            await machines.detach(String(row.props.volumeId), machineRow.id);
        },
    },
};

export const compute: Record<string, Kind> = {
    [INSTANCE]: instance,
    [PLACEMENT_GROUP]: placementGroup,
    [VOLUME]: volume,
    [ATTACHMENT]: attachment,
};
