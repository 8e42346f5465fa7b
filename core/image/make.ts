/**
 * The node image on an engine, in two steps: an image with the packages, which is tried before it gets its name, and on it
 * one with the node scripts. Scripts that change leave PostgreSQL, pgBackRest and PgBouncer as they are.
 */
import { randomBytes } from "node:crypto";
import type Docker from "dockerode";
import { SCRIPTS_FOLDER } from "../node/scripts.ts";
import { platformOf } from "../reach/docker/architecture.ts";
import { ignoreMissing, lastLog } from "../reach/docker/engine.ts";
import { ensureBase } from "./base.ts";
import { build } from "./build.ts";
import {
    type ImageSource,
    NODE_DOCKERFILE,
    nodeFiles,
    PACKAGES_DOCKERFILE,
    packageFiles,
    packagesImage,
} from "./contents.ts";
import { better, parseTrial, refusal, remarks, type Trial, wantsSecond } from "./trial.ts";

/** What a tested image says of itself. */
interface Facts {
    /** PostgreSQL in full, such as `17.10`. */
    readonly postgres: string;
    /** Citus in full, such as `14.1.0`. */
    readonly citus: string;
    /** The user that PostgreSQL runs as. */
    readonly uid: number;
    /** Such as `linux/amd64`. */
    readonly platform: string;
    /** What a reader should know of it. */
    readonly remarks: readonly string[];
}

/** An image with the packages, tried. */
export interface Packages extends Facts {
    /** `sha256:…` */
    readonly id: string;
}

/** A node image that may be used. */
export interface MadeImage extends Facts {
    /** `sha256:…` */
    readonly imageId: string;
    /** Of the image with the packages, `sha256:…`. */
    readonly packages: string;
    /** Whether the engine has to emulate it. */
    readonly emulated: boolean;
}

export interface MakeOptions {
    /** The node image's name. */
    readonly name: string;
    /** An image with the packages, `sha256:…`, that is taken as long as the engine has it. */
    readonly packages?: string;
    readonly context?: string;
    readonly progress?: (text: string) => void;
}

const LABEL = "citus.packages";
/** How long the self-test may take, in milliseconds: an emulated one is ten times as slow. */
const TRIAL_WITHIN = 600_000;

/** An image with the packages that was tried; undefined when there is none of that name or id. */
async function findPackages(docker: Docker, image: string): Promise<Packages | undefined> {
    const found = await docker.getImage(image).inspect().catch(ignoreMissing);
    const label = found?.Config?.Labels?.[LABEL];
    return found && label !== undefined ? { ...(JSON.parse(label) as Facts), id: found.Id } : undefined;
}

/** What a run that was killed leaves: containers with this label, and images whose tag begins so. */
const TRYING = { label: "citus.trying=self-test", image: "citus-packages:trying-" } as const;

/** Removes what killed runs left long ago. What another run tries at this moment is younger. */
async function sweepTrials(docker: Docker): Promise<void> {
    const old = ({ Created }: { Created: number }) => Created * 1000 < Date.now() - TRIAL_WITHIN;
    const containers = await docker.listContainers({ all: true, filters: { label: [TRYING.label] } });
    for (const { Id } of containers.filter(old))
        await docker.getContainer(Id).remove({ force: true, v: true }).catch(ignoreMissing);
    for (const { RepoTags } of (await docker.listImages()).filter(old))
        for (const tag of (RepoTags ?? []).filter((name) => name.startsWith(TRYING.image)))
            await docker.getImage(tag).remove({ noprune: true }).catch(ignoreMissing);
}

/** Runs the self-test of an image in a container without a network. */
async function tryOut(docker: Docker, image: string, platform: string): Promise<Trial> {
    const container = await docker.createContainer({
        Image: image,
        platform,
        Labels: Object.fromEntries([TRYING.label.split("=")]),
        HostConfig: { NetworkMode: "none", CapDrop: ["ALL"], SecurityOpt: ["no-new-privileges"] },
    });
    const late = setTimeout(() => container.kill().catch(() => undefined), TRIAL_WITHIN);
    try {
        await container.start();
        await container.wait();
        return parseTrial(await lastLog(docker, container.id, 100));
    } finally {
        clearTimeout(late);
        await container.remove({ force: true, v: true }).catch(ignoreMissing);
    }
}

const NOTHING_MADE = "No container was made or replaced.";

/** Builds the packages, tries them, and falls back to the base's own PostgreSQL where the newest has faults. */
async function makePackages(
    docker: Docker,
    source: ImageSource,
    context: string,
    progress: (text: string) => void,
): Promise<Packages> {
    await sweepTrials(docker);
    const platform = await ensureBase(docker, source.base, progress);
    const files = packageFiles(context);
    const run = randomBytes(4).toString("hex");
    const tags: string[] = [];
    const candidate = async (postgres: string): Promise<{ tag: string; trial: Trial }> => {
        const tag = `${TRYING.image}${run}-${tags.length}`;
        tags.push(tag);
        progress(`installing packages on ${source.base}, PostgreSQL ${postgres}`);
        const args = { BASE: source.base, POSTGRES: postgres };
        await build(docker, { files, dockerfile: PACKAGES_DOCKERFILE, args, platform, tag, fresh: true }).catch(
            (error: Error) => {
                throw new Error(
                    `The node image could not be built on ${source.base}:\n${error.message}\n${NOTHING_MADE} This is safe to repeat: pulumi up.`,
                );
            },
        );
        progress("trying the image");
        const trial = await tryOut(docker, tag, platform).catch((error: Error) => {
            throw new Error(`The node image on ${source.base} could not be tried: ${error.message}\n${NOTHING_MADE}`);
        });
        return { tag, trial };
    };
    try {
        const first = await candidate(source.postgres);
        const own = wantsSecond(first.trial, source.postgres) ? await candidate("base") : undefined;
        const chosen = own === undefined ? first : better(first, own);
        const why = refusal(source.base, chosen.trial);
        if (why !== undefined) throw new Error(why);
        const { postgres, citus, uid } = chosen.trial;
        const fellBackFrom = chosen === own ? first.trial : undefined;
        const facts: Facts = { postgres, citus, uid, platform, remarks: remarks(chosen.trial, fellBackFrom) };
        // only what was tried gets the name, and it says itself what it is
        await build(docker, {
            files: [{ name: "Dockerfile", mode: 0o644, content: `FROM ${chosen.tag}\n` }],
            dockerfile: "Dockerfile",
            labels: { [LABEL]: JSON.stringify(facts) },
            platform,
            tag: packagesImage(source, context),
        });
        const made = await findPackages(docker, packagesImage(source, context));
        if (!made) throw new Error(`The image ${packagesImage(source, context)} was built and is not there.`);
        return made;
    } finally {
        for (const tag of tags)
            await docker
                .getImage(tag)
                .remove({ noprune: true })
                .catch(() => undefined);
    }
}

/** Whether packages that are there have the PostgreSQL that is wanted. */
const fits = (found: Facts, postgres: string) => !/^[0-9]/.test(postgres) || found.postgres === postgres;

/**
 * Makes the node image, or finds it made.
 * @throws Error when the base can't be had, a step of the build fails, or the self-test refuses it
 */
export async function makeNodeImage(docker: Docker, source: ImageSource, options: MakeOptions): Promise<MadeImage> {
    const { name, context = SCRIPTS_FOLDER, progress = () => undefined } = options;
    const kept = options.packages === undefined ? undefined : await findPackages(docker, options.packages);
    const named = kept ?? (await findPackages(docker, packagesImage(source, context)));
    const packages =
        named && fits(named, source.postgres) ? named : await makePackages(docker, source, context, progress);
    progress("adding the node scripts");
    await build(docker, {
        files: nodeFiles(context),
        dockerfile: NODE_DOCKERFILE,
        args: { PACKAGES: packages.id },
        platform: packages.platform,
        tag: name,
    });
    const [image, info] = await Promise.all([docker.getImage(name).inspect(), docker.info()]);
    const { id, ...facts } = packages;
    const emulated = platformOf((info as { Architecture: string }).Architecture) !== packages.platform;
    return { ...facts, packages: id, imageId: image.Id, emulated };
}
