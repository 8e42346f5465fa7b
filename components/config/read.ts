/** This stack's configuration as Pulumi has it. */
import { existsSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterArgs } from "./args.ts";
import { parse } from "./keys.ts";
import { explain, type Mistake } from "./mistakes.ts";
import { validate } from "./validate.ts";

function missingFiles(files: readonly string[]): Mistake[] {
    return files.flatMap((file, i) =>
        existsSync(file)
            ? []
            : [
                  {
                      path: `postDeploy[${i}]`,
                      message: `must be a file of this project, got "${file}", which is not there`,
                  },
              ],
    );
}

/**
 * Reads and validates this stack's configuration.
 * @throws pulumi.RunError naming every mistake
 */
export function readConfig(): ClusterArgs {
    const project = pulumi.getProject();
    const prefix = `${project}:`;
    const values = Object.fromEntries(
        Object.entries(pulumi.runtime.allConfig())
            .filter(([key]) => key.startsWith(prefix))
            .map(([key, value]) => [key.slice(prefix.length), value]),
    );
    // the language host is told which keys are stored encrypted, and the SDK has no question for it
    const encrypted = JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]") as string[];
    const secrets = encrypted.map((key) => key.slice(prefix.length));
    const result = validate({ stack: pulumi.getStack(), values, secrets });
    const files = parse("json", values.postDeploy);
    const mistakes = [
        ...("mistakes" in result ? result.mistakes : []),
        ...missingFiles(Array.isArray(files) ? files.filter((file) => typeof file === "string") : []),
    ];
    if (mistakes.length > 0 || !("args" in result)) throw new pulumi.RunError(explain(mistakes));
    return result.args;
}
