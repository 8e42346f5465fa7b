/** A throw-away stack in a copy of this project, with its own state. */
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { nodeImage } from "../../core/image/contents.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { pulumiCommand } from "../../scripts/lib/cli.ts";
import { type Outputs, ROOT } from "../../scripts/lib/project.ts";
import { testImage } from "../image.ts";
import { copyProject, publishedAccess } from "../lib.ts";
import { type Ran, type RunOptions, removeFromDocker, run, undoLater } from "./process.ts";

/** The node image that every bench stack runs. */
export const benchImage = (): string => nodeImage({ base: testImage(), postgres: "newest" });

export class BenchStack {
    readonly name: string;
    private readonly dir: string;
    private readonly command: string;
    private readonly env: NodeJS.ProcessEnv;
    private readonly sessions: Session[] = [];
    /** Removes the cluster and the copy. By label: quicker than a destroy, and works on anything half-made. */
    readonly remove: () => Promise<void>;

    private constructor(command: string, environment: NodeJS.ProcessEnv) {
        this.command = command;
        this.name = `bench-${randomBytes(3).toString("hex")}`;
        this.dir = copyProject();
        this.remove = undoLater(`stack ${this.name}`, async () => {
            for (const session of this.sessions) await session.close().catch(() => undefined);
            if (environment.DOCKER_HOST === undefined) await removeFromDocker(`label=citus.cluster=citus-${this.name}`);
            rmSync(this.dir, { recursive: true, force: true });
        });
        mkdirSync(join(this.dir, ".state", "pulumi"), { recursive: true });
        this.env = {
            ...process.env,
            ...environment,
            PATH: [join(ROOT, "node_modules", ".bin"), process.env.PATH].join(delimiter),
            PULUMI_BACKEND_URL: `file://${join(this.dir, ".state", "pulumi")}`,
            PULUMI_CONFIG_PASSPHRASE: "bench",
            PULUMI_SKIP_UPDATE_CHECK: "true",
        };
    }

    /** @param environment added to the CLI's */
    static async make(
        config: Readonly<Record<string, string | number | boolean>>,
        environment: NodeJS.ProcessEnv = {},
    ): Promise<BenchStack> {
        const stack = new BenchStack((await pulumiCommand()).command, environment);
        await stack.pulumi(["stack", "init", stack.name]);
        await stack.config({ protect: false, image: testImage(), ...config });
        return stack;
    }

    pulumi(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
        return run(this.command, args, { cwd: this.dir, env: this.env, limit: 600, ...options });
    }

    async config(config: Readonly<Record<string, string | number | boolean>>): Promise<void> {
        for (const [key, value] of Object.entries(config)) {
            await this.pulumi(["config", "set", "--stack", this.name, `citus:${key}`, "--", String(value)]);
        }
    }

    up(...args: string[]): Promise<Ran> {
        return this.pulumi(["up", "--yes", "--skip-preview", "--stack", this.name, ...args]);
    }

    preview(options: RunOptions = {}): Promise<Ran> {
        return this.pulumi(["preview", "--stack", this.name], options);
    }

    async outputs(): Promise<Outputs> {
        const { stdout } = await this.pulumi(["stack", "output", "--json", "--show-secrets", "--stack", this.name]);
        return JSON.parse(stdout) as Outputs;
    }

    /** A connection to a node as the superuser, kept until the stack is removed. */
    async session(node = "coordinator"): Promise<Session> {
        const access = publishedAccess(await this.outputs(), node);
        const session = await connect(access, node, { patience: 30_000 });
        this.sessions.push(session);
        return session;
    }

    write(file: string, content: string): void {
        writeFileSync(join(this.dir, file), content);
    }
}
