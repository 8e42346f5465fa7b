/** The user's own settings, asked of PostgreSQL before any node is given them: every mistake at once, and once. */

import { type NodeConfiguration, nodeFiles, ownedOf } from "../core/node/files.ts";
import type { ScriptInput, Shell } from "../core/node/reach.ts";
import { type Overrides, renderPostgresqlConf } from "../core/node/settings.ts";
import { COORDINATOR } from "../core/node/topology.ts";
import { runScript } from "../core/reach/run.ts";
import { explain, type Mistake } from "../core/util/mistakes.ts";
import { nearest } from "../core/util/nearest.ts";

const PARTS = ["all", "coordinator", "workers"] as const;

/** Each setting with the key of `citus:settings` that it is in. */
function given(overrides: Overrides) {
    return PARTS.flatMap((part) =>
        Object.entries(overrides[part] ?? {}).map(([name, value]) => ({ part, name, value })),
    );
}

/** Where a setting of a node's own kind was chosen; `settings` when it was not. */
function pathOf(name: string, node: string, overrides: Overrides): string {
    const role = node === COORDINATOR ? "coordinator" : "workers";
    const part = ([role, "all"] as const).find((one) => overrides[one]?.[name] !== undefined);
    return part === undefined ? "settings" : `settings.${part}.${name}`;
}

/**
 * What check-settings.sh printed, as mistakes in the configuration. Pure.
 * @param node the node that was asked, whose configuration was tried
 */
export function readRefusals(printed: string, overrides: Overrides, node: string): Mistake[] {
    const lines = printed.split("\n").filter((line) => line !== "");
    const rows = lines.map((line) => line.split("\t"));
    const names = rows.find(([first]) => first === "names")?.[1]?.split(",") ?? [];
    const refused = rows.filter(([first]) => first !== "names" && first !== "trial");
    const settings = given(overrides);
    const alone = refused.flatMap(([number, said = "", allowed = ""]) => {
        const setting = settings[Number(number)];
        if (setting === undefined) return [];
        const meant = /unrecognized configuration parameter/.test(said) ? nearest(setting.name, names) : undefined;
        const parts = [
            `got ${JSON.stringify(setting.value)} - PostgreSQL says: ${said}`,
            ...(meant === undefined ? [] : [`did you mean ${meant}?`]),
            ...(allowed === "" || said.includes("..") || said.includes("Available values")
                ? []
                : [`allowed: ${allowed}`]),
        ];
        return [{ path: `settings.${setting.part}.${setting.name}`, message: parts.join("; ") }];
    });
    // together with everything else that the node would run with
    const tried = rows.flatMap(([first, name = "", said = ""]): Mistake[] => {
        if (first !== "trial") return [];
        const path = pathOf(name, node, overrides);
        const got = settings.find((setting) => `settings.${setting.part}.${setting.name}` === path)?.value;
        const value = got === undefined ? "" : `got ${JSON.stringify(got)} - `;
        return [{ path, message: `${value}PostgreSQL was started with it on ${node} for a trial, and says: ${said}` }];
    });
    return [...alone, ...tried.filter(({ path }) => path === "settings" || !alone.some((one) => one.path === path))];
}

export interface Asked {
    /** Its name. */
    readonly node: string;
    readonly clusterId: string;
    readonly shell: Shell;
    readonly overrides?: Overrides;
}

/**
 * The configuration that the node is to run with, for a trial: whole where it is about to be given it, else without what is
 * secret. Undefined where it will run on another machine, of which this one knows nothing.
 */
export type Trial =
    | { readonly whole: NodeConfiguration; readonly secretVersion: string }
    | { readonly settings: NodeConfiguration["settings"] }
    | undefined;

function inputOf({ clusterId, overrides = {} }: Asked, trial: Trial): ScriptInput {
    const settings = given(overrides)
        .map(({ name, value }, i) => `${i}\t${name}\t${value}\n`)
        .join("");
    if (trial === undefined) return { files: { settings } };
    if ("settings" in trial)
        return {
            files: {
                settings,
                "postgresql.conf": renderPostgresqlConf(trial.settings, clusterId),
                owned: ownedOf({ settings: trial.settings, overrides }),
            },
        };
    return {
        files: { settings },
        secrets: { group: "configuration", version: trial.secretVersion, files: nodeFiles(trial.whole) },
    };
}

/** @returns undefined where nobody can be asked */
async function ask(asked: Asked, trial: Trial): Promise<Mistake[] | undefined> {
    const result = await runScript(asked.shell, ["check-settings.sh"], inputOf(asked, trial)).catch(() => undefined);
    return result?.code === 0 ? readRefusals(result.stdout, asked.overrides ?? {}, asked.node) : undefined;
}

/** By cluster, `citus:settings` and the settings of the node: nodes of a kind are the same, so the first that answers speaks for them. */
const answers = new Map<string, Promise<Mistake[] | undefined>>();
/** Mistakes that were told, by cluster and `citus:settings`. */
const told = new Map<string, Set<string>>();

/** Those that are told now, and whether there are others that another node's error has. */
function untold(key: string, mistakes: readonly Mistake[]): Mistake[] {
    const known = told.get(key) ?? new Set<string>();
    told.set(key, known);
    const news = mistakes.filter(({ path, message }) => !known.has(path === "settings" ? message : path));
    for (const { path, message } of news) known.add(path === "settings" ? message : path);
    return news;
}

/**
 * Nothing where no node can be asked.
 * @throws Error with every mistake; for the other nodes of the cluster one that refers to it
 */
export async function refuseSettings(asked: Asked, trial: Trial): Promise<void> {
    const { clusterId, node, overrides } = asked;
    if (overrides === undefined || given(overrides).length === 0) return;
    const all = `${clusterId} ${JSON.stringify(overrides)}`;
    const tried = trial === undefined ? undefined : "whole" in trial ? trial.whole.settings : trial.settings;
    const key = `${all} ${JSON.stringify(tried ?? null)}`;
    const found = answers.get(key) ?? ask(asked, trial);
    answers.set(key, found);
    const mistakes = await found;
    // another node may answer
    if (mistakes === undefined) answers.delete(key);
    if (mistakes === undefined || mistakes.length === 0) return;
    const news = untold(all, mistakes);
    throw new Error(
        news.length > 0
            ? explain(news)
            : `${node}: not configured either, because citus:settings is refused: the error of another node names every mistake.`,
    );
}
