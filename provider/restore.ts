/** All nodes of a cluster restored to one point, with nothing near that they could reach. */

import { createHash, randomBytes } from "node:crypto";
import { stanzaOf } from "../core/node/archive.ts";
import { type AwsSite, awsSite } from "../core/restore/awsSite.ts";
import { type DockerSite, dockerSite } from "../core/restore/dockerSite.ts";
import {
    describePlan,
    planRestore,
    type RestorePlan,
    type RestoreRequest,
    type TargetNode,
} from "../core/restore/plan.ts";
import { newestTimeline } from "../core/restore/points.ts";
import { RepositoryError } from "../core/restore/repository.ts";
import { HoldsData, restoreNodes } from "../core/restore/run.ts";
import type { Site } from "../core/restore/site.ts";
import { comparable } from "./coordinator.ts";
import type { Ask, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

export interface RestoreNode extends TargetNode {
    /** MiB. */
    memory: number;
    cores: number;
}

/** What a restore is told, as plain values. */
export interface RestoreInputs {
    request: Omit<RestoreRequest, "nodes" | "database">;
    overwrite: boolean;
    database: string;
    cluster: string;
    clusterId: string;
    /** The volume or bucket that is the repository. */
    repository: string;
    /** Where that bucket is; empty for a volume. */
    repositoryRegion: string;
    /** A secret; empty when the repository is not encrypted. */
    passphrase: string;
    /** The cluster's own repository, and its passphrase; the same two in a restore in place. */
    ownRepository: string;
    ownPassphrase: string;
    /** Where the nodes' data is, and what works on it. */
    site: DockerSite | AwsSite;
    /** SCRAM verifier of the new superuser's password; a secret. */
    verifier: string;
    nodes: RestoreNode[];
}

export interface RestoreState extends RestoreInputs {
    point?: string;
    restoreId?: string;
    manifest?: string;
}

const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(1)} s`;

/** Where it works: the one place that knows of platforms. */
function siteOf(ask: Ask, inputs: RestoreInputs): Site {
    const { site } = inputs;
    if (site.kind === "aws") {
        const bucket = (name: string, region: string, passphrase: string) => ({
            bucket: name,
            region,
            encrypted: passphrase !== "",
        });
        return awsSite(
            site,
            bucket(inputs.repository, inputs.repositoryRegion, inputs.passphrase),
            bucket(inputs.ownRepository, site.nodes[0]?.shell.region ?? "", inputs.ownPassphrase),
            ask.progress,
        );
    }
    const volume = (name: string, passphrase: string) => ({
        volume: name,
        ...(passphrase === "" ? {} : { passphrase }),
    });
    return dockerSite(
        site,
        volume(inputs.repository, inputs.passphrase),
        volume(inputs.ownRepository, inputs.ownPassphrase),
    );
}

/** What asks for a restore: everything else may change without one. */
const asked = (inputs: RestoreInputs) => comparable({ ...inputs.request, repository: inputs.repository });

/** Whether nothing new is asked for. An origin that is gone (no repository) is no request. */
function askedBefore(olds: RestoreInputs, news: RestoreInputs): boolean {
    if (news.repository !== "") return asked(olds) === asked(news);
    const known = { ...news.request, ...(olds.request.cluster === undefined ? {} : { cluster: olds.request.cluster }) };
    return asked(olds) === asked({ ...news, request: known, repository: olds.repository });
}

async function makePlan(inputs: RestoreInputs, site: Site): Promise<RestorePlan> {
    if (inputs.repository === "")
        throw refused([
            "citus:restoreFrom.stack: that stack is not up, so its backups can't be found through it. If only its repository is left, set citus:restoreFrom.repository instead",
        ]);
    const contents = await site.read("origin", { kind: "restore", ...inputs.request }).catch((error: Error) => {
        if (error instanceof RepositoryError) throw refused([error.message]);
        throw error;
    });
    const planned = planRestore({ ...inputs.request, database: inputs.database, nodes: inputs.nodes }, contents);
    if ("refusals" in planned) throw refused(planned.refusals);
    return planned.plan;
}

const refused = (why: readonly string[]) =>
    new Error(["The cluster can't be restored:", ...why.map((line) => `  ${line}`), "Nothing was touched."].join("\n"));

/** What will be restored, or every reason why not. */
async function foresee(ask: Ask, olds: Partial<RestoreInputs>, news: RestoreInputs): Promise<void> {
    const before = olds.request === undefined ? undefined : (olds as RestoreInputs);
    const { site: at } = news;
    // a volume that is not named yet is not there yet; a machine that is not there can't look
    const eyes = at.kind === "docker" ? [at.engine, at.image] : at;
    const known = !unknown([news.repository, news.request, news.passphrase, news.database, eyes]);
    if (!known || !(await siteOf(ask, news).canLook())) {
        if (!before || !askedBefore(before, news))
            ask.warn("preview can't read the repository yet, so pulumi up looks up which point it restores");
        return;
    }
    if (before && askedBefore(before, news)) return;
    try {
        const site = siteOf(ask, news);
        const plan = await makePlan(news, site);
        ask.note(describePlan(plan));
        if (news.passphrase !== "" && news.ownPassphrase === "")
            ask.warn(
                "the repository that is restored from is encrypted, but this cluster's own will not be. To encrypt it, set citus:backupPassphrase before this pulumi up",
            );
        await refuseData(ask, news, plan, site);
    } catch (error) {
        if (!before) throw error;
        throw new Error(
            `${(error as Error).message}\nThis cluster was restored before and runs. To leave it as it is, set citus:restoreFrom back to what it was, or remove it: pulumi config rm citus:restoreFrom`,
        );
    }
}

/** A restore replaces an existing database only with restoreFrom.overwrite. */
async function refuseData(ask: Ask, inputs: RestoreInputs, plan: RestorePlan, site: Site): Promise<void> {
    const leaving = plan.toTheEnd ? [] : await site.leaving();
    if (leaving.length > 0) throw alsoLeaving(leaving, plan);
    const holding = await site.holdings(inputs.nodes.map(({ name }) => name));
    const held = [...plan.restored, ...plan.surplus]
        .map((node) => node.name)
        .filter((name) => holding.get(name) === "database");
    if (held.length === 0) return;
    if (!inputs.overwrite) throw holdsData(held, plan);
    ask.warn(
        `the databases of ${held.join(", ")} go back to their state at ${plan.point.time}; what is in them now is put aside on each node's volume`,
    );
}

/** What is in no configuration any more goes at the end of the run, and nothing that is restored knows what it holds. */
function alsoLeaving(nodes: readonly string[], plan: RestorePlan): Error {
    const one = nodes.length === 1;
    return new Error(
        [
            `The cluster can't be restored while ${nodes.join(", ")} ${one ? "is" : "are"} to be removed: ${one ? "its data" : "their data"} would be deleted, and may be the only copy of what was written after ${plan.point.time}.`,
            `  Set citus:workers (and citus:retire) so that ${one ? "it stays" : "they stay"}. The restore puts ${one ? "its data" : "their data"} aside, and ${one ? "it joins" : "they join"} the restored cluster empty. Remove ${one ? "it" : "them"} in a later pulumi up.`,
            "Nothing was touched.",
        ].join("\n"),
    );
}

function holdsData(names: readonly string[], plan: RestorePlan): Error {
    return new Error(
        [
            `The cluster can't be restored: ${names.join(", ")} ${names.length === 1 ? "holds a database" : "hold databases"}, which the restore would replace.`,
            `  It would go back to the state at ${plan.point.time}, and the present data would be put aside. If you want that:`,
            "  pulumi config set --path citus:restoreFrom.overwrite true",
            "Nothing was touched.",
        ].join("\n"),
    );
}

async function restore(ask: Ask, inputs: RestoreInputs): Promise<RestoreState> {
    const began = Date.now();
    const site = siteOf(ask, inputs);
    const plan = await makePlan(inputs, site);
    await refuseData(ask, inputs, plan, site);
    const timelines = await readTimelines(inputs, site);
    const times = await restoreNodes({
        site,
        passphrase: inputs.passphrase === "" ? undefined : inputs.passphrase,
        verifier: inputs.verifier,
        database: inputs.database,
        overwrite: inputs.overwrite,
        plan,
        timelines,
        planId: planIdOf(inputs, plan),
        targets: inputs.nodes,
        report: ask.progress,
        alive: () => undefined,
    }).catch((error: Error) => {
        if (error instanceof HoldsData) throw holdsData(error.nodes, plan);
        throw error;
    });
    const target = plan.toTheEnd ? "the end of its archive" : `${plan.point.name} of ${plan.point.time}`;
    const names = plan.restored.map((node) => node.name);
    ask.note(
        `restored ${names.join(", ")} to ${target}${plan.surplus.length > 0 ? `, and put aside what ${plan.surplus.map(({ name }) => name).join(", ")} had,` : ""} in ${seconds(Date.now() - began)} (files ${seconds(times.files)}, WAL ${seconds(times.recover)})`,
    );
    return {
        ...inputs,
        point: plan.point.name,
        restoreId: randomBytes(8).toString("hex"),
        manifest: JSON.stringify(plan.point),
    };
}

/** What the cluster's own repository has of each node: a timeline that was used may not be begun again. */
async function readTimelines(inputs: RestoreInputs, site: Site): Promise<Record<string, number>> {
    const { segments } = await site.read("own", { kind: "timelines" });
    return Object.fromEntries(
        inputs.nodes.map(({ name }) => [name, newestTimeline(stanzaOf(inputs.cluster, name), segments)]),
    );
}

/** The same for a run that repeats a killed one: what it put in place stays. */
function planIdOf(inputs: RestoreInputs, plan: RestorePlan): string {
    return createHash("sha256")
        .update(`${asked(inputs)} ${plan.point.name} ${inputs.clusterId}`)
        .digest("hex")
        .slice(0, 16);
}

export class RestoreKind implements ResourceKind<RestoreInputs, RestoreState> {
    readonly type = "citus-clusters:index:Restore";
    readonly description = "The data of every node, restored to one restore point before any of their servers starts.";
    readonly inputs = {
        request: { type: "object", description: "Which point of which cluster." },
        overwrite: { type: "boolean", description: "Whether a database that is there may be put aside." },
        database: { type: "string", description: "The database that is distributed." },
        cluster: { type: "string", description: "The cluster's name." },
        clusterId: { type: "string", description: "Marks what is the stack's own." },
        repository: { type: "string", description: "The volume or bucket that is restored from." },
        repositoryRegion: { type: "string", description: "Where that bucket is; empty for a volume." },
        passphrase: { type: "string", secret: true, description: "Of that repository; empty when not encrypted." },
        ownRepository: { type: "string", description: "The cluster's own repository." },
        ownPassphrase: { type: "string", secret: true, description: "Of the cluster's own repository." },
        site: { type: "object", description: "Where the nodes' data is, and what works on it." },
        verifier: { type: "string", secret: true, description: "Of the new superuser's password." },
        nodes: { type: "array", description: "What each node is restored as." },
    } as const;
    readonly outputs = {
        point: { type: "string", optional: true, description: "The restore point's name." },
        restoreId: { type: "string", optional: true, description: "Another one for each restore that was made." },
        manifest: { type: "string", optional: true, description: "The restore point's manifest, as JSON." },
    } as const;

    /** In preview too. */
    async check(ask: Ask, olds: Partial<RestoreInputs>, news: RestoreInputs) {
        await foresee(ask, olds, news);
        return { inputs: news };
    }

    async create(ask: Ask, inputs: RestoreInputs) {
        return { id: `${inputs.cluster}-restore`, outs: await restore(ask, inputs) };
    }

    async update(ask: Ask, _id: string, olds: RestoreState, news: RestoreInputs) {
        return { outs: askedBefore(olds, news) ? olds : await restore(ask, news) };
    }

    /** Only another request restores again: a volume that is lost later must not take the others back to an old point. */
    async diff(_ask: Ask, _id: string, olds: RestoreState, news: RestoreInputs) {
        return { changes: unknown(news.repository) || !askedBefore(olds, news) };
    }

    /** What was restored stays. */
    async delete() {}
}
