/** What docs/doctor.md and docs/doctor.schema.json say of the checks, from their list. `npm run format` writes it. */
import { HOW } from "../../core/citus/health/checks/check.ts";
import { CHECKS } from "../../core/citus/health/checks/list.ts";
import { jsonSchema } from "./schema.ts";

const HEAD = "| id | what is true when it finds nothing | asked by |\n|---|---|---|\n";

const table = () => CHECKS.map(({ id, title, asks }) => `| \`${id}\` | ${title} | ${HOW[asks]} |\n`).join("");

/** Of each file, its text with the checks of now. Pure. */
export const DOCTOR_FILES: Readonly<Record<string, (text: string) => string>> = {
    "docs/doctor.md": (text) => {
        const from = text.indexOf(HEAD) + HEAD.length;
        return `${text.slice(0, from)}${table()}${text.slice(from).replace(/^(\|.*\n|ROWS\n)*/, "")}`;
    },
    "docs/doctor.schema.json": jsonSchema,
};
