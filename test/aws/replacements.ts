/** Which machines an `up` replaced, by the engine's event log. Pure. */

const INSTANCE = "aws:ec2/instance:Instance";
const CONFIGURATION = "citus-clusters:index:Configuration";
const OF_A_REPLACEMENT = ["delete-replaced", "create-replacement"];

interface LoggedEvent {
    readonly resourcePreEvent?: { readonly metadata: Metadata };
    readonly resOutputsEvent?: { readonly metadata: Metadata };
}

interface Metadata {
    readonly op: string;
    readonly urn: string;
    readonly type: string;
}

/**
 * Logical names of the machines in the order in which they were replaced.
 * @param log what `pulumi up --event-log` wrote
 * @throws Error when one was begun before the node of the last one was configured again
 */
export function replacedOneAtATime(log: string): string[] {
    const order: string[] = [];
    let open: string | undefined;
    for (const line of log.split("\n")) {
        if (line.trim() === "") continue;
        const { resourcePreEvent: begins, resOutputsEvent: ends } = JSON.parse(line) as LoggedEvent;
        const began = begins?.metadata;
        if (began?.type === INSTANCE && OF_A_REPLACEMENT.includes(began.op)) {
            const name = nameOf(began);
            if (open !== undefined && open !== name) throw new Error(`${name} was replaced before ${open} was back`);
            if (order.at(-1) !== name) order.push(name);
            open = name;
        }
        const ended = ends?.metadata;
        if (ended?.type === CONFIGURATION && nameOf(ended) === open) open = undefined;
    }
    if (open !== undefined) throw new Error(`${open} did not come back`);
    return order;
}

const nameOf = ({ urn }: Metadata) => urn.split("::").at(-1) ?? "";
