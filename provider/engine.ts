/** Talking to the Pulumi engine from inside a provider: progress in its own display, and noticing that it is gone. */
import { createConnection } from "node:net";
import * as grpc from "@grpc/grpc-js";
import engineGrpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import engineProto from "@pulumi/pulumi/proto/engine_pb.js";

let client: InstanceType<typeof engineGrpc.EngineClient> | undefined;
let lost = false;

/** The engine's address is the last argument of a provider process. */
function engine() {
    const address = process.argv.at(-1) ?? "";
    if (client === undefined && /^[\w.-]+:[0-9]+$/.test(address)) {
        client = new engineGrpc.EngineClient(address, grpc.credentials.createInsecure());
    }
    return client;
}

/** Whether anything listens there. */
function answers(host: string, port: number): Promise<boolean> {
    return new Promise((resolve) => {
        const socket = createConnection({ host, port, timeout: 2000 });
        const end = (answer: boolean) => {
            socket.destroy();
            resolve(answer);
        };
        socket.once("connect", () => end(true));
        socket.once("error", () => end(false));
        socket.once("timeout", () => end(true));
    });
}

/** A CLI that is killed leaves its providers behind; this one ends by itself within seconds. */
function endWithEngine(): void {
    const match = /^([\w.-]+):([0-9]+)$/.exec(process.argv.at(-1) ?? "");
    if (!match?.[1]) return;
    let refused = 0;
    setInterval(async () => {
        refused = (await answers(match[1] as string, Number(match[2]))) ? 0 : refused + 1;
        if (refused >= 2) {
            console.error("the Pulumi engine is gone; stopping");
            process.exit(1);
        }
    }, 3000).unref();
}

endWithEngine();

function log(message: string, options: { urn: string | undefined; severity: number; ephemeral: boolean }): void {
    const to = engine();
    if (!to) {
        console.error(message);
        return;
    }
    const request = new engineProto.LogRequest();
    request.setSeverity(options.severity);
    request.setMessage(message);
    request.setEphemeral(options.ephemeral);
    if (options.ephemeral) request.setStreamid(1);
    if (options.urn) request.setUrn(options.urn);
    to.log(request, (error: grpc.ServiceError | null) => {
        if (error?.code === grpc.status.UNAVAILABLE) lost = true;
    });
}

/** Shown while it lasts, on the resource's own row. */
export function progress(urn: string | undefined): (text: string) => void {
    let last = "";
    let at = 0;
    return (text) => {
        if (text === last) {
            // also asks whether the engine is still there
            log(text, { urn, severity: engineProto.LogSeverity.DEBUG, ephemeral: true });
            return;
        }
        // a display that is no terminal prints a line each time
        if (Date.now() - at < 1000) return;
        at = Date.now();
        last = text;
        log(text, { urn, severity: engineProto.LogSeverity.INFO, ephemeral: true });
    };
}

/** Kept under Diagnostics. */
export function note(urn: string | undefined, text: string): void {
    log(text, { urn, severity: engineProto.LogSeverity.INFO, ephemeral: false });
}

export function warn(urn: string | undefined, text: string): void {
    log(text, { urn, severity: engineProto.LogSeverity.WARNING, ephemeral: false });
}

/** A killed `pulumi up` leaves its providers behind; one that nobody waits for must not go on changing things. */
export function alive(): void {
    if (lost) {
        console.error("the Pulumi engine is gone; stopping");
        process.exit(1);
    }
}
