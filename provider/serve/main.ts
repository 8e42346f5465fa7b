/** The provider's process. Its only argument is the engine's address. */
import { readFileSync } from "node:fs";
import { findPackageJSON } from "node:module";

// the engine holds our standard input: with it gone nobody waits for what is done here
process.stdin.on("end", () => process.exit(1)).resume();
// the SDK reads it when it is loaded, and sends what is logged there
process.env.PULUMI_NODEJS_ENGINE = process.argv.slice(2).at(-1) ?? "";
const pulumi = await import("@pulumi/pulumi");
const { default: proto } = await import("@pulumi/pulumi/proto/provider_pb.js");
const { kinds } = await import("../kinds.ts");
const { CitusProvider } = await import("../provider.ts");
const { rowOf } = await import("../row.ts");
const { schemaOf } = await import("../schema.ts");

const NONE = { toJavaScript: () => ({}) };
// an import has no properties, and the SDK's server (3.259) fails on that: it asks them for their values
const { getProperties } = proto.ReadRequest.prototype;
proto.ReadRequest.prototype.getProperties = function () {
    return getProperties.call(this) ?? (NONE as never);
};

if (!process.env.CITUS_DEBUG) {
    Error.stackTraceLimit = 0;
    // what a check, diff, read or delete threw is printed by the SDK's server, and shown by the engine: once is enough
    const print = console.error;
    console.error = (...args: unknown[]) => {
        if (!/^\w*Error: [\s\S]*: $/.test(String(args[0]))) print.apply(console, args);
    };
}

const { version } = JSON.parse(readFileSync(findPackageJSON(import.meta.url) as string, "utf8"));
await pulumi.provider.main(
    new CitusProvider(kinds, { version, schema: schemaOf(version, kinds), row: rowOf }),
    process.argv.slice(2),
);
