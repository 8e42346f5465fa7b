/** The stand-in for Pulumi's aws plugin: the provider's gRPC service, with everything that it does in `provider.ts`. */
import { createRequire } from "node:module";
import * as grpc from "@grpc/grpc-js";
import { VERSION } from "./args.ts";
import { chooseMachines } from "./machines.ts";
import { type Difference, type Failure, logCall, Provider } from "./provider.ts";
import type { Props } from "./values.ts";

const require = createRequire(import.meta.url);
const pb = require("@pulumi/pulumi/proto/provider_pb.js") as typeof import("@pulumi/pulumi/proto/provider_pb.js");
const plugin = require("@pulumi/pulumi/proto/plugin_pb.js") as typeof import("@pulumi/pulumi/proto/plugin_pb.js");
const { Struct } =
    require("google-protobuf/google/protobuf/struct_pb.js") as typeof import("google-protobuf/google/protobuf/struct_pb.js");
const { Empty } =
    require("google-protobuf/google/protobuf/empty_pb.js") as typeof import("google-protobuf/google/protobuf/empty_pb.js");
const { ResourceProviderService } = require("@pulumi/pulumi/proto/provider_grpc_pb.js") as {
    ResourceProviderService: grpc.ServiceDefinition;
};

type Requests = typeof import("@pulumi/pulumi/proto/provider_pb.js");
type Message = InstanceType<typeof Struct>;

const props = (struct: Message | undefined): Props => (struct?.toJavaScript() ?? {}) as Props;
// undefined has no place in a Struct
const struct = (values: Props): Message => Struct.fromJavaScript(JSON.parse(JSON.stringify(values)));

/** Type and name from a URN: `urn:pulumi:stack::project::parent$type::name`. */
function nameOf(urn: string): { type: string; name: string } {
    const [, , types = "", name = ""] = urn.split("::");
    return { type: types.slice(types.lastIndexOf("$") + 1), name };
}

function checked(inputs: Props, failures: readonly Failure[]) {
    const response = new pb.CheckResponse();
    response.setInputs(struct(inputs));
    response.setFailuresList(failures.map(failed));
    return response;
}

function failed({ property, reason }: Failure) {
    const failure = new pb.CheckFailure();
    failure.setProperty(property);
    failure.setReason(reason);
    return failure;
}

function different(differences: readonly Difference[], deleteBeforeReplace: boolean) {
    const { Kind } = pb.PropertyDiff;
    const kinds = {
        add: [Kind.ADD, Kind.ADD_REPLACE],
        delete: [Kind.DELETE, Kind.DELETE_REPLACE],
        update: [Kind.UPDATE, Kind.UPDATE_REPLACE],
    } as const;
    const response = new pb.DiffResponse();
    const { DiffChanges } = pb.DiffResponse;
    response.setChanges(differences.length > 0 ? DiffChanges.DIFF_SOME : DiffChanges.DIFF_NONE);
    response.setDiffsList(differences.map((d) => d.path));
    response.setReplacesList(differences.filter((d) => d.replaces).map((d) => d.path));
    response.setDeletebeforereplace(deleteBeforeReplace);
    response.setHasdetaileddiff(true);
    for (const { path, kind, replaces } of differences) {
        const detail = new pb.PropertyDiff();
        detail.setKind(kinds[kind][replaces ? 1 : 0]);
        detail.setInputdiff(true);
        response.getDetaileddiffMap().set(path, detail);
    }
    return response;
}

type Handler = (request: never) => unknown;

function handlers(provider: Provider): Record<string, Handler> {
    return {
        getPluginInfo() {
            const info = new plugin.PluginInfo();
            info.setVersion(VERSION);
            return info;
        },
        checkConfig(request: InstanceType<Requests["CheckRequest"]>) {
            const news = props(request.getNews());
            return checked(news, provider.checkConfig(news));
        },
        diffConfig(request: InstanceType<Requests["DiffRequest"]>) {
            const moved = props(request.getOldInputs()).region !== props(request.getNews()).region;
            return different(moved ? [{ path: "region", kind: "update", replaces: true }] : [], false);
        },
        configure(request: InstanceType<Requests["ConfigureRequest"]>) {
            provider.configure(props(request.getArgs()));
            const response = new pb.ConfigureResponse();
            // the engine unwraps secrets, and marks outputs whose input of the same name was one
            response.setAcceptsecrets(false);
            response.setSupportspreview(true);
            return response;
        },
        check(request: InstanceType<Requests["CheckRequest"]>) {
            const { type, name } = nameOf(request.getUrn());
            const { inputs, failures } = provider.check(
                type,
                name,
                props(request.getOlds()),
                props(request.getNews()),
                Buffer.from(request.getRandomseed_asU8()),
            );
            return checked(inputs, failures);
        },
        diff(request: InstanceType<Requests["DiffRequest"]>) {
            const { differences, deleteBeforeReplace } = provider.diff(
                nameOf(request.getUrn()).type,
                props(request.getOldInputs()),
                props(request.getNews()),
            );
            return different(differences, deleteBeforeReplace);
        },
        async create(request: InstanceType<Requests["CreateRequest"]>) {
            const { type } = nameOf(request.getUrn());
            const { id, outputs } = await provider.create(type, props(request.getProperties()), request.getPreview());
            const response = new pb.CreateResponse();
            response.setId(id);
            response.setProperties(struct(outputs));
            return response;
        },
        async update(request: InstanceType<Requests["UpdateRequest"]>) {
            const response = new pb.UpdateResponse();
            const outputs = await provider.update(
                nameOf(request.getUrn()).type,
                request.getId(),
                props(request.getOlds()),
                props(request.getOldInputs()),
                props(request.getNews()),
                request.getPreview(),
            );
            response.setProperties(struct(outputs));
            return response;
        },
        async delete(request: InstanceType<Requests["DeleteRequest"]>) {
            await provider.remove(nameOf(request.getUrn()).type, request.getId(), props(request.getProperties()));
            return new Empty();
        },
        async read(request: InstanceType<Requests["ReadRequest"]>) {
            const { type } = nameOf(request.getUrn());
            const found = await provider.read(type, request.getId(), props(request.getInputs()));
            const response = new pb.ReadResponse();
            if (!found) return response;
            response.setId(request.getId());
            response.setInputs(struct(found.inputs));
            response.setProperties(struct(found.outputs));
            return response;
        },
        async invoke(request: InstanceType<Requests["InvokeRequest"]>) {
            const { result, failures } = await provider.invoke(request.getTok(), props(request.getArgs()));
            const response = new pb.InvokeResponse();
            response.setReturn(struct(result));
            response.setFailuresList(failures.map(failed));
            return response;
        },
        cancel: () => new Empty(),
    };
}

/** What a request is about, for the log. */
function subject(request: object): Props {
    const about = request as { getUrn?(): string; getTok?(): string; getPreview?(): boolean };
    return {
        ...(about.getUrn ? nameOf(about.getUrn()) : {}),
        ...(about.getTok ? { token: about.getTok() } : {}),
        ...(about.getPreview ? { preview: about.getPreview() } : {}),
    };
}

async function serve(): Promise<void> {
    const answers = handlers(new Provider(await chooseMachines()));
    const service: grpc.UntypedServiceImplementation = {};
    for (const method of Object.keys(ResourceProviderService)) {
        const answer = answers[method];
        service[method] = async (call: { request: object }, done: grpc.sendUnaryData<unknown>) => {
            if (!answer) return done({ code: grpc.status.UNIMPLEMENTED, details: method });
            const about = { method, ...subject(call.request) };
            const since = performance.now();
            const ms = () => Math.round(performance.now() - since);
            try {
                const response = await answer(call.request as never);
                logCall({ ...about, ms: ms() });
                return done(null, response);
            } catch (error) {
                const details = error instanceof Error ? error.message : String(error);
                logCall({ ...about, ms: ms(), error: details });
                return done({ code: grpc.status.UNKNOWN, details });
            }
        };
    }
    const server = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
    server.addService(ResourceProviderService, service);
    const port = await new Promise<number>((resolve, reject) =>
        server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
            error ? reject(error) : resolve(bound),
        ),
    );
    console.log(String(port));
}

await serve();
