/** npm run tenants -- choose */
import { createInterface, type Interface } from "node:readline/promises";
import {
    type Choice,
    choose,
    DEFAULTS,
    QUESTIONS,
    type Situation,
    type WayOut,
} from "../../core/tenants/ask/choose.ts";
import { ownProperty } from "../../core/util/ownProperty.ts";
import { CannotTell } from "../lib/exit.ts";

type Question = (typeof QUESTIONS)[number];

/**
 * An answer as the question's kind has it.
 * @throws Error saying what it may be
 */
export function readAnswer(
    { kind, flag, least = 0, former = {} }: Pick<Question, "kind" | "flag" | "least" | "former">,
    text: string,
): string | number | boolean {
    const said = text.trim().toLowerCase();
    const wrong = (must: string) => new Error(`--${flag} must be ${must}, got ${JSON.stringify(text)}`);
    if (kind === "number") {
        const n = Number(said.replaceAll(/[_ ]/g, ""));
        if (said === "" || !Number.isInteger(n) || n < least)
            throw wrong(`a whole number such as 500${least > 0 ? `, ${least} at least` : ""}`);
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
    const now = ownProperty(former, said);
    if (now !== undefined) throw new Error(`--${flag} ${said} is called otherwise now: say ${now}`);
    const found = kind.filter((option) => option.startsWith(said));
    if (said === "" || found.length !== 1) throw wrong(`one of ${kind.join(", ")}`);
    return found[0] as string;
}

/** What does not go together. */
function tooMany({ tenants, special }: Situation): string | undefined {
    return special > tenants
        ? `--special must be at most the tenants that there are (${tenants}), got ${special}`
        : undefined;
}

/**
 * @param given flags by the name of what they say
 * @throws Error with everything that is wrong with them
 */
export function readFlags(given: Readonly<Record<string, unknown>>): Partial<Situation> {
    const wrong: string[] = [];
    const flags = QUESTIONS.flatMap((question) => {
        const value = given[question.key];
        if (value === undefined) return [];
        try {
            return [[question.key, readAnswer(question, String(value))] as const];
        } catch (error) {
            wrong.push((error as Error).message);
            return [];
        }
    });
    const read: Partial<Situation> = Object.fromEntries(flags);
    if (wrong.length === 0) wrong.push(...[tooMany({ ...DEFAULTS, ...read })].filter((text) => text !== undefined));
    if (wrong.length > 0) throw new CannotTell(wrong.join("\n"));
    return read;
}

/** As a person would type it. */
function shown({ kind, key }: Question): string {
    const value = DEFAULTS[key];
    if (kind === "part") return String(Number(value) * 100);
    return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

async function ask(terminal: Interface, question: Question, before: Situation): Promise<string | number | boolean> {
    for (;;) {
        const text = await terminal.question(`${question.ask} [${shown(question)}] `);
        if (text.trim() === "") return DEFAULTS[question.key];
        try {
            const answer = readAnswer(question, text);
            const wrong = tooMany({ ...before, [question.key]: answer });
            if (wrong === undefined) return answer;
            throw new Error(wrong);
        } catch (error) {
            console.error((error as Error).message.replace(/^--\S+ must/, "It must"));
        }
    }
}

async function askAll(): Promise<Situation> {
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
        let answers: Situation = DEFAULTS;
        for (const question of QUESTIONS)
            answers = { ...answers, [question.key]: await ask(terminal, question, answers) };
        return answers;
    } finally {
        terminal.close();
    }
}

const block = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];

function renderWayOut({ mixture, giveUp, leadsTo }: WayOut): string[] {
    const answers = giveUp.map(({ flag, from, to }) => `--${flag} ${from} → ${to}`);
    return [
        `a mixture: ${mixture}`,
        ...(answers.length === 0 ? [] : [`or give this up first: ${answers.join(", ")}. Then ${leadsTo} fits.`]),
    ];
}

/** Pure. */
export function renderChoice(choice: Choice): string {
    const ties = choice.ties.length === 0 ? "" : ` (as much speaks for ${choice.ties.join(" and ")})`;
    return [
        ...choice.tooLarge.map((line, i) => `${i === 0 ? "The largest tenant: " : "  "}${line}`),
        ...(choice.tooLarge.length === 0 ? [] : [""]),
        choice.wayOut === undefined
            ? `Recommended: ${choice.model}${ties}`
            : `No model does all of that well. The least bad: ${choice.model}${ties}`,
        ...(choice.wayOut === undefined ? [] : block("ways out", renderWayOut(choice.wayOut))),
        ...block("because", choice.reasons),
        ...block("although", choice.but),
        ...block("it costs", choice.costs),
        ...block("with it", choice.also),
        ...block("what Citus' own guides say, and what was measured here", [choice.guides]),
        "",
        "the others",
        ...choice.others.map(({ model, score, against }) => {
            const tie = choice.ties.includes(model) ? "as much speaks for it: " : "";
            const why = against.length > 0 ? against.join("; ") : "nothing against it, with less to say for it";
            return `  ${model.padEnd(9)} ${score === undefined ? "can't do it: " : tie}${why}`;
        }),
        "",
        `next: docs/tenants-${choice.model}.md has its costs and its runbook, docs/tenants.md the lines to write, examples/${choice.model} a whole program`,
        "The choice is not for ever: docs/tenants-change-model.md says which model leads to which.",
    ].join("\n");
}

/** @param given flags by the name of what they say */
export async function chooseModel(given: Readonly<Record<string, unknown>>): Promise<void> {
    const flags = readFlags(given);
    const said = Object.keys(flags);
    const situation: Situation =
        said.length === 0 && process.stdin.isTTY && !given.json ? await askAll() : { ...DEFAULTS, ...flags };
    const choice = choose(situation);
    if (given.json) console.log(JSON.stringify({ situation, ...choice }, null, 2));
    else {
        if (said.length < QUESTIONS.length && !process.stdin.isTTY)
            console.error(
                `not answered, so assumed: ${QUESTIONS.filter(({ key }) => !said.includes(key))
                    .map((question) => `--${question.flag} ${shown(question)}`)
                    .join(" ")}`,
            );
        console.log(renderChoice(choice));
    }
}
