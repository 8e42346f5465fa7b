/**
 * What only AWS can say of a configuration: whether one may ask at all, and how large the machines are. And which Docker
 * engine the environment means.
 */
import { RunError } from "@pulumi/pulumi/errors.js";
import { credentialsProblem } from "../../core/reach/aws/credentials.ts";
import { type Engine, EngineError, engineHere, noEngine, tlsFolder } from "../../core/reach/docker/context.ts";
import { whySilent } from "../../core/reach/docker/engine.ts";
import type { Mistake } from "../../core/util/mistakes.ts";
import { awsPlace, isRegion } from "./awsChecks.ts";
import { describeInstanceType } from "./instanceType.ts";
import type { ConfigSource } from "./source.ts";
import { wantedInstanceTypes } from "./validate.ts";

/** How AWS is asked. */
export interface Ask {
    readonly credentialsProblem: typeof credentialsProblem;
    readonly describeInstanceType: typeof describeInstanceType;
}

/** The source with what AWS said, and what stood in the way of asking; nobody is asked on docker. */
export async function askAws(
    source: ConfigSource,
    ask: Ask = { credentialsProblem, describeInstanceType },
): Promise<{ source: ConfigSource; mistakes: Mistake[] }> {
    const wanted = wantedInstanceTypes(source);
    const { region, profile } = awsPlace(source);
    if (source.values.platform !== "aws" || region === undefined || !isRegion(region)) return { source, mistakes: [] };
    const problem = await ask.credentialsProblem({ region, ...(profile === undefined ? {} : { profile }) });
    if (problem !== undefined) return { source, mistakes: [{ path: "aws:profile", message: problem }] };
    const found = await Promise.all(
        wanted.map(async (name) => [name, await ask.describeInstanceType(name, region)] as const),
    );
    return { source: { ...source, instanceTypes: new Map(found) }, mistakes: [] };
}

/**
 * Whether the cluster can be made on the engine that is meant, asked before anything is.
 * @param configured `citus:dockerHost`
 * @param needed whether an engine has to answer; a preview needs none
 * @throws RunError when it can't
 */
export async function askDocker(configured: string | undefined, needed: boolean): Promise<void> {
    const engine = wantedEngine(configured);
    const silent = needed ? await whySilent(engine.address) : undefined;
    if (silent !== undefined) throw new RunError(`${noEngine(engine, silent)} Nothing was changed.`);
}

/**
 * The Docker engine that is meant.
 * @param configured `citus:dockerHost`
 * @returns the engine, with the folder of its certificates where it has one
 * @throws RunError, whose message Pulumi shows without a stack, when what names the engine is wrong
 */
export function wantedEngine(configured: string | undefined): Engine & { readonly certificates?: string } {
    try {
        const engine = engineHere(configured);
        const certificates = tlsFolder(engine.address);
        return certificates === undefined ? engine : { ...engine, certificates };
    } catch (error) {
        throw error instanceof EngineError ? new RunError(error.message) : error;
    }
}
