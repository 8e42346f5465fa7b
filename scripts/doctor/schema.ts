/** What `npm run doctor -- --json` prints. Other programs read it: a field that is added keeps the version, any other change raises it. */
import { z } from "zod";

export const SCHEMA_VERSION = 1;

const node = z.string().nullable();

export const DOCTOR_JSON = z.strictObject({
    version: z.literal(SCHEMA_VERSION).describe("of this schema"),
    stack: z.string().describe("the Pulumi stack"),
    cluster: z.string().describe("the cluster's name"),
    at: z.iso.datetime().describe("when it was asked"),
    verdict: z
        .enum(["fine", "mend", "unasked"])
        .describe(
            "fine: exit code 0; mend: a finding is mend or danger, exit code 1; unasked: none is, and a check gave no answer, exit code 2",
        ),
    checks: z.array(
        z.strictObject({
            id: z.string().describe("stable: docs/doctor.md lists all"),
            title: z.string().describe("what is true when it finds nothing"),
            result: z.enum(["fine", "note", "mend", "danger", "unasked"]),
        }),
    ),
    findings: z
        .array(
            z.strictObject({
                check: z.string().describe("id of the check"),
                danger: z.enum(["danger", "mend", "note"]),
                node: node.describe("name of the node; null for the whole cluster"),
                object: z.string().nullable().describe("table, slot, setting, transaction or the like"),
                says: z.string().describe("a sentence for a person"),
                mend: z
                    .string()
                    .nullable()
                    .describe("SQL where on is set, else a command for a shell; null where there is none"),
                on: z.string().nullable().describe("name of the node that the SQL runs on"),
                fixable: z.boolean().describe("whether npm run doctor -- --fix CHECK mends it"),
            }),
        )
        .describe("the worst first"),
    unasked: z.array(
        z.strictObject({
            check: z.string().describe("id of the check"),
            node: node.describe("name of the node; null for the whole cluster"),
            why: z.string(),
        }),
    ),
    error: z.string().optional().describe("why nothing could be asked; then checks, findings and unasked are empty"),
});

export type DoctorJson = z.infer<typeof DOCTOR_JSON>;

/** As JSON schema, which docs/doctor.schema.json holds. */
export const jsonSchema = () => `${JSON.stringify(z.toJSONSchema(DOCTOR_JSON), null, 2)}\n`;
