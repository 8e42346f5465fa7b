/** What the stand-in does outside its world file. Two of them: on paper (nothing) and containers. */
export interface Machines {
    createVolume(id: string, gib: number): Promise<void>;
    growVolume(id: string, gib: number): Promise<void>;
    deleteVolume(id: string): Promise<void>;
    createInstance(instance: InstanceSpec): Promise<void>;
    startInstance(id: string): Promise<void>;
    stopInstance(id: string): Promise<void>;
    deleteInstance(id: string): Promise<void>;
    /** Whether it is still there. */
    instanceExists(id: string): Promise<boolean>;
    tagInstance(id: string, tags: Record<string, string>): Promise<void>;
    attach(volumeId: string, instanceId: string): Promise<void>;
    detach(volumeId: string, instanceId: string): Promise<void>;
    setRecord(name: string, addresses: readonly string[]): Promise<void>;
    deleteRecord(name: string): Promise<void>;
    createBucket(bucket: string): Promise<void>;
    /** Refuses when it is not empty, unless `force` is true. */
    deleteBucket(bucket: string, force?: boolean): Promise<void>;
    putObject(bucket: string, key: string, content: Buffer): Promise<void>;
    deleteObject(bucket: string, key: string): Promise<void>;
    putSecret(id: { name: string; arn: string; version: string }, value: string): Promise<void>;
    deleteSecret(name: string): Promise<void>;
}

export interface InstanceSpec {
    readonly id: string;
    readonly name: string;
    /** Decoded. */
    readonly userData: string;
    readonly privateIp: string;
    readonly tags: Record<string, string>;
    readonly instanceProfile: string;
}

const nothing = async () => undefined;

/** Nothing happens; the world file is all there is. */
export const paper: Machines = {
    createVolume: nothing,
    growVolume: nothing,
    deleteVolume: nothing,
    createInstance: nothing,
    startInstance: nothing,
    stopInstance: nothing,
    deleteInstance: nothing,
    instanceExists: async () => true,
    tagInstance: nothing,
    attach: nothing,
    detach: nothing,
    setRecord: nothing,
    deleteRecord: nothing,
    createBucket: nothing,
    deleteBucket: nothing,
    putObject: nothing,
    deleteObject: nothing,
    putSecret: nothing,
    deleteSecret: nothing,
};

/** The machines that the environment names: `STANDIN_MACHINES=containers`, else paper. */
export async function chooseMachines(): Promise<Machines> {
    const wanted = process.env.STANDIN_MACHINES ?? "paper";
    if (wanted === "paper") return paper;
    if (wanted !== "containers")
        throw new Error(`STANDIN_MACHINES is ${wanted}; it can be paper (default) or containers`);
    const module = "../containers.ts";
    return ((await import(module)) as { machines(): Machines }).machines();
}
