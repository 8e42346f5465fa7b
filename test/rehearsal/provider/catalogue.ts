/** What AWS offers: images, public parameters and instance types. A small part, and no prices. */
import { createRequire } from "node:module";

export interface Ami {
    readonly id: string;
    readonly name: string;
    readonly ownerId: string;
    readonly architecture: "x86_64" | "arm64";
    readonly creationDate: string;
}

export const CANONICAL = "099720109477";
export const DEBIAN = "136693071363";

/** Images by id; a test adds one to the world to let time pass. */
export const defaultAmis = (): Ami[] => [
    ubuntu("ami-0a10000000000aaa1", "amd64", "20260901"),
    ubuntu("ami-0a20000000000aaa2", "amd64", "20261101"),
    ubuntu("ami-0a30000000000aaa3", "arm64", "20261101"),
    {
        id: "ami-0b10000000000bbb1",
        name: "debian-13-amd64-20261015-2234",
        ownerId: DEBIAN,
        architecture: "x86_64",
        creationDate: "2026-10-15T00:00:00.000Z",
    },
    {
        id: "ami-0c10000000000ccc1",
        name: "own-image",
        ownerId: "self",
        architecture: "x86_64",
        creationDate: "2026-10-01T00:00:00.000Z",
    },
];

export function ubuntu(id: string, architecture: "amd64" | "arm64", day: string): Ami {
    return {
        id,
        name: `ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-${architecture}-server-${day}`,
        ownerId: CANONICAL,
        architecture: architecture === "amd64" ? "x86_64" : "arm64",
        creationDate: `${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}T00:00:00.000Z`,
    };
}

export const defaultParameters = (): Record<string, string> => ({
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": "ami-0a20000000000aaa2",
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id": "ami-0a30000000000aaa3",
    "/aws/service/debian/release/13/latest/amd64": "ami-0b10000000000bbb1",
});

/** The names that @pulumi/aws knows, which is all that AWS has of them. */
function known(module: string, name: string): ReadonlySet<string> {
    const enums = createRequire(import.meta.url)(`@pulumi/aws/types/enums/${module}/index.js`) as Record<
        string,
        Record<string, string>
    >;
    return new Set(Object.values(enums[name] ?? {}));
}

let types: ReadonlySet<string> | undefined;
let policies: ReadonlySet<string> | undefined;

export function isInstanceType(name: string): boolean {
    types ??= known("ec2", "InstanceType");
    return types.has(name);
}

export function isManagedPolicy(arn: string): boolean {
    policies ??= known("iam", "ManagedPolicy");
    return policies.has(arn);
}

export interface Machine {
    readonly vcpus: number;
    readonly memoryMib: number;
    readonly architecture: "x86_64" | "arm64";
    readonly burstable: boolean;
}

/** GiB and vCPUs of the burstable ones, which follow no rule. */
const BURSTABLE: Record<string, readonly [number, number]> = {
    nano: [0.5, 2],
    micro: [1, 2],
    small: [2, 2],
    medium: [4, 2],
    large: [8, 2],
    xlarge: [16, 4],
    "2xlarge": [32, 8],
};

/** GiB a vCPU by family. */
const GIB_A_VCPU: Record<string, number> = { c: 2, m: 4, r: 8 };

/** What a type has; undefined for one that the stand-in can't tell, such as metal or GPU machines. */
export function machine(type: string): Machine | undefined {
    const [, family = "", generation = "", options = "", size = ""] =
        /^([a-z])(\d+)([a-z-]*)\.([a-z0-9-]+)$/.exec(type) ?? [];
    if (!isInstanceType(type)) return undefined;
    const architecture = options.includes("g") ? "arm64" : "x86_64";
    if (family === "t") {
        const [gib, vcpus] = BURSTABLE[size] ?? [];
        if (gib === undefined || vcpus === undefined || Number(generation) < 3) return undefined;
        return { vcpus, memoryMib: gib * 1024, architecture, burstable: true };
    }
    const each = GIB_A_VCPU[family];
    const vcpus =
        size === "medium"
            ? 1
            : size === "large"
              ? 2
              : 4 * Number(/^(\d*)xlarge$/.exec(size)?.[1] || (size === "xlarge" ? 1 : Number.NaN));
    if (each === undefined || Number.isNaN(vcpus)) return undefined;
    return { vcpus, memoryMib: vcpus * each * 1024, architecture, burstable: false };
}
