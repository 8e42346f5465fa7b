/** How nodes are reached, as plain data: how scripts run on one, and how SQL gets there. */

/** How a command ended. */
export interface CommandResult {
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
}

export interface DockerShell {
    readonly kind: "docker";
    /** The Docker engine's address in full. Empty in a state of before it was written down: the environment's. */
    readonly engine: string;
    readonly container: string;
}

export interface SsmShell {
    readonly kind: "ssm";
    readonly region: string;
    /** Profile of the credentials, the default one when empty. */
    readonly profile: string;
    /** Tag `citus-cluster-id` of the machine. */
    readonly clusterId: string;
    /** Tag `citus-node` of the machine: whichever machine it is now. */
    readonly node: string;
}

/** Plain data, so that it can lie in a state. */
export type Shell = DockerShell | SsmShell;

type Files = Readonly<Record<string, string | Buffer>>;

/** What a script is given beside its arguments: files, as a tar on its standard input. */
export interface ScriptInput {
    /** Files without secrets. */
    readonly files?: Files;
    /**
     * Files with secrets. Into a container they go as they are; a machine fetches them itself, as its own role, from this
     * group and version of its own secret, so that no command's text holds them.
     */
    readonly secrets?: {
        readonly group: "configuration" | "restore" | "own";
        /** VersionId of the machine's secret; empty in a container. */
        readonly version: string;
        readonly files: Files;
    };
}

/** What a machine must be and have. */
export interface Preparation {
    /** Id of the instance. */
    readonly machine: string;
    /** sha256 of the node scripts. */
    readonly bundle: string;
    /** GiB that its data volume must have; left alone when undefined. */
    readonly volumeSize?: number;
    /** Whether it sends metrics; left alone when undefined. */
    readonly metrics?: boolean;
}

/** The same for two shells that reach the same node, for keys and messages. */
export function shellName(shell: Shell): string {
    return shell.kind === "docker"
        ? `${shell.engine} ${shell.container}`
        : `${shell.region} ${shell.clusterId} ${shell.node}`;
}

/** How to reach a node from where Pulumi runs: by its address, or through a command channel where no port is open. */
export type Access = DirectAccess | TunnelAccess;

export interface DirectAccess {
    readonly host: string;
    readonly port: number;
    /** The name the node's certificate must carry. */
    readonly serverName: string;
    /** PEM of the cluster's own CA; nothing else is trusted. */
    readonly ca: string;
    readonly user: string;
    readonly password: string;
    readonly database: string;
}

/** As the node's own operating-system user postgres, through its PostgreSQL's socket: nothing secret is needed. */
export interface TunnelAccess {
    readonly tunnel: SsmShell;
    readonly user: string;
    readonly database: string;
}

/** Where an access leads, for messages and as a key. */
export function addressOf(access: Access): string {
    return "tunnel" in access ? shellName(access.tunnel) : `${access.host}:${access.port}`;
}
