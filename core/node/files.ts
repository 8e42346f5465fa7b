/** The files that are a node's configuration, as scripts/node/configure.sh takes them. Pure. */
import { type Overrides, ownedNames, renderHba, renderIdent, renderPostgresqlConf, type Settings } from "./settings.ts";

/** What a node's configuration is made of. */
export interface NodeConfiguration {
    readonly cluster: string;
    readonly clusterId: string;
    readonly database: string;
    readonly settings: Settings;
    /** `citus:settings`. @default nothing was chosen */
    readonly overrides?: Overrides;
    /** Networks that carry only nodes. */
    readonly nodeNetworks: readonly string[];
    readonly caCertificate: string;
    readonly certificate: string;
    /** PEM; a secret. */
    readonly privateKey: string;
    /** SCRAM verifier of the superuser's password; a secret. */
    readonly verifier: string;
    /** pgBackRest's configuration and the schedule, by file name. */
    readonly backup: Readonly<Record<string, string>>;
}

/** Names of settings that nothing else may set on the node, a line each; those that the user chose first. */
export const ownedOf = ({ settings, overrides }: Pick<NodeConfiguration, "settings" | "overrides">): string =>
    `${ownedNames(settings, overrides ?? {}).join("\n")}\n`;

/** Everything that a node is given, by file name. */
export function nodeFiles(node: NodeConfiguration): Record<string, string> {
    return {
        "postgresql.conf": renderPostgresqlConf(node.settings, node.clusterId),
        owned: ownedOf(node),
        // only known since the minors of 2026-08; shard splits need citus in it, and moves need pgoutput
        "optional.conf": "output_plugin_libraries = 'pgoutput, test_decoding, citus'\n",
        "pg_hba.conf": renderHba(node.nodeNetworks),
        "pg_ident.conf": renderIdent(node.cluster),
        "ca.crt": node.caCertificate,
        "node.crt": node.certificate,
        "node.key": node.privateKey,
        verifier: node.verifier,
        database: node.database,
        ...node.backup,
    };
}
