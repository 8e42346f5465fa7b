/** The image that containers are made from. */

import { ANSWERS_WITHIN } from "../core/citus/silent.ts";
import { type CitusVersions, namedVersion, readVersions, refuseVersion } from "../core/citus/versions.ts";
import { nodeImage } from "../core/image/contents.ts";
import { type MadeImage, makeNodeImage } from "../core/image/make.ts";
import { volumeOwners } from "../core/image/volumes.ts";
import type { Access } from "../core/node/reach.ts";
import { dockerEngine } from "../core/reach/docker/engine.ts";
import { withSession } from "../core/reach/session.ts";
import type { Ask, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

export interface NodeImageInputs {
    /** Image with PostgreSQL 17 and Citus that it is built on. Given empty it is what the cluster has, `newBase` for a new one. */
    base: string;
    /** `citus:postgresVersion`; empty when it is not set, which keeps what the cluster runs. */
    postgres: string;
    /** Hash of what the packages are installed with. */
    packagesHash: string;
    /** Hash of what runs on a node. */
    scriptsHash: string;
    /** Its name on the engine, filled in. */
    name: string;
    /** Docker engine as DOCKER_HOST has it, the environment's when empty. */
    engine: string;
    /** The cluster whose volumes it has to be able to read. */
    clusterId: string;
    /** Asked which versions of the Citus extension the image has to run; a secret. */
    coordinator: Access;
}

/** What the program gives. */
export interface NodeImageGiven extends Omit<NodeImageInputs, "name"> {
    /** What `base` is for a cluster that has no image yet, when it is given empty. */
    newBase?: string;
}

export interface NodeImageState extends NodeImageInputs {
    /** Empty when a refresh saw that the image is gone. */
    imageId: string;
    /** The image with the packages that it is built on, `sha256:…`. */
    packages: string;
    postgresVersion: string;
    citusVersion: string;
    emulated: string;
}

/** An image that can't read what is there would take every node down. */
async function refuseForeign(inputs: NodeImageInputs, made: MadeImage): Promise<void> {
    const owners = await volumeOwners(dockerEngine(inputs.engine), made.imageId, inputs.clusterId);
    const foreign = owners.filter(({ uid }) => uid !== made.uid);
    if (foreign.length === 0) return;
    throw new Error(
        [
            `The image ${inputs.base} runs PostgreSQL as user ${made.uid}, and this cluster's data belongs to another user:`,
            ...foreign.map(({ node, volume, uid }) => `  ${node}: the volume ${volume} belongs to user ${uid}`),
            `No container was replaced. Choose an image whose user postgres is ${foreign[0]?.uid} (citus:image, or citus:citusVersion for Citus' own).`,
        ].join("\n"),
    );
}

/** The versions of Citus in the cluster's databases; where it does not answer, what its last image had. */
async function versionsNow(olds: NodeImageState): Promise<CitusVersions[]> {
    const { coordinator, citusVersion } = olds;
    const last = citusVersion === "" ? [] : [{ node: "every node", installed: citusVersion, available: citusVersion }];
    // a state of before it was written down
    if (coordinator === undefined || unknown(coordinator)) return last;
    const patience = { timeout: ANSWERS_WITHIN, nodeTimeout: ANSWERS_WITHIN };
    return withSession(coordinator, "coordinator", readVersions, patience).catch(() => last);
}

/** @param next Citus in full; undefined where nobody knows it yet */
async function refuseCitus(olds: NodeImageState, next: string | undefined): Promise<void> {
    if (next === undefined || next === "" || next === olds.citusVersion) return;
    const why = refuseVersion(next, await versionsNow(olds));
    if (why !== undefined) throw new Error(why);
}

/** The minor release that is wanted: what is set, else what this cluster runs, as long as its base is the same. */
export function wantedPostgres(olds: NodeImageState | undefined, news: NodeImageInputs): string {
    if (news.postgres !== "") return news.postgres;
    return olds !== undefined && olds.base === news.base && olds.postgresVersion ? olds.postgresVersion : "newest";
}

async function make(ask: Ask, inputs: NodeImageInputs, olds: NodeImageState | undefined): Promise<NodeImageState> {
    const same = olds?.base === inputs.base && olds.packagesHash === inputs.packagesHash;
    const made = await makeNodeImage(
        dockerEngine(inputs.engine),
        { base: inputs.base, postgres: wantedPostgres(olds, inputs) },
        {
            name: inputs.name,
            progress: ask.progress,
            ...(same && olds.packages ? { packages: olds.packages } : {}),
        },
    );
    await refuseForeign(inputs, made);
    if (olds !== undefined) await refuseCitus({ ...olds, coordinator: inputs.coordinator }, made.citus);
    if (made.remarks.length > 0) ask.warn(made.remarks.join("\n"));
    return {
        ...inputs,
        imageId: made.imageId,
        packages: made.packages,
        postgresVersion: made.postgres,
        citusVersion: made.citus,
        emulated: made.emulated ? made.platform : "",
    };
}

/** Why another image is needed, in words; empty when none is. Pure. */
export function changesOf(olds: NodeImageState, news: NodeImageInputs): string[] {
    const wanted = wantedPostgres(olds, news);
    const named = /^[0-9]/.test(wanted);
    const samePostgres = named ? wanted === olds.postgresVersion : wanted === (olds.postgres || "newest");
    return [
        ...(olds.imageId === "" ? ["the node image is gone from the engine"] : []),
        ...(olds.base === news.base ? [] : [`the base image changes from ${olds.base} to ${news.base}`]),
        ...(olds.packagesHash === news.packagesHash ? [] : ["the way packages are installed changed"]),
        ...(olds.scriptsHash === news.scriptsHash ? [] : ["the node scripts changed"]),
        ...(samePostgres || olds.base !== news.base
            ? []
            : [
                  `PostgreSQL changes from ${olds.postgresVersion} to ${named ? wanted : `citus:postgresVersion ${wanted}`}`,
              ]),
    ];
}

export class NodeImageKind implements ResourceKind<NodeImageInputs, NodeImageState, NodeImageGiven> {
    readonly type = "citus-clusters:index:NodeImage";
    readonly description = "The image that every node's container is made from, built and tried.";
    readonly inputs = {
        base: { type: "string", description: "Image with PostgreSQL 17 and Citus; the cluster's own when empty." },
        newBase: { type: "string", optional: true, description: "What base is for a new cluster." },
        postgres: { type: "string", description: "Minor release of PostgreSQL; the cluster's own when empty." },
        packagesHash: { type: "string", description: "Of what the packages are installed with." },
        scriptsHash: { type: "string", description: "Of what runs on a node." },
        engine: { type: "string", description: "Docker engine as DOCKER_HOST has it." },
        clusterId: { type: "string", description: "The cluster whose volumes it has to be able to read." },
        coordinator: { type: "object", secret: true, description: "How the coordinator is reached." },
    } as const;
    readonly outputs = {
        name: { type: "string", description: "Its name on the engine." },
        imageId: { type: "string", description: "sha256:..." },
        packages: { type: "string", description: "The image with the packages that it is built on." },
        postgresVersion: { type: "string", description: "In full, such as 17.10." },
        citusVersion: { type: "string", description: "In full, such as 14.1.0." },
        emulated: { type: "string", description: "Such as linux/amd64 where the engine emulates it." },
    } as const;

    /**
     * Fills in what it is built on and its name, so that a preview knows them. What is remembered is what the last `up`
     * that succeeded had: an image that could not be used is not.
     */
    async check(_ask: Ask, olds: Partial<NodeImageInputs>, { newBase, ...news }: NodeImageGiven) {
        const base = news.base || olds.base || newBase || "";
        return { inputs: { ...news, base, name: nodeImage({ base, postgres: news.postgres || "newest" }) } };
    }

    async create(ask: Ask, inputs: NodeImageInputs) {
        return { id: inputs.name, outs: await make(ask, inputs, undefined) };
    }

    async update(ask: Ask, _id: string, olds: NodeImageState, news: NodeImageInputs) {
        return { outs: await make(ask, news, olds) };
    }

    async diff(ask: Ask, _id: string, olds: NodeImageState, news: NodeImageInputs) {
        const changes = changesOf(olds, news);
        if (changes.length > 0) {
            if (olds.base !== news.base)
                await refuseCitus({ ...olds, coordinator: news.coordinator }, namedVersion(news.base));
            ask.note(
                `${changes.join("; ")}. An image is built and tried first. Containers are replaced where it differs from theirs.`,
            );
        }
        return { changes: changes.length > 0 };
    }

    async read(_ask: Ask, _id: string, props: NodeImageState) {
        const gone = await dockerEngine(props.engine)
            .getImage(props.imageId)
            .inspect()
            .then(
                () => false,
                (error: { statusCode?: number }) => error.statusCode === 404,
            );
        return gone ? { ...props, imageId: "" } : props;
    }

    /** Other stacks of the same content use it too. */
    async delete() {}
}
