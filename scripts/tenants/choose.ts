/** npm run tenants -- choose */
import { createInterface, type Interface } from "node:readline/promises";
import { type Choice, choose, DEFAULTS, QUESTIONS, type Situation } from "../../components/tenants/choose.ts";

type Question = (typeof QUESTIONS)[number];

/**
 * An answer as the question's kind has it.
 * @throws Error saying what it may be
 */
export function readAnswer({ kind, flag }: Pick<Question, "kind" | "flag">, text: string): string | number | boolean {
    const said = text.trim().toLowerCase();
    const wrong = (must: string) => new Error(`--${flag} must be ${must}, got ${JSON.stringify(text)}`);
    if (kind === "number") {
        const n = Number(said.replaceAll(/[_ ]/g, ""));
        if (said === "" || !Number.isInteger(n) || n < 0) throw wrong("a whole number such as 500");
        return n;
    }
    if (kind === "part") {
        const match = /^([0-9]+(?:\.[0-9]+)?)\s*%?$/.exec(said);
        const percent = match ? Number(match[1]) : Number.NaN;
        if (!(percent >= 0 && percent <= 100)) throw wrong("a number of percent from 0 to 100 such as 20");
        return percent / 100;
    }
    if (kind === "yes") {
        if (["y", "yes", "true"].includes(said)) return true;
        if (["n", "no", "false"].includes(said)) return false;
        throw wrong("yes or no");
    }
    const found = kind.filter((option) => option.startsWith(said));
    if (said === "" || found.length !== 1) throw wrong(`one of ${kind.join(", ")}`);
    return found[0] as string;
}

/** As a person would type it. */
function shown({ kind, key }: Question): string {
    const value = DEFAULTS[key];
    if (kind === "part") return String(Number(value) * 100);
    return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

async function ask(terminal: Interface, question: Question): Promise<string | number | boolean> {
    for (;;) {
        const text = await terminal.question(`${question.ask} [${shown(question)}] `);
        if (text.trim() === "") return DEFAULTS[question.key];
        try {
            return readAnswer(question, text);
        } catch (error) {
            console.error((error as Error).message.replace(/^--\S+ must/, "It must"));
        }
    }
}

async function askAll(): Promise<Situation> {
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
        const answers: [string, unknown][] = [];
        for (const question of QUESTIONS) answers.push([question.key, await ask(terminal, question)]);
        return Object.fromEntries(answers) as unknown as Situation;
    } finally {
        terminal.close();
    }
}

const block = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];

/** Pure. */
export function renderChoice(choice: Choice): string {
    if (choice.model === undefined)
        return [
            "No model does all of that at once. What rules each out:",
            ...choice.others.map(({ model, against }) => `  ${model.padEnd(9)} ${against.join("; ")}`),
            "",
            "Give up one of these, or part the tenants into groups that need less of it.",
        ].join("\n");
    return [
        `Recommended: ${choice.model}`,
        ...block("because", choice.reasons),
        ...block("although", choice.but),
        ...block("it costs", choice.costs),
        ...block("with it", choice.also),
        "",
        "the others",
        ...choice.others.map(
            ({ model, score, against }) =>
                `  ${model.padEnd(9)} ${score === undefined ? "ruled out: " : ""}${against.length > 0 ? against.join("; ") : "possible, with less to say for it"}`,
        ),
        "",
        'The choice is not for ever: a tenant goes to a group of another model by from: "<group>/<tenant>".',
    ].join("\n");
}

/** @param given flags by the name of what they say */
export async function chooseModel(given: Readonly<Record<string, unknown>>): Promise<void> {
    const flags = QUESTIONS.flatMap((question) => {
        const value = given[question.key];
        return value === undefined ? [] : [[question.key, readAnswer(question, String(value))] as const];
    });
    const situation: Situation =
        flags.length === 0 && process.stdin.isTTY && !given.json
            ? await askAll()
            : { ...DEFAULTS, ...Object.fromEntries(flags) };
    const choice = choose(situation);
    if (given.json) console.log(JSON.stringify({ situation, ...choice }, null, 2));
    else {
        if (flags.length < QUESTIONS.length && !process.stdin.isTTY)
            console.error(
                `taken as they mostly are: ${QUESTIONS.filter(({ key }) => !flags.some(([flag]) => flag === key))
                    .map((question) => `--${question.flag} ${shown(question)}`)
                    .join(" ")}`,
            );
        console.log(renderChoice(choice));
    }
}
