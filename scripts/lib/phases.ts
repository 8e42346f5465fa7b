/** Engine events to the few lines a person wants to see. */
import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import type { ListrTask } from "listr2";

interface Phase {
    readonly title: string;
    readonly types: readonly string[];
    readonly done: Promise<void>;
    readonly finish: (error?: Error) => void;
    /** Operations begun and not ended. */
    open: Set<string>;
    names: Set<string>;
    failed?: boolean;
    /** What is there already is made anew. */
    replaces?: boolean;
    began?: number;
    ended?: number;
    say?: (text: string) => void;
}

const PLACEMENT = "citus-clusters:index:Placement";

const PHASES: readonly [title: string, types: readonly string[]][] = [
    ["Building", ["citus-clusters:index:NodeImage", "aws:ec2/vpc:Vpc", "aws:s3/bucket:Bucket"]],
    ["Restoring", ["citus-clusters:index:Restore", "citus-clusters:index:Recovered"]],
    [
        "Creating",
        [
            "docker:index/container:Container",
            "aws:ec2/instance:Instance",
            "aws:ec2/volumeAttachment:VolumeAttachment",
            "citus-clusters:index:Configuration",
        ],
    ],
    ["Registering", ["citus-clusters:index:Member"]],
    ["Placing", [PLACEMENT]],
    ["Post-deploy", ["citus-clusters:index:PostDeploy"]],
];

/** Operations that only look, or find nothing to change. */
const LOOKS = ["same", "refresh", "read"];

const REPLACES = ["replace", "create-replacement", "delete-replaced"];

const nameOf = (urn: string) => (urn.split("::").at(-1) ?? "").replace(/^citus-/, "");
const typeOf = (urn: string) => (urn.split("::").at(-2) ?? "").split("$").at(-1) ?? "";
const plain = (text: string) => text.replace(/<\{%[^%]*%\}>/g, "").trim();

export class Phases {
    failed: Error | undefined;
    private readonly messages: string[] = [];
    /** By resource. */
    private readonly warned = new Map<string, Set<string>>();
    private readonly phases: Phase[] = PHASES.map(([title, types]) => {
        let finish: Phase["finish"] = () => undefined;
        const done = new Promise<void>((resolve, reject) => {
            finish = (error) => (error ? reject(error) : resolve());
        });
        done.catch(() => undefined);
        return { title, types, done, finish, open: new Set(), names: new Set() };
    });

    private phaseOf(urn: string): Phase | undefined {
        return this.phases.find((phase) => phase.types.includes(typeOf(urn)));
    }

    take(event: EngineEvent): void {
        const before = event.resourcePreEvent?.metadata;
        const after = event.resOutputsEvent?.metadata;
        const failed = event.resOpFailedEvent?.metadata;
        // what planning warned of is about to be mended, or said again; a placement that stays had every node's answer
        if (before && (!LOOKS.includes(before.op) || (before.op === "same" && typeOf(before.urn) === PLACEMENT)))
            this.warned.delete(before.urn);
        if (before && !LOOKS.includes(before.op)) {
            const phase = this.phaseOf(before.urn);
            if (phase) {
                phase.began ??= Date.now();
                if (REPLACES.includes(before.op)) phase.replaces = true;
                phase.open.add(before.urn + before.op);
                phase.names.add(nameOf(before.urn));
                phase.say?.([...phase.names].sort().join(", "));
            }
        }
        if (after && !LOOKS.includes(after.op)) {
            const phase = this.phaseOf(after.urn);
            phase?.open.delete(after.urn + after.op);
            if (phase && phase.open.size === 0) phase.ended = Date.now();
        }
        const broken = failed && this.phaseOf(failed.urn);
        if (broken) broken.failed = true;
        const said = event.diagnosticEvent;
        if (said && said.severity === "error") this.messages.push(plain(said.message));
        // Pulumi's own are about its plugins
        if (said?.urn && said.severity === "warning" && typeOf(said.urn).startsWith("citus-clusters:index:"))
            this.warned.set(said.urn, (this.warned.get(said.urn) ?? new Set()).add(plain(said.message)));
        if (said?.urn && said.severity === "info")
            this.phaseOf(said.urn)?.say?.(plain(said.message).split("\n")[0] ?? "");
    }

    /** What the cluster's own resources warned of, each once. */
    warnings(): string[] {
        return [...new Set([...this.warned.values()].flatMap((messages) => [...messages]))];
    }

    /** What went wrong, without Pulumi's frame around it. */
    errors(): string {
        const own = this.messages.filter(
            (message) => !/^(update failed|preview failed|resource .* has a problem)$/.test(message),
        );
        return [...new Set(own)].join("\n\n");
    }

    end(error?: Error): void {
        this.failed = error;
        for (const phase of this.phases)
            phase.finish(error && (phase.failed || phase.open.size > 0) ? error : undefined);
    }

    /** One task a phase; those that had nothing to do say so. */
    tasks(): ListrTask[] {
        return this.phases.map((phase) => ({
            title: phase.title,
            task: async (_context, task) => {
                phase.say = (text) => {
                    task.output = text;
                };
                await phase.done;
                const what = phase.replaces && phase.title === "Creating" ? "Replacing" : phase.title;
                const title = what.padEnd(16);
                const finish = (text: string) => {
                    task.title = text;
                    if (!process.stdout.isTTY) console.log(text);
                };
                if (phase.began === undefined && this.failed) return task.skip(`${title}not begun`);
                if (phase.began === undefined) return finish(`${title}nothing to do`);
                const seconds = (((phase.ended ?? Date.now()) - phase.began) / 1000).toFixed(0);
                return finish(`${title}${[...phase.names].sort().join(", ")}   ok   ${seconds} s`);
            },
        }));
    }
}
