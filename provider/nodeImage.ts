/** The image that containers are made from. */

import type { NodeImageInputs } from "../components/resources/nodeImage.ts";
import { ANSWERS_WITHIN } from "../core/citus/silent.ts";
import { type CitusVersions, namedVersion, readVersions, refuseVersion } from "../core/citus/versions.ts";
import { nodeImage } from "../core/image/contents.ts";
import { type MadeImage, makeNodeImage } from "../core/image/make.ts";
import { volumeOwners } from "../core/image/volumes.ts";
import { dockerEngine } from "../core/reach/docker/engine.ts";
import { withSession } from "../core/reach/session.ts";
import { unknown } from "./coordinator.ts";
import { note, progress, warn } from "./engine.ts";

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

async function make(inputs: NodeImageInputs, olds: NodeImageState | undefined): Promise<NodeImageState> {
    const same = olds?.base === inputs.base && olds.packagesHash === inputs.packagesHash;
    const made = await makeNodeImage(
        dockerEngine(inputs.engine),
        { base: inputs.base, postgres: wantedPostgres(olds, inputs) },
        {
            name: inputs.name,
            progress: progress(inputs.self),
            ...(same && olds.packages ? { packages: olds.packages } : {}),
        },
    );
    await refuseForeign(inputs, made);
    if (olds !== undefined) await refuseCitus({ ...olds, coordinator: inputs.coordinator }, made.citus);
    if (made.remarks.length > 0) warn(inputs.self, made.remarks.join("\n"));
    return {
        ...inputs,
        imageId: made.imageId,
        packages: made.packages,
        postgresVersion: made.postgres,
        citusVersion: made.citus,
        emulated: made.emulated ? made.platform : "",
    };
}

/**
 * Fills in what it is built on and its name, so that a preview knows them. What is remembered is what the last `up` that
 * succeeded had: an image that could not be used is not.
 */
export async function check(
    olds: Partial<NodeImageInputs> | undefined,
    { newBase, ...news }: Omit<NodeImageInputs, "name"> & { newBase?: string },
) {
    const base = news.base || olds?.base || newBase || "";
    return { inputs: { ...news, base, name: nodeImage({ base, postgres: news.postgres || "newest" }) } };
}

export async function create(inputs: NodeImageInputs) {
    return { id: inputs.name, outs: await make(inputs, undefined) };
}

export async function update(_id: string, olds: NodeImageState, news: NodeImageInputs) {
    return { outs: await make(news, olds) };
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

export async function diff(_id: string, olds: NodeImageState, news: NodeImageInputs) {
    const changes = changesOf(olds, news);
    if (changes.length > 0) {
        if (olds.base !== news.base)
            await refuseCitus({ ...olds, coordinator: news.coordinator }, namedVersion(news.base));
        note(
            news.self,
            `${changes.join("; ")}. An image is built and tried first. Containers are replaced where it differs from theirs.`,
        );
    }
    return { changes: changes.length > 0 };
}

export async function read(id: string, props: NodeImageState) {
    const gone = await dockerEngine(props.engine)
        .getImage(props.imageId)
        .inspect()
        .then(
            () => false,
            (error: { statusCode?: number }) => error.statusCode === 404,
        );
    return { id, props: gone ? { ...props, imageId: "" } : props };
}

/** Other stacks of the same content use it too. */
export async function remove() {}
