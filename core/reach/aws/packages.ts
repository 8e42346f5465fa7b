/** The packages that only clusters on aws need. They are optional: who is on docker installs none of them. */

/** As `npm install` takes them. */
const PACKAGES = ["@pulumi/aws@7", "@aws-sdk/client-ssm@3", "@aws-sdk/credential-provider-node@3"];

const MISSING = /Cannot find (?:module|package) '(@(?:pulumi\/aws|aws-sdk\/(?:client-ssm|credential-provider-node))\b)/;

/** What is thrown in the place of an error: the command to run where a package is missing, the error itself otherwise. */
export function needsAws(error: unknown): unknown {
    const [, name] = MISSING.exec(error instanceof Error ? error.message : "") ?? [];
    if (name === undefined) return error;
    return new Error(
        `A cluster on aws needs the package ${name}, which is not installed. Nothing was changed. Install it, then run pulumi up again:\n` +
            `  npm install ${PACKAGES.join(" ")}`,
        { cause: error },
    );
}

/** A package that is loaded where it is needed. @throws Error naming the command that installs it */
export const loaded = <T>(module: Promise<T>): Promise<T> =>
    module.catch((error: unknown) => {
        throw needsAws(error);
    });
