/** What only AWS can say of a configuration: whether one may ask at all, and how large the machines are. */
import { credentialsProblem } from "../aws/credentials.ts";
import { describeInstanceType } from "../aws/instanceType.ts";
import { awsPlace, isRegion } from "./awsChecks.ts";
import type { Mistake } from "./mistakes.ts";
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
