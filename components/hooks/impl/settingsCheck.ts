/** The user's own settings, asked of PostgreSQL before any node is given them: every mistake at once, and once. */
import { nearest } from "../../config/keys.ts";
import { explain, type Mistake } from "../../config/mistakes.ts";
import type { Overrides } from "../../settings.ts";
import { runScript, type Shell } from "../../shell.ts";

const PARTS = ["all", "coordinator", "workers"] as const;

/** Each setting with the key of `citus:settings` that it is in. */
function given(overrides: Overrides) {
    return PARTS.flatMap((part) =>
        Object.entries(overrides[part] ?? {}).map(([name, value]) => ({ part, name, value })),
    );
}

/** What check-settings.sh printed, as mistakes in the configuration. Pure. */
export function readRefusals(printed: string, overrides: Overrides): Mistake[] {
    const lines = printed.split("\n").filter((line) => line !== "");
    const rows = lines.map((line) => line.split("\t"));
    const names = rows.find(([first]) => first === "names")?.[1]?.split(",") ?? [];
    const refused = rows.filter(([first]) => first !== "names");
    const settings = given(overrides);
    return refused.flatMap(([number, said = "", allowed = ""]) => {
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
}

/** @returns undefined where nobody can be asked */
async function ask(shell: Shell, overrides: Overrides): Promise<Mistake[] | undefined> {
    const settings = given(overrides)
        .map(({ name, value }, i) => `${i}\t${name}\t${value}\n`)
        .join("");
    const result = await runScript(shell, ["check-settings.sh"], { files: { settings } }).catch(() => undefined);
    return result?.code === 0 ? readRefusals(result.stdout, overrides) : undefined;
}

interface Asked {
    readonly mistakes: Promise<Mistake[] | undefined>;
    said: boolean;
}

/** By cluster and settings: all nodes run the same PostgreSQL, so the first that answers speaks for them. */
const asked = new Map<string, Asked>();

/**
 * Nothing where no node can be asked.
 * @param node its name, for the second and later errors of the same kind
 * @throws Error with every mistake; for the other nodes of the cluster one that refers to it
 */
export async function refuseSettings(
    clusterId: string,
    node: string,
    shell: Shell,
    overrides: Overrides | undefined,
): Promise<void> {
    if (overrides === undefined || given(overrides).length === 0) return;
    const key = `${clusterId} ${JSON.stringify(overrides)}`;
    const found = asked.get(key) ?? { mistakes: ask(shell, overrides), said: false };
    asked.set(key, found);
    const mistakes = await found.mistakes;
    // another node may answer
    if (mistakes === undefined) asked.delete(key);
    if (mistakes === undefined || mistakes.length === 0) return;
    const first = !found.said;
    found.said = true;
    throw new Error(
        first
            ? explain(mistakes)
            : `${node}: not configured either, because citus:settings is refused: the error of another node names every mistake.`,
    );
}
