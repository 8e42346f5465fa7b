/** Everything that is set, to validated arguments or every mistake. Pure. */
import type { ClusterArgs } from "./args.ts";
import { crossChecks } from "./checks.ts";
import { KEYS, type Key, nearest, parse, SECRETS } from "./keys.ts";
import { type Mistake, pathOf } from "./mistakes.ts";
import { schema } from "./schema.ts";

export interface ConfigSource {
    readonly stack: string;
    /** Every `citus:` key that is set, without the prefix. */
    readonly values: Readonly<Record<string, unknown>>;
    /** Those of them that are stored encrypted; undefined when that is not known. */
    readonly secrets?: readonly string[];
}

/** What Pulumi.yaml declares as the default of an object is empty, and means that it is not set. */
const given = (value: unknown) => (value !== undefined && JSON.stringify(value) === "{}" ? undefined : value);

/**
 * Checks everything at once. Pure.
 * @returns the arguments, or every mistake with its path
 */
export function validate(source: ConfigSource): { args: ClusterArgs } | { mistakes: Mistake[] } {
    const mistakes: Mistake[] = [];
    const known = Object.keys(KEYS);
    for (const key of Object.keys(source.values)) {
        if (known.includes(key)) continue;
        const meant = nearest(key, known);
        mistakes.push({
            path: key,
            message: `is not a setting of this project - ${meant ? `did you mean citus:${meant}?` : `it has ${known.join(", ")}`}`,
        });
    }
    const value = (key: Key, fallback: unknown) => {
        const parsed = parse(KEYS[key], source.values[key]);
        return parsed === undefined || parsed === "" ? fallback : parsed;
    };
    const citusVersion = value("citusVersion", "14.0.1");
    const raw: Record<Key, unknown> = {
        platform: value("platform", "docker"),
        name: value("name", `citus-${source.stack}`),
        workers: value("workers", 2),
        retire: value("retire", []),
        database: value("database", "app"),
        shardCount: value("shardCount", 32),
        citusVersion,
        image: value("image", `citusdata/citus:${citusVersion}-pg17`),
        port: value("port", undefined),
        coordinator: value("coordinator", {}),
        worker: value("worker", {}),
        settings: value("settings", {}),
        rebalance: value("rebalance", {}),
        postDeploy: value("postDeploy", []),
        protect: value("protect", source.stack !== "dev"),
        backup: value("backup", {}),
        backupPassphrase: value("backupPassphrase", undefined),
        restoreFrom: given(value("restoreFrom", undefined)),
        restorePassphrase: value("restorePassphrase", undefined),
        dockerHost: value("dockerHost", undefined),
    };
    const parsed = schema.safeParse(raw);
    if (!parsed.success) {
        const versionIsWrong = parsed.error.issues.some((issue) => issue.path[0] === "citusVersion");
        for (const issue of parsed.error.issues) {
            // the default image repeats the version's mistake
            if (issue.path[0] === "image" && versionIsWrong && source.values.image === undefined) continue;
            mistakes.push({ path: pathOf(issue.path), message: issue.message });
        }
    }
    for (const key of SECRETS) {
        if (!source.values[key] || !source.secrets || source.secrets.includes(key)) continue;
        mistakes.push({
            path: key,
            message: `is stored in the clear - take it away (pulumi config rm citus:${key}), choose another, and set it with --secret`,
        });
    }
    mistakes.push(
        ...crossChecks(raw, source.stack).filter((found) => !mistakes.some((known) => known.path === found.path)),
    );
    return mistakes.length > 0 || !parsed.success ? { mistakes } : { args: parsed.data };
}
