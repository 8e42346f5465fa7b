/** Whether AWS credentials can be found, by the same chain that is used later. */
import { homedir } from "node:os";
import { join } from "node:path";
import { loaded } from "./packages.ts";

/** A single sign-on or a role takes a moment; a machine without the metadata service must not hang. */
const PATIENCE_MS = 15_000;
/** Each try of the metadata service. */
const METADATA_TIMEOUT_MS = 1000;

/** What an error says in its first line, without a full stop. */
const firstLine = (error: unknown) =>
    (error instanceof Error ? error.message : String(error)).split("\n")[0]?.replace(/\.$/, "");

function whereItLooked(profile: string | undefined, environment: NodeJS.ProcessEnv): string {
    const config = environment.AWS_CONFIG_FILE ?? join(homedir(), ".aws", "config");
    const credentials = environment.AWS_SHARED_CREDENTIALS_FILE ?? join(homedir(), ".aws", "credentials");
    const files = `profile ${profile ?? "default"} of ${config} and ${credentials}`;
    // a profile that is named is the only place that counts
    if (profile !== undefined) return files;
    const metadata =
        environment.AWS_EC2_METADATA_DISABLED === "true" ? "" : ", the role of this container or EC2 instance";
    return `AWS_ACCESS_KEY_ID, ${files}, AWS_WEB_IDENTITY_TOKEN_FILE${metadata}`;
}

/**
 * Looks for credentials without using them.
 * @returns what is missing and what to do; undefined when there are some
 */
export async function credentialsProblem(
    place: { readonly region: string; readonly profile?: string },
    patience = PATIENCE_MS,
): Promise<string | undefined> {
    const { defaultProvider } = await loaded(import("@aws-sdk/credential-provider-node"));
    const { region, profile } = place;
    const provider = defaultProvider({
        ...(profile === undefined ? {} : { profile }),
        clientConfig: { region },
        timeout: METADATA_TIMEOUT_MS,
        maxRetries: 0,
    });
    let timer: NodeJS.Timeout | undefined;
    const tooLong = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${patience / 1000} s`)), patience);
    });
    try {
        await Promise.race([provider(), tooLong]);
        return undefined;
    } catch (error) {
        const login =
            profile === undefined
                ? "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile (pulumi config set aws:profile NAME)"
                : `aws sso login --profile ${profile}, or aws configure --profile ${profile}`;
        return (
            `must lead to AWS credentials, got none (${firstLine(error)}); looked at ${whereItLooked(profile, process.env)} - ${login}. ` +
            `aws sts get-caller-identity${profile === undefined ? "" : ` --profile ${profile}`} shows whether it worked`
        );
    } finally {
        clearTimeout(timer);
    }
}
