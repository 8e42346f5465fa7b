/** What a configuration is read from. */

import type { InstanceType } from "../../core/reach/aws/instanceTypes.ts";
import type { ProjectFiles } from "./tenants/project.ts";

export interface ConfigSource {
    readonly stack: string;
    /** Name of the cluster's resource. @default "citus" */
    readonly resource?: string;
    /** Every `citus:` key that is set, without the prefix. */
    readonly values: Readonly<Record<string, unknown>>;
    /** Those of them that are stored encrypted; undefined when that is not known. */
    readonly secrets?: readonly string[];
    /** Every `aws:` key that is set, without the prefix. @default {} */
    readonly aws?: Readonly<Record<string, unknown>>;
    /** Environment variables: `AWS_REGION` and so on. @default {} */
    readonly environment?: Readonly<Record<string, string | undefined>>;
    /** The project's files. @default not looked at */
    readonly files?: ProjectFiles;
    /** Paths of what is not known yet, for which something stands: no mistake of these is one. @default [] */
    readonly unknown?: readonly string[];
    /** What AWS says of the instance types, or why it says nothing. @default not asked: memory and cores are 0 */
    readonly instanceTypes?: ReadonlyMap<string, InstanceType | { readonly problem: string }>;
}

/**
 * @param config every key as Pulumi has it, `citus:workers`
 * @param encrypted those that are stored encrypted, when that is known
 */
export function sourceOf(
    stack: string,
    config: Readonly<Record<string, unknown>>,
    encrypted?: readonly string[],
): ConfigSource {
    const inside = (namespace: string) =>
        Object.fromEntries(
            Object.entries(config).flatMap(([key, value]) =>
                key.startsWith(`${namespace}:`) ? [[key.slice(namespace.length + 1), value]] : [],
            ),
        );
    return {
        stack,
        values: inside("citus"),
        aws: inside("aws"),
        environment: process.env,
        ...(encrypted
            ? { secrets: encrypted.filter((key) => key.startsWith("citus:")).map((key) => key.slice("citus:".length)) }
            : {}),
    };
}
