/** What a program gives a cluster, to what its resources are made from. */
import * as pulumi from "@pulumi/pulumi";
import { explain, isAt, type Mistake, pathOf } from "../../core/util/mistakes.ts";
import { nearest } from "../../core/util/nearest.ts";
import { shown } from "../../core/util/shown.ts";
import { ALL_KEYS, isKey, ROWS } from "./derived.ts";
import type { ClusterInput, ClusterParts } from "./input.ts";
import { apartFromOutputs, type Path, withValue } from "./outputs.ts";
import { type ConfigSource, sourceOf } from "./source.ts";
import { projectFiles } from "./tenants/project.ts";
import { validate } from "./validate.ts";

/** Arguments that no key of the configuration is; `region` and `profile` are keys of `aws:`. */
const PROGRAM_ONLY = ["region", "profile", "caFile", "transform"];

const ARGUMENTS = [...ALL_KEYS.filter((key) => key !== "tenantGroups"), ...PROGRAM_ONLY];

/**
 * Wrong arguments as one error, each with its path.
 * @param whose whose arguments, for the head of the message
 * @param now what is true of the cluster now. @default nothing was changed
 */
export function wrongArguments(whose: string, mistakes: readonly Mistake[], now?: string): pulumi.InputPropertiesError {
    // a program has no such keys
    const said = mistakes.map(({ path, message }) => ({
        path: path.replace(/^aws:(region|profile)$/, "$1"),
        message: message.replaceAll(/\bcitus:(?=[a-z])/g, ""),
    }));
    const error = new pulumi.InputPropertiesError({
        message: explain(said, whose, now, ""),
        errors: said.map(({ path, message }) => ({ propertyPath: path, reason: message })),
    });
    // Pulumi prints the stack of an error that it does not know beside the message, but none of a RunError
    return Object.assign(error, { __pulumiRunError: true });
}

function strangers(given: object): Mistake[] {
    return Object.entries(given)
        .filter(([name, value]) => !ARGUMENTS.includes(name) && value !== undefined)
        .flatMap(([name, value]) => {
            if (name !== "tenantGroups") {
                const meant = nearest(name, ARGUMENTS);
                const instead = meant === undefined ? `there are ${ARGUMENTS.join(", ")}` : `did you mean ${meant}?`;
                return [{ path: name, message: `is no argument of a cluster - ${instead}` }];
            }
            const groups = Object.keys(value as object);
            if (groups.length === 0) return [];
            const message = `is no argument of a cluster, got ${groups.join(", ")} - make each group with tenantGroup(name, cluster, settings), or with the class of its model`;
            return [{ path: name, message }];
        });
}

function programMistakes({ caFile, region, profile }: ClusterInput): Mistake[] {
    return Object.entries({ caFile, region, profile }).flatMap(([path, value]) =>
        value === undefined || (typeof value === "string" && value !== "")
            ? []
            : [{ path, message: `must be a text that is known when the program runs, got ${shown(value)}` }],
    );
}

/** Where a checked argument is kept: those of aws are together. */
const placeOf = (path: Path): Path => {
    const [key] = path;
    return typeof key === "string" && isKey(key) && ROWS[key].onlyOn?.platform === "aws" ? ["aws", ...path] : path;
};

/**
 * Checks all arguments at once, and fills in what was left out. What is not known yet is checked as soon as it is.
 * @param name of the cluster's resource
 * @throws pulumi.InputPropertiesError naming every mistake
 */
export function resolve(name: string, given: ClusterInput): ClusterParts {
    const whose = `CitusCluster ${name}`;
    const { region, profile, caFile, transform } = given;
    const keys = Object.fromEntries(Object.entries(given).filter(([key, value]) => isKey(key) && value !== undefined));
    const { values, later, mistakes: misplaced } = apartFromOutputs(keys);
    const own = { ...(region === undefined ? {} : { region }), ...(profile === undefined ? {} : { profile }) };
    const of = (known: Readonly<Record<string, unknown>>, unknown: readonly Path[]): ConfigSource => {
        const { aws, environment } = sourceOf(pulumi.getStack(), pulumi.runtime.allConfig());
        return {
            stack: pulumi.getStack(),
            resource: name,
            values: { ...known, tenantGroups: undefined },
            aws: { ...aws, ...own },
            ...(environment ? { environment } : {}),
            files: projectFiles,
            unknown: unknown.map(pathOf),
        };
    };
    const paths = later.map(({ path }) => path);
    const result = validate(of(values, paths));
    const found = "mistakes" in result ? result.mistakes : [];
    const mistakes = [
        ...strangers(given),
        ...programMistakes(given),
        ...misplaced,
        ...found.filter(({ path }) => !misplaced.some((wrong) => isAt(path, wrong.path))),
    ];
    if (mistakes.length > 0 || !("args" in result)) throw wrongArguments(whose, mistakes);
    const { tenantGroups: _, ...args } = result.args;
    const checked = (path: Path, known: unknown) => {
        const others = paths.filter((other) => other !== path);
        const seen = validate(of(withValue(values, path, known), others));
        if ("mistakes" in seen) throw wrongArguments(whose, seen.mistakes);
        return known;
    };
    return later.reduce<ClusterParts>(
        (whole, { path, value }) =>
            withValue(
                whole,
                placeOf(path),
                pulumi.output(value as pulumi.Input<string>).apply((known) => checked(path, known)),
            ),
        { ...args, ...(caFile === undefined ? {} : { caFile }), ...(transform === undefined ? {} : { transform }) },
    );
}
