/** Asks every check of the living cluster. Changes nothing without --fix. Exit code 0 fine, 1 something to mend, 2 could not be asked. */
import { CHECKS } from "../core/citus/health/checks/list.ts";
import { type Diagnosis, type DoctorOptions, diagnose, verdict } from "../core/citus/health/doctor.ts";
import { describeFix, fixesOf, runFix } from "../core/citus/health/fix.ts";
import type { Session } from "../core/reach/session.ts";
import { asData, sources } from "./doctor/ask.ts";
import { keepSample, readSamples } from "./doctor/samples.ts";
import { showDiagnosis } from "./doctor/show.ts";

import { main, script } from "./lib/command.ts";
import { CannotTell, EXIT } from "./lib/exit.ts";
import { readCluster } from "./lib/project.ts";
import { withCluster } from "./lib/report.ts";
import { clusterName, readResources } from "./lib/resources.ts";

/** Says what it runs, runs it, and asks again. @returns what is found after it */
async function mend(
    id: string,
    coordinator: Session,
    options: DoctorOptions,
    say: (line: string) => void,
): Promise<Diagnosis> {
    const only = { ...options, only: [id] };
    const before = await diagnose(coordinator, only);
    const fixes = fixesOf(before.findings, id);
    if (fixes.length === 0) {
        say(
            before.findings.length === 0 && before.unasked.length === 0
                ? `${id} finds nothing. Nothing was changed.`
                : `${id} has nothing that is safe to mend by itself. Nothing was changed.`,
        );
        return before;
    }
    for (const fix of fixes) {
        for (const line of describeFix(fix)) say(line);
        await runFix(fix, coordinator, options.open);
    }
    const after = await diagnose(coordinator, only);
    if (after.findings.length === 0 && after.unasked.length === 0) say(`${id} finds nothing any more.`);
    return after;
}

async function doctor({ json, fix }: { json?: boolean; fix?: string }): Promise<void> {
    if (fix !== undefined && !CHECKS.some(({ id }) => id === fix))
        throw new CannotTell(
            `There is no check ${fix}. Nothing was done. The checks are: ${CHECKS.map(({ id }) => id).join(", ")}`,
        );
    const { stack } = await readCluster();
    const resources = await readResources(true);
    const cluster = clusterName(resources) ?? stack;
    try {
        const found = await withCluster(resources, async (coordinator, options) => {
            const all = sources(stack, resources, options);
            if (fix !== undefined) return mend(fix, coordinator, all, json ? console.error : console.log);
            const diagnosis = await diagnose(coordinator, all);
            keepSample(stack, readSamples(stack), diagnosis.looked.looks, Date.now());
            return diagnosis;
        });
        if (json) console.log(JSON.stringify(asData({ stack, cluster }, found), null, 2));
        else if (fix === undefined || found.findings.length + found.unasked.length > 0)
            console.log(showDiagnosis(cluster, found));
        process.exitCode = [EXIT.done, EXIT.failed, EXIT.cannotTell][verdict(found)] ?? EXIT.failed;
    } catch (error) {
        const { message } = error as Error;
        if (fix !== undefined) throw error;
        const nothing: Diagnosis = { checks: [], findings: [], unasked: [] };
        if (json)
            console.log(
                JSON.stringify({ ...asData({ stack, cluster }, nothing), verdict: "unasked", error: message }, null, 2),
            );
        else console.error(`${cluster}: could not be asked\n${message}`);
        process.exitCode = EXIT.cannotTell;
    }
}

await main(
    script(
        "doctor",
        "Asks every check of the living cluster, and names what is found, its danger, and the line that mends it.",
    )
        .option("--json", "the same as data (docs/doctor.schema.json)")
        .option(
            "--fix <check>",
            "mends what a check found, where that loses nothing: says what it runs, runs it, asks again",
        )
        .addHelpText(
            "after",
            "\n0 is fine, 1 something to mend, 2 could not be asked. docs/doctor.md lists the checks.",
        )
        .action(doctor),
);
