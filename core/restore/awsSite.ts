/** Restores on machines: each works on its own disk while its service is stopped, and reads the bucket as its own role. */
import { s3Repository } from "../node/archive.ts";
import type { SsmShell } from "../node/reach.ts";
import { NODE_HOME } from "../node/settings.ts";
import { HIGHEST_INDEX, workerName } from "../node/topology.ts";
import { prepare, runScript, service } from "../reach/run.ts";
import { RepositoryError, readRepository, restoreSecrets } from "./repository.ts";
import type { Holding, Site, Workplace } from "./site.ts";

/** A repository that is in a bucket. */
export interface RepositoryBucket {
    readonly bucket: string;
    readonly region: string;
    /** Whether it is encrypted with a passphrase; a machine finds that in its own secret. */
    readonly encrypted: boolean;
}

export interface AwsSite {
    readonly kind: "aws";
    /** The coordinator first. */
    readonly nodes: readonly {
        readonly name: string;
        readonly shell: SsmShell;
        /** Id of the instance. */
        readonly machine: string;
        readonly secretVersion: string;
    }[];
    /** sha256 of the node scripts that the machines must have. */
    readonly bundle: string;
}

/**
 * @param origin the repository that is restored from
 * @param own the cluster's own
 * @param report where it is said what is waited for
 */
export function awsSite(
    site: AwsSite,
    origin: RepositoryBucket,
    own: RepositoryBucket,
    report: (text: string) => void,
): Site {
    const nodeOf = (name: string) => {
        const node = site.nodes.find((one) => one.name === name);
        if (!node) throw new Error(`${name}: the restore has no place for its data`);
        return node;
    };
    const reader = site.nodes[0]?.name ?? "";
    const ready = new Map<string, Promise<void>>();
    const readyNode = async (name: string) => {
        const { shell, machine } = nodeOf(name);
        const waiting = ready.get(name) ?? prepare(shell, { machine, bundle: site.bundle }, report);
        ready.set(name, waiting);
        await waiting;
        return nodeOf(name);
    };
    const all = async (names: readonly string[], work: (shell: SsmShell) => Promise<void>) => {
        await Promise.all(names.map(async (name) => work((await readyNode(name)).shell)));
    };
    return {
        repository: s3Repository(origin.bucket, origin.region),
        // a machine that is not there yet can't look; nor can one be made to by a preview
        canLook: async () => (await import("../reach/aws/ssm.ts")).isOnline(nodeOf(reader).shell),
        read: async (which, wanted) => {
            const { bucket, region, encrypted } = which === "origin" ? origin : own;
            const { shell, secretVersion } = await readyNode(reader);
            if (bucket === "") throw new RepositoryError("there is no bucket to restore from");
            const group = which === "origin" ? "restore" : "own";
            const secrets = restoreSecrets(secretVersion, {
                passphrase: encrypted ? "in the machine's secret" : undefined,
            });
            const run: Workplace["run"] = (words, input) => runScript(shell, words, input);
            return readRepository(bucket, s3Repository(bucket, region), { ...secrets, group }, run, wanted);
        },
        holdings: async (names) => {
            const found = new Map<string, Holding>();
            await Promise.all(
                names.map(async (name) => {
                    const { shell } = await readyNode(name);
                    const result = await runScript(shell, ["volumes.sh", NODE_HOME]);
                    if (result.code !== 0)
                        throw new Error(`${name}: its volume can't be read: ${result.stderr.trim()}`);
                    found.set(name, (result.stdout.trim().split(" ")[1] ?? "nothing") as Holding);
                }),
            );
            return found;
        },
        leaving: async () => {
            const others = Array.from({ length: HIGHEST_INDEX }, (_, i) => workerName(i + 1)).filter((name) =>
                site.nodes.every((node) => node.name !== name),
            );
            return (await import("../reach/aws/ssm.ts")).onlineMachines(nodeOf(reader).shell, others);
        },
        secretVersion: (name) => nodeOf(name).secretVersion,
        stop: (names) => all(names, (shell) => service(shell, "stop")),
        start: (names) => all(names, (shell) => service(shell, "start")),
        withWorkplaces: (nodes, use) =>
            use(
                nodes.map(({ name }) => ({
                    node: name,
                    run: async (words, input) => runScript((await readyNode(name)).shell, words, input),
                })),
            ),
    };
}
