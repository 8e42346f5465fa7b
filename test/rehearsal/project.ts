/** A Pulumi project whose aws plugin is the stand-in: its own state, its own world, no way to a network. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testCitus } from "../image.ts";
import { copyProject, OwnStack, type Ran, ROOT } from "../lib.ts";
import type { Props } from "./provider/values.ts";
import { type Row, readWorld, rowKey, type WorldData, writeWorld } from "./provider/world.ts";

/** One step of a preview. */
export interface Step {
    /** Pulumi's word: `create`, `update`, `replace`, `delete`. */
    readonly op: string;
    readonly type: string;
    /** Logical name. */
    readonly name: string;
    /** Arguments that differ. */
    readonly differs: readonly string[];
    /** Arguments whose change replaces it. */
    readonly replaces: readonly string[];
}

/** One call of the plugin. */
export interface Call {
    /** Such as `create`, `diff`, `invoke`. */
    readonly method: string;
    readonly type?: string;
    /** Logical name. */
    readonly name?: string;
    /** Of a function. */
    readonly token?: string;
    readonly preview?: boolean;
    /** How long it took, in milliseconds. */
    readonly ms: number;
    readonly error?: string;
}

export interface AwsProjectOptions {
    /** Text of an index.ts of its own; the project's program when it is left out. */
    readonly program?: string;
    /** `citus:` keys; objects are written as such. */
    readonly config?: Record<string, unknown>;
    /** @default eu-central-1 */
    readonly region?: string;
    /** @default t- and six random digits */
    readonly stack?: string;
    /** `containers` makes instances real. @default paper */
    readonly machines?: "paper" | "containers";
    /** Added to the environment of every command; undefined removes a variable. */
    readonly env?: NodeJS.ProcessEnv;
    /** A project whose world, that is account, it shares. */
    readonly beside?: AwsProject;
}

const PLUGIN = join(import.meta.dirname, "bin");
const LIST = "plugins:\n  providers:\n";

/** A manifest with the stand-in among its plugins. */
const withPlugin = (manifest: string) => {
    const [before, after = ""] = manifest.includes(LIST) ? manifest.split(LIST) : [manifest];
    return `${before}${LIST}    - name: aws\n      path: ${PLUGIN}\n${after}`;
};

/** One stack in its own copy of a project. */
export class AwsProject extends OwnStack {
    readonly region: string;
    readonly worldFile: string;

    private constructor(options: AwsProjectOptions) {
        const dir = options.program === undefined ? copyProject() : sample();
        const region = options.region ?? "eu-central-1";
        const worldFile = options.env?.STANDIN_WORLD ?? options.beside?.worldFile ?? join(dir, ".state", "world.json");
        super(dir, options.stack ?? `t-${randomBytes(3).toString("hex")}`, {
            PULUMI_CONFIG_PASSPHRASE: "test",
            // nothing of the person's own reaches in
            AWS_PROFILE: undefined,
            AWS_SESSION_TOKEN: undefined,
            AWS_REGION: region,
            AWS_ACCESS_KEY_ID: "AKIASTANDIN",
            AWS_SECRET_ACCESS_KEY: "standin",
            AWS_EC2_METADATA_DISABLED: "true",
            STANDIN_WORLD: worldFile,
            STANDIN_LOG: join(dir, ".state", "calls.jsonl"),
            STANDIN_MACHINES: options.machines ?? "paper",
            ...options.env,
        });
        this.region = region;
        this.worldFile = worldFile;
        if (options.program !== undefined) this.program(options.program);
        const manifest = join(dir, "Pulumi.yaml");
        writeFileSync(manifest, withPlugin(readFileSync(manifest, "utf8")));
    }

    static async make(options: AwsProjectOptions = {}): Promise<AwsProject> {
        const project = new AwsProject(options);
        // instances have the tests' image installed
        const citus = options.machines === "containers" ? { citusVersion: testCitus() } : {};
        await project.init({ ...citus, ...options.config });
        return project;
    }

    /** Replaces the program. */
    program(text: string): void {
        writeFileSync(join(this.dir, "index.ts"), text);
    }

    private async must(args: readonly string[]): Promise<Ran> {
        const ran = await this.pulumi(args);
        if (ran.code !== 0) throw new Error(`pulumi ${args.join(" ")} failed:\n${ran.output}`);
        return ran;
    }

    /** The steps of a preview that do something, in order. */
    async preview(args: readonly string[] = []): Promise<Step[]> {
        const { stdout } = await this.must(["preview", "--json", ...args]);
        const { steps = [] } = JSON.parse(stdout) as { steps?: JsonStep[] };
        return steps.map(toStep).filter((step) => step.op !== "same");
    }

    /** `pulumi refresh`, which must succeed; with `--expect-no-changes` it fails on drift. */
    refresh(args: readonly string[] = []): Promise<Ran> {
        return this.must(["refresh", "--yes", "--skip-preview", ...args]);
    }

    tryDestroy(args: readonly string[] = []): Promise<Ran> {
        return this.pulumi(["destroy", "--yes", ...args]);
    }

    destroy(args: readonly string[] = []): Promise<Ran> {
        return this.must(["destroy", "--yes", "--skip-preview", ...args]);
    }

    /** The state as Pulumi stores it, secrets encrypted. */
    async state(): Promise<string> {
        return (await this.must(["stack", "export"])).stdout;
    }

    world(): WorldData {
        return readWorld(this.worldFile);
    }

    /** What exists of a type, such as `aws:ec2/instance:Instance`. */
    rows(type: string): Row[] {
        return Object.values(this.world().rows).filter((row) => row.type === type);
    }

    /** Changes the world behind Pulumi's back. */
    drift(change: (world: WorldData) => void): void {
        const world = this.world();
        change(world);
        writeWorld(this.worldFile, world);
    }

    /** Puts something into the world that no program made, such as a VPC that is there already. */
    given(type: string, id: string, props: Props): void {
        this.drift((world) => {
            world.rows[rowKey(type, id)] = { type, id, props };
        });
    }

    /** Calls that the plugin answered, in the order in which they ended. */
    calls(): Call[] {
        const file = join(this.dir, ".state", "calls.jsonl");
        if (!existsSync(file)) return [];
        return readFileSync(file, "utf8")
            .split("\n")
            .filter((line) => line !== "")
            .map((line) => JSON.parse(line) as Call);
    }

    /** The creates, updates and deletes among the calls that `during` made and that succeeded, in order. */
    async changes(during: () => Promise<unknown>): Promise<Call[]> {
        const before = this.calls().length;
        await during();
        return this.calls()
            .slice(before)
            .filter((c) => ["create", "update", "delete"].includes(c.method) && !c.preview && c.error === undefined);
    }

    /** Removes the copy, its state and its world, which those beside it share. Nothing is destroyed first. */
    remove(): void {
        rmSync(this.dir, { recursive: true, force: true });
    }
}

/** A folder with a small program in it. */
function sample(): string {
    const dir = mkdtempSync(join(tmpdir(), "citus-sample-"));
    writeFileSync(join(dir, "Pulumi.yaml"), "name: sample\nruntime: nodejs\n");
    writeFileSync(join(dir, "package.json"), '{"name": "sample", "main": "index.ts"}\n');
    // a program as pulumi new makes it, which Pulumi itself compiles; what its types say is no matter here
    const compilerOptions = { target: "es2022", module: "nodenext", moduleResolution: "nodenext", noCheck: true };
    writeFileSync(join(dir, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    symlinkSync(join(ROOT, "node_modules"), join(dir, "node_modules"));
    return dir;
}

interface JsonStep {
    readonly op: string;
    readonly urn: string;
    readonly diffReasons?: string[];
    readonly replaceReasons?: string[];
}

function toStep({ op, urn, diffReasons = [], replaceReasons = [] }: JsonStep): Step {
    const [, , types = "", name = ""] = urn.split("::");
    return {
        op,
        type: types.slice(types.lastIndexOf("$") + 1),
        name,
        differs: diffReasons,
        replaces: replaceReasons,
    };
}
