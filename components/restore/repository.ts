/** Reading what a repository holds, by a node script that has it at hand. */
import { renderRepositoryConf } from "../archive.ts";
import type { CommandResult, ScriptInput } from "../shell.ts";
import type { Contents, RestorePoint, Stanza } from "./points.ts";

/** Why a repository can't be used, in words for a person. */
export class RepositoryError extends Error {}

/** What the lines of scripts/node/repository.sh say. */
export function parseContents(text: string): Contents {
    const points: RestorePoint[] = [];
    const segments: Record<string, string[]> = {};
    let stanzas: Stanza[] = [];
    let versions: Contents["versions"];
    for (const line of text.split("\n")) {
        const [kind, rest] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
        if (kind === "INFO") stanzas = JSON.parse(rest.replace(/"system-id":(\d+)/g, '"system-id":"$1"')) as Stanza[];
        if (kind === "POINT") points.push(JSON.parse(rest) as RestorePoint);
        if (kind === "VERSIONS") {
            const [postgres = "", citus = ""] = rest.split(" ");
            versions = { postgres, citus };
        }
        if (kind === "SEGMENTS") {
            const [key, ...names] = rest.trim().split(/\s+/);
            if (key) segments[key] = names;
        }
    }
    return {
        points: points.sort((a, b) => (a.time < b.time ? -1 : 1)),
        stanzas,
        segments,
        ...(versions ? { versions } : {}),
    };
}

/** The secrets that scripts need for a repository, and for a restore from it. */
export function restoreSecrets(
    version: string,
    secrets: { readonly passphrase: string | undefined; readonly verifier?: string },
): NonNullable<ScriptInput["secrets"]> {
    const { passphrase, verifier } = secrets;
    const files = { ...(passphrase ? { passphrase } : {}), ...(verifier === undefined ? {} : { verifier }) };
    return { group: "restore", version, files };
}

/**
 * Everything that a repository holds.
 * @param run runs a node script where the repository can be reached
 * @throws RepositoryError when it can't be read with this passphrase
 */
export async function readRepository(
    name: string,
    options: Readonly<Record<string, string>>,
    secrets: NonNullable<ScriptInput["secrets"]>,
    run: (words: readonly string[], input: ScriptInput) => Promise<CommandResult>,
): Promise<Contents> {
    const files = { "pgbackrest.conf": renderRepositoryConf({ options }) };
    const result = await run(["repository.sh"], { files, secrets });
    if (result.code === 0) return parseContents(result.stdout);
    const hint =
        result.code === 11
            ? " (its passphrase must be in citus:restorePassphrase, or else in citus:backupPassphrase)"
            : "";
    throw new RepositoryError(`the repository ${name}: ${result.stderr.trim()}${hint}`);
}
