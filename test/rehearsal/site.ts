/** Where a rehearsal's things are: written once when it starts, read by whoever makes machines in it. */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

export interface Site {
    /** Also the value of the label `citus.rehearsal` on all that Docker has of it. */
    readonly name: string;
    /** Folder of the world file and of everything beside it; mounted in the side container as `/world`. */
    readonly dir: string;
    readonly region: string;
    readonly network: string;
    /** Container of the services around the instances, and its address. */
    readonly side: string;
    readonly sideAddress: string;
    /** Image of an instance. */
    readonly image: string;
}

/** Label of everything that Docker has of a rehearsal. */
export const REHEARSAL = "citus.rehearsal";
/** Label of an instance's container: the instance's id. */
export const INSTANCE = "standin.instance";

/** What is known of an instance, in `instances/<id>.json`: the metadata service and SSM read it too. */
export interface InstanceFacts {
    readonly id: string;
    readonly name: string;
    readonly privateIp: string;
    readonly hostname: string;
    readonly region: string;
    readonly zone: string;
    readonly instanceProfile: string;
    readonly userData: string;
    readonly tags: Readonly<Record<string, string>>;
    /** Epoch milliseconds. @default it exists */
    readonly terminated?: number;
}

export const containerName = (site: Site, instance: string): string => `${site.name}-${instance}`;
export const worldFile = (dir: string): string => join(dir, "world.json");
export const factsDir = (site: Site): string => join(site.dir, "instances");
export const factsFile = (site: Site, instance: string): string => join(factsDir(site), `${instance}.json`);

export function writeSite(site: Site): void {
    writeFileSync(join(site.dir, "site.json"), `${JSON.stringify(site, null, 1)}\n`);
}

/** @param world path of the world file. @default what STANDIN_WORLD says */
export function readSite(world = process.env.STANDIN_WORLD): Site {
    if (!world) throw new Error("STANDIN_WORLD is not set: containers are only made in a rehearsal");
    return JSON.parse(readFileSync(join(dirname(world), "site.json"), "utf8")) as Site;
}
