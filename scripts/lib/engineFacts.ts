/** What `docker info` says about an engine, judged for a cluster. Pure. */
import type { ClusterArgs } from "../../components/config/index.ts";
import { architectureOf } from "../../core/reach/docker/architecture.ts";
import { BASE_ARCHITECTURE, BASE_IMAGES, isCitusImage, LISTED } from "../../core/reach/docker/baseImages.ts";
import { noForwarding } from "../../core/reach/docker/trouble.ts";
import type { Finding } from "./finding.ts";

/** The part of `docker info` that is looked at. */
export interface EngineInfo {
    readonly ServerVersion?: string;
    readonly OperatingSystem?: string;
    readonly OSType?: string;
    readonly Architecture?: string;
    readonly NCPU?: number;
    /** Bytes. */
    readonly MemTotal?: number;
    readonly KernelVersion?: string;
    readonly Name?: string;
    readonly DockerRootDir?: string;
    readonly SecurityOptions?: readonly string[] | null;
    readonly IPv4Forwarding?: boolean;
    /** Whether a container's memory can be limited. */
    readonly MemoryLimit?: boolean;
}

/** This machine, for telling whether the engine runs on it or in a virtual machine. */
export interface Here {
    readonly linux: boolean;
    readonly kernel: string;
    /** Bytes. */
    readonly memory: number;
    /** Bytes that could be used now. */
    readonly available: number;
}

export const GiB = 1024 ** 3;
/** What an idle node takes, measured: PostgreSQL with Citus and its connections. */
const NODE_MEMORY = 150 * 1024 ** 2;
const REST = 0.25 * GiB;
/** What the engine's own virtual machine keeps for itself. */
const VM_OWN = 0.5 * GiB;

export const gib = (bytes: number) => `${(bytes / GiB).toFixed(1)} GiB`;

type Nodes = Pick<ClusterArgs, "workers">;

/** Whether the engine's containers run on this machine's kernel and memory. */
export function onThisMachine(info: EngineInfo, here: Here): boolean {
    const same = Math.abs((info.MemTotal ?? 0) - here.memory) < 0.01 * here.memory;
    return here.linux && info.KernelVersion === here.kernel && same;
}

export const isRootless = (info: EngineInfo) =>
    info.SecurityOptions?.some((option) => option.includes("name=rootless")) ?? false;

/** The engine itself. */
export function engineFindings(info: EngineInfo, podman: boolean): Finding[] {
    const what = podman ? "Podman engine" : "Docker engine";
    const architecture = architectureOf(info.Architecture ?? "");
    const kind = [isRootless(info) ? "rootless" : "", architecture, `${info.NCPU ?? "?"} cores`]
        .filter(Boolean)
        .join(", ");
    const found = `${info.ServerVersion ?? "?"} (${kind})`;
    if (info.OSType === "windows")
        return [{ what, found: `${found} runs Windows containers`, todo: "switch Docker Desktop to Linux containers" }];
    const [trouble = "", todo = ""] = noForwarding(info)?.split(": ") ?? [];
    if (trouble) return [{ what, found: `${found}: ${trouble}`, todo }];
    const notes = [
        podman ? "Podman runs a cluster, but each pulumi up makes its containers anew (docs/engines.md)." : "",
        info.MemoryLimit === false
            ? "This engine can't limit a container's memory: citus:coordinator.memory and citus:worker.memory only size PostgreSQL."
            : "",
    ];
    const note = notes.filter(Boolean).join(" ");
    return [{ what, found, todo: "", ...(note ? { note } : {}) }];
}

/** Whether memory is enough. Of a virtual machine or a rootless engine only its total is known. */
export function memoryFinding(info: EngineInfo, here: Here, { workers }: Nodes, running: boolean): Finding {
    const need = (1 + workers) * NODE_MEMORY + REST;
    const own = onThisMachine(info, here) && !isRootless(info);
    const there = own ? here.available : (info.MemTotal ?? 0);
    const said = own ? `${gib(there)} free` : `${gib(there)} in all`;
    if (running || there >= need + (own ? 0 : VM_OWN)) return { what: "Memory", found: said, todo: "" };
    return {
        what: "Memory",
        found: `${said}, a cluster of 1 + ${workers} needs about ${gib(need)}`,
        todo: own
            ? "stop something, or set citus:workers lower"
            : "give the engine's machine more memory (Docker Desktop: Settings, Resources; colima start --memory 4), or set citus:workers lower",
    };
}

/**
 * What an image for one architecture means on an engine of another.
 * @param made what the image is made for; undefined when it is not here yet
 */
export function architectureNote(info: EngineInfo, image: string, made: string | undefined): string | undefined {
    const engine = architectureOf(info.Architecture ?? "");
    const architecture = architectureOf(made ?? (isCitusImage(image) ? BASE_ARCHITECTURE : engine));
    if (architecture === engine) return undefined;
    const ways = isCitusImage(image)
        ? ` Citus' Debian images are ${BASE_ARCHITECTURE} only. Ways out: an image of your own for ${engine} (citus:image), or Citus 15, whose packages are made for arm64 too.`
        : "";
    return `${image} is ${architecture} and this engine is ${engine}: it will be emulated, which is several times slower.${ways}`;
}

/** Images that a base image could be chosen from: those with Citus that the engine has, Citus' own first. */
const chooseable = (tags: readonly string[]) => {
    const own = (tag: string) => (tag.startsWith("citusdata/") ? 0 : 1);
    return tags
        .filter(
            (tag) =>
                /citus/i.test(tag) && !/^citus-(node|packages|test|rehearsal)[-:]/.test(tag) && !tag.includes("<none>"),
        )
        .sort((a, b) => own(a) - own(b) || a.localeCompare(b));
};

/**
 * A base image that can't be had.
 * @param why what the engine said
 * @param tags names of the images that the engine has
 */
export function missingImage(image: string, why: string, tags: readonly string[]): Finding {
    const set = (name: string) => `npm run pulumi -- config set citus:image ${name}`;
    const own = chooseable(tags);
    return {
        what: "Base image",
        found: `${image} is not on this engine and can't be had: ${why}`,
        todo: [
            own.length > 0 ? "take one that this engine has:" : "",
            ...own.map((name) => `  ${set(name)}`),
            `or one that Docker Hub has (${LISTED}), when it can be reached:`,
            ...BASE_IMAGES.filter((name) => name !== image).map((name) => `  ${set(name)}`),
            "then npm start again",
        ]
            .filter(Boolean)
            .join("\n"),
    };
}
