/** Whether a run may begin: wanted, configured, with somebody to ask AWS in whose name. */

import { awsPlace } from "../../components/config/awsChecks.ts";
import { sourceOf, validate } from "../../components/config/index.ts";
import { credentialsProblem } from "../../core/reach/aws/credentials.ts";
import { PULUMI_MISSING, works } from "../lib.ts";
import { clusterConfig } from "./plan.ts";

/** Where and as whom. */
export interface Place {
    readonly region: string;
    readonly profile?: string;
}

/** Its value has to be `yes`. */
export const CONSENT = "CITUS_TEST_AWS";

export type Admission = { readonly place: Place } | { readonly refusals: readonly string[] };

const inTheEnvironment = (problem: string) => problem.replace("pulumi config set aws:profile NAME", "AWS_PROFILE=NAME");
const asText = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));

/**
 * Everything that is in the way at once, each with what to do. Nothing is asked of AWS.
 * @param run name of the run
 */
export async function admit(run: string): Promise<Admission> {
    const refusals: string[] = [];
    if (process.env[CONSENT] !== "yes") refusals.push(`${CONSENT}=yes has to say that this may cost money`);
    const config = Object.entries(clusterConfig(run)).map(([key, value]) => [`citus:${key}`, asText(value)]);
    const source = sourceOf(run, Object.fromEntries(config));
    const { region, profile } = awsPlace(source);
    const as = profile === undefined ? {} : { profile };
    // there is no stack yet that anything could be set in: the environment says where and as whom
    if (region === undefined)
        refusals.push("AWS_REGION must be set, got nothing - for example AWS_REGION=eu-central-1");
    else {
        const checked = validate(source);
        if ("mistakes" in checked)
            for (const { path, message } of checked.mistakes) refusals.push(`${path} ${message}`);
        const problem = await credentialsProblem({ region, ...as });
        if (problem !== undefined) refusals.push(`the environment ${inTheEnvironment(problem)}`);
    }
    if (!works("pulumi", ["version"])) refusals.push(PULUMI_MISSING);
    return refusals.length > 0 || region === undefined ? { refusals } : { place: { region, ...as } };
}

export function explainRefusals(refusals: readonly string[]): string {
    return ["npm run test:aws does not begin:", ...refusals.map((one) => `  ${one}`), "Nothing was made."].join("\n");
}
