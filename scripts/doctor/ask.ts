/** How the checks are asked of the selected stack, and what they found as other programs read it. */
import { type Diagnosis, type DoctorOptions, verdict } from "../../core/citus/health/doctor.ts";
import type { StateResource } from "../lib/resources.ts";
import { readSamples, sampleBefore } from "./samples.ts";
import { type DoctorJson, SCHEMA_VERSION } from "./schema.ts";
import { readStackView } from "./stackView.ts";

const VERDICT = ["fine", "mend", "unasked"] as const;

/** Everything that the checks are asked of. */
export function sources(
    stack: string,
    resources: readonly StateResource[],
    options: Pick<DoctorOptions, "look" | "open" | "expected">,
): DoctorOptions {
    const samples = readSamples(stack);
    return {
        ...options,
        stack: () => readStackView(resources),
        before: (node) => sampleBefore(samples, node, Date.now()),
    };
}

/** As other programs read it. */
export const asData = (head: Pick<DoctorJson, "stack" | "cluster">, found: Diagnosis): DoctorJson => ({
    version: SCHEMA_VERSION,
    ...head,
    at: new Date().toISOString(),
    verdict: VERDICT[verdict(found)],
    checks: [...found.checks],
    findings: found.findings.map(({ fix, up: _up, ...finding }) => ({ ...finding, fixable: fix !== undefined })),
    unasked: [...found.unasked],
});
