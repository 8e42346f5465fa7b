/** The package that other programs install, in dist: JavaScript, types, node scripts and the provider. npm run build */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const ROOT = import.meta.dirname;
const DIST = join(ROOT, "dist");

/** What is no TypeScript and is needed all the same, or tells what it is. */
const COPIED = [
    "scripts/node",
    "provider/start.mjs",
    "provider/pulumi-resource-citus-clusters",
    "provider/pulumi-resource-citus-clusters.cmd",
    "LICENSE",
    "CHANGELOG.md",
];

/** What this project's package.json says that is true of the package too. */
const SAME = ["name", "version", "description", "license", "type", "engines"];

/** What the commands of this project need, and the package does not. */
const COMMANDS = ["commander", "listr2", "table"];
/** There must be one for the program and the package. */
const PEERS = ["@pulumi/pulumi"];
/** Who is on docker need not have them; core/reach/aws/packages.ts names them to who is on aws. */
const ONLY_ON_AWS = ["@aws-sdk/client-ssm", "@aws-sdk/credential-provider-node", "@pulumi/aws"];

function compile(): void {
    const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
    const args = [join(typescript, "bin", "tsc"), "-p", join(ROOT, "tsconfig.build.json")];
    const { status } = spawnSync(process.execPath, args, { stdio: "inherit" });
    if (status !== 0) process.exit(status ?? 1);
}

function manifest(): object {
    const own = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as Record<string, unknown>;
    const needed = Object.entries(own.dependencies as Record<string, string>);
    const peers = [...PEERS, ...ONLY_ON_AWS];
    return {
        ...Object.fromEntries(SAME.map((key) => [key, own[key]])),
        dependencies: Object.fromEntries(needed.filter(([name]) => ![...COMMANDS, ...peers].includes(name))),
        peerDependencies: Object.fromEntries(
            needed.flatMap(([name, version]) => (peers.includes(name) ? [[name, `^${version}`]] : [])),
        ),
        peerDependenciesMeta: Object.fromEntries(ONLY_ON_AWS.map((name) => [name, { optional: true }])),
        exports: {
            ".": { types: "./components/index.d.ts", default: "./components/index.js" },
            "./package.json": "./package.json",
        },
    };
}

/** TypeScript leaves the endings of imports in declarations, and who is on docker has no @pulumi/aws. */
function mendDeclarations(): void {
    for (const file of globSync("**/*.d.ts", { cwd: DIST })) {
        const path = join(DIST, file);
        const text = readFileSync(path, "utf8")
            .replaceAll(/((?:from|import\()\s*"\.{1,2}\/[^"]*)\.ts"/g, '$1.js"')
            .replaceAll(
                /^(import .* from "@pulumi\/aws[^"]*";)$/gm,
                "// @ts-ignore: only programs on aws install it\n$1",
            );
        writeFileSync(path, text);
    }
}

rmSync(DIST, { recursive: true, force: true });
compile();
mendDeclarations();
for (const path of COPIED) {
    const from = join(ROOT, path);
    if (!existsSync(from)) throw new Error(`${path} belongs to the package and is not there`);
    cpSync(from, join(DIST, path), { recursive: true });
}
cpSync(join(ROOT, "docs", "library.md"), join(DIST, "README.md"));
writeFileSync(join(DIST, "package.json"), `${JSON.stringify(manifest(), null, 2)}\n`);
