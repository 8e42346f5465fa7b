/** A throw-away stack in a real account, in a copy of the project whose state survives this machine's restart. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Session, withSession } from "../../core/reach/session.ts";
import { nodesOf, type StackNode } from "../../scripts/lib/nodes.ts";
import { parseState, type StateResource } from "../../scripts/lib/resources.ts";
import { copyProject, OwnStack, type Ran, ROOT } from "../lib.ts";
import type { Place } from "./admission.ts";
import type { Commands } from "./commands.ts";
import { Ssm } from "./ssm.ts";

const COPIES = join(ROOT, ".state", "test-aws");
const PROBE = readFileSync(join(import.meta.dirname, "probe.sh"), "utf8");

/** Copies of runs that could not destroy what they made, or that still go on. */
export function earlierCopies(): string[] {
    return existsSync(COPIES) ? readdirSync(COPIES).map((name) => join(COPIES, name)) : [];
}

function makeCopy(): string {
    mkdirSync(COPIES, { recursive: true, mode: 0o700 });
    const dir = copyProject(true, COPIES);
    mkdirSync(join(dir, ".state"), { mode: 0o700 });
    // where the project's own scripts look for it: the copy can be destroyed by them
    writeFileSync(passphraseFile(dir), `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 });
    return dir;
}

const passphraseFile = (dir: string) => join(dir, ".state", "passphrase");

/** What the engine keeps for itself. */
const isInternal = ({ type }: StateResource) => type === "pulumi:pulumi:Stack" || type.startsWith("pulumi:providers:");

export class AwsStack extends OwnStack {
    private readonly commands: Commands;
    private readonly ssm: Ssm;

    private constructor(dir: string, name: string, commands: Commands, place: Place) {
        super(dir, name, {
            PULUMI_CONFIG_PASSPHRASE: undefined,
            PULUMI_CONFIG_PASSPHRASE_FILE: passphraseFile(dir),
            // without it the CLI does not know --event-log
            PULUMI_DEBUG_COMMANDS: "true",
        });
        this.commands = commands;
        this.ssm = new Ssm(place);
    }

    /**
     * @param config `citus:` keys
     * @param secrets `citus:` keys that are stored encrypted
     * @param beside a stack whose project and state it shares
     */
    static async make(
        name: string,
        { place, commands }: { readonly place: Place; readonly commands: Commands },
        config: Record<string, unknown>,
        secrets: Readonly<Record<string, string>>,
        beside?: AwsStack,
    ): Promise<AwsStack> {
        const stack = new AwsStack(beside?.dir ?? makeCopy(), name, commands, place);
        const { region, profile } = place;
        const where = { "aws:region": region, ...(profile === undefined ? {} : { "aws:profile": profile }) };
        try {
            await stack.init({ protect: false, ...where, ...config });
            for (const [key, value] of Object.entries(secrets)) await stack.secret(key, value);
            return stack;
        } catch (error) {
            // nothing of it is on AWS yet
            if (beside === undefined) stack.forget();
            throw error;
        }
    }

    protected override exec(command: string, args: readonly string[], input?: string): Promise<Ran> {
        return this.commands.run(command, args, {
            cwd: this.dir,
            env: this.env,
            ...(input === undefined ? {} : { input }),
        });
    }

    /** A CLI command that must succeed. */
    async must(args: readonly string[]): Promise<Ran> {
        const ran = await this.pulumi(args);
        if (ran.code !== 0) throw new Error(`pulumi ${args.join(" ")} failed:\n${ran.output}`);
        return ran;
    }

    /** A script that must succeed. @returns what it printed */
    async script(name: string, ...args: string[]): Promise<string> {
        const ran = await this.npm(name, ...args);
        if (ran.code !== 0) throw new Error(`npm run ${name} failed:\n${ran.output}`);
        return ran.stdout;
    }

    /** Everything in its state but what the engine keeps for itself, secrets in the clear. */
    async resources(): Promise<StateResource[]> {
        const { stdout } = await this.must(["stack", "export", "--show-secrets"]);
        return parseState(stdout).filter((resource) => !isInternal(resource));
    }

    /** Outputs of all resources of a type. */
    async outputsOf(type: string): Promise<Readonly<Record<string, unknown>>[]> {
        return (await this.resources()).filter((one) => one.type === type).map(({ outputs }) => outputs ?? {});
    }

    async nodes(): Promise<StackNode[]> {
        return [...nodesOf(await this.resources()).values()];
    }

    async node(name: string): Promise<StackNode> {
        const found = (await this.nodes()).find((node) => node.name === name);
        if (!found) throw new Error(`${this.name} has no node ${name}`);
        return found;
    }

    /** SQL on a node as the hooks send it. */
    async sql<T>(name: string, use: (session: Session) => Promise<T>): Promise<T> {
        const { access } = await this.node(name);
        if (!access) throw new Error(`${name} is not registered`);
        return withSession(access, name, use, { patience: 60_000 });
    }

    /** Runs probe.sh on a node's machine. @returns the lines that it printed */
    async probe(name: string, ...args: string[]): Promise<string[]> {
        const { machine } = await this.node(name);
        return (await this.ssm.bash(machine, PROBE, ...args)).trimEnd().split("\n");
    }

    /** @see Ssm.history */
    history(machine: string, since: Date): Promise<string[]> {
        return this.ssm.history(machine, since);
    }

    /** Tries until nothing is in the state any more. @throws Error with what Pulumi said last */
    async destroy(): Promise<void> {
        for (let attempt = 1; ; attempt++) {
            await this.pulumi(["cancel", "--yes"]);
            // what a killed run had begun to make is only found by looking
            const args = attempt === 1 ? [] : ["--refresh"];
            const ran = await this.pulumi(["destroy", "--yes", "--skip-preview", ...args]);
            if (ran.code === 0) return;
            if (attempt === 3) throw new Error(`pulumi destroy --stack ${this.name} failed:\n${ran.output}`);
        }
    }

    /** Removes the copy with its state. */
    forget(): void {
        rmSync(this.dir, { recursive: true, force: true });
    }
}
