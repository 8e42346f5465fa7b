/** `pulumi preview` of a new stack, by the number of its workers: on Docker, and on aws with the tests' stand-in for AWS. */
import { AwsProject } from "../rehearsal/project.ts";
import { undoLater } from "./process.ts";
import { median, type Row, type Section, say, seconds } from "./section.ts";
import { BenchStack } from "./stack.ts";

/** Milliseconds of preview that each worker beyond the first two may add. */
const PREVIEW_TARGET = 60;
/** How much dearer a worker may be in a big cluster than in one half its size, for a preview to count as linear. */
const LINEAR = 1.25;

/** A stack that is only looked at. */
interface Previewed {
    config(values: { workers: number }): Promise<void>;
    preview(): Promise<{ readonly output: string; readonly milliseconds: number }>;
}

interface Size {
    readonly workers: number;
    readonly resources: number;
    readonly runs: readonly number[];
    readonly milliseconds: number;
}

async function measure(stack: Previewed, quick: boolean): Promise<Size[]> {
    await stack.preview(); // once for the caches
    const measured: Size[] = [];
    for (const workers of quick ? [2, 20] : [2, 20, 100, 200]) {
        await stack.config({ workers });
        const runs: number[] = [];
        let resources = 0;
        for (let i = 0; i < (quick ? 1 : 3); i++) {
            const ran = await stack.preview();
            resources = Number(/\+ (\d+) to create/.exec(ran.output)?.[1] ?? 0);
            if (resources === 0) throw new Error(`the preview of ${workers} workers makes nothing:\n${ran.output}`);
            runs.push(ran.milliseconds);
        }
        measured.push({ workers, resources, runs: runs.map(Math.round), milliseconds: median(runs) });
        say(`preview of ${workers} workers, ${resources} resources: ${seconds(median(runs))}`);
    }
    return measured;
}

/** @param target milliseconds a worker; undefined when none was set */
function rowsOf(part: string, measured: readonly Size[], target: number | undefined): { rows: Row[]; each: object[] } {
    const [small] = measured;
    if (small === undefined) throw new Error("nothing was measured");
    const each = measured.slice(1).map((at) => ({
        workers: at.workers,
        perWorker: (at.milliseconds - small.milliseconds) / (at.workers - small.workers),
    }));
    const growth = (each.at(-1)?.perWorker ?? 0) / (each.at(-2)?.perWorker ?? Number.NaN);
    const rows: Row[] = [
        { what: `${part}, 2 workers`, figure: seconds(small.milliseconds), target: "", met: undefined },
        ...measured.slice(1).map((at, i) => {
            const perWorker = each[i]?.perWorker ?? Number.NaN;
            return {
                what: `${part}, ${at.workers} workers`,
                figure: `${seconds(at.milliseconds)}, ${perWorker.toFixed(0)} ms a worker beyond 2`,
                target: target === undefined ? "" : `< ${target} ms a worker`,
                met: target === undefined ? undefined : perWorker < target,
            };
        }),
    ];
    if (!Number.isNaN(growth))
        rows.push({
            what: `${part}: a worker at ${each.at(-1)?.workers} against one at ${each.at(-2)?.workers}`,
            figure: `${growth.toFixed(2)} x`,
            target: `linear: <= ${LINEAR} x`,
            met: growth <= LINEAR,
        });
    return { rows, each };
}

/** As many resources as a preview of so many workers has, of the cheapest kind: what Pulumi itself takes. */
const bare = (resources: number) => `import * as random from "@pulumi/random";
for (let i = 0; i < ${resources}; i++) new random.RandomId(\`r-\${i}\`, { byteLength: 8 });
`;

/** Whether a new stack can be previewed where there is no Docker engine. */
async function previewsWithoutDocker(): Promise<boolean> {
    const stack = await BenchStack.make({}, { DOCKER_HOST: "unix:///nonexistent/docker.sock" });
    const { code, output } = await stack.preview({ mayFail: true });
    if (code !== 0) say(`no preview without a Docker engine: ${/error: .*/.exec(output)?.[0] ?? output}`);
    await stack.remove();
    return code === 0;
}

/** (d) */
export async function previewOnDocker(quick: boolean): Promise<Section> {
    const withoutDocker = await previewsWithoutDocker();
    const stack = await BenchStack.make({});
    const measured = await measure(stack, quick);
    await stack.remove();

    const plain = await BenchStack.make({});
    const bareRuns: { resources: number; milliseconds: number }[] = [];
    for (const resources of [measured[0]?.resources, measured.at(-1)?.resources]) {
        if (resources === undefined) continue;
        plain.write("index.ts", bare(resources - 1));
        const { milliseconds } = await plain.preview();
        bareRuns.push({ resources, milliseconds });
        say(`preview of ${resources} bare resources: ${seconds(milliseconds)}`);
    }
    await plain.remove();

    const { rows, each } = rowsOf("d  preview", measured, PREVIEW_TARGET);
    const [first, last] = [bareRuns[0], bareRuns.at(-1)];
    const more = (measured.at(-1)?.workers ?? Number.NaN) - (measured[0]?.workers ?? Number.NaN);
    return {
        rows: [
            {
                what: "d  preview without a Docker engine",
                figure: withoutDocker ? "works" : "fails",
                target: "works",
                met: withoutDocker,
            },
            ...rows,
            ...(first && last
                ? [
                      {
                          what: `d  bare Pulumi, ${last.resources} resources`,
                          figure: `${seconds(last.milliseconds)}, ${((last.milliseconds - first.milliseconds) / more).toFixed(0)} ms for as many as a worker has`,
                          target: "",
                          met: undefined,
                      },
                  ]
                : []),
        ],
        data: { withoutDocker, previews: measured, perWorker: each, bare: bareRuns },
    };
}

/** (f): the plugin is the tests' own, so this measures Pulumi and the program, not AWS' answers. */
export async function previewOnAws(quick: boolean): Promise<Section> {
    const project = await AwsProject.make({ config: { platform: "aws" } });
    const undo = undoLater(`stack ${project.name}`, async () => project.remove());
    const measured = await measure(
        {
            config: (values) => project.config(values),
            preview: async () => {
                const began = performance.now();
                const { output } = await project.pulumi(["preview"]);
                return { output, milliseconds: performance.now() - began };
            },
        },
        quick,
    );
    await undo();
    const { rows, each } = rowsOf("f  preview on aws", measured, undefined);
    return { rows, data: { previews: measured, perWorker: each } };
}
