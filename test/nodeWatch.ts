/** Nodes watched while something is done to them: when their containers were stopped, and when their servers answered. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import type { DirectAccess } from "../core/node/reach.ts";
import { connect } from "../core/reach/session.ts";
import { pause } from "../core/util/pause.ts";
import { collect, type Ran, type TestStack } from "./lib.ts";

interface Event {
    /** Milliseconds since 1970. */
    readonly at: number;
    readonly action: string;
    readonly node: string;
    readonly id: string;
}

export class NodeWatch {
    private readonly answers = new Map<string, number[]>();
    private ends = false;
    private readonly asking: Promise<unknown>;
    private events: readonly Event[] = [];
    private readonly child: ChildProcess;
    private readonly told: Promise<Ran>;

    constructor(stack: TestStack, nodes: readonly { readonly node: string; readonly access: DirectAccess }[]) {
        // as they come: the engine itself remembers only the last few hundred, those of every health check among them
        this.child = spawn("docker", [
            "events",
            ...["--filter", "type=container", "--filter", `label=citus.cluster=citus-${stack.name}`],
            ...["create", "start", "die"].flatMap((action) => ["--filter", `event=${action}`]),
            ...["--format", '{{.TimeNano}} {{.Action}} {{.ID}} {{index .Actor.Attributes "citus.node"}}'],
        ]);
        this.told = collect(this.child);
        this.asking = Promise.all(nodes.map(({ node, access }) => this.ask(node, access)));
    }

    private async ask(node: string, access: DirectAccess): Promise<void> {
        const times: number[] = [];
        this.answers.set(node, times);
        while (!this.ends) {
            try {
                const session = await connect(access, node, { timeout: 2000 });
                await session.query("SELECT 1");
                times.push(Date.now());
                await session.close();
            } catch {
                // it is away
            }
            await pause(100);
        }
    }

    async stop(): Promise<void> {
        this.ends = true;
        await this.asking;
        this.child.kill();
        const { stdout } = await this.told;
        this.events = stdout
            .split("\n")
            .map((line) => line.split(" "))
            .filter(([, action]) => ["create", "start", "die"].includes(action ?? ""))
            .map(([at, action = "", id = "", node = ""]) => ({ at: Number(at) / 1e6, action, id, node }))
            .sort((a, b) => a.at - b.at);
    }

    /** Every container that something happened to, as `<id> <action>`. */
    containers(): string[] {
        return this.events.map(({ id, action }) => `${id} ${action}`);
    }

    private first(node: string, action: string): number {
        const event = this.events.find((one) => one.node === node && one.action === action);
        assert.ok(event, `${node}: no ${action}`);
        return event.at;
    }

    readonly created = (node: string): number => this.first(node, "create");
    readonly stopped = (node: string): number => this.first(node, "die");

    /** The watched nodes that were given another container, in the order in which it was made. */
    replaced(): string[] {
        return this.events
            .filter(({ action, node }) => action === "create" && this.answers.has(node))
            .map(({ node }) => node);
    }

    /** Whenever a node was stopped, every other one had answered after it was stopped last. */
    assertOneDown(): void {
        const lastStop = new Map<string, number>();
        for (const { at, action, node } of this.events) {
            if (action !== "die" || !this.answers.has(node)) continue;
            for (const [other, stopped] of lastStop) {
                if (other === node) continue;
                const back = this.answers.get(other)?.find((time) => time > stopped);
                assert.ok(
                    back !== undefined && back < at,
                    `${node} was stopped ${at - stopped} ms after ${other}, which had not answered by then`,
                );
            }
            lastStop.set(node, at);
        }
        assert.ok(lastStop.size > 0, "no node was stopped");
    }
}
