/** What a file of SQL holds that decides how it can be run: of citus:postDeploy, and its mark in templates too. Pure. */
import { ALONE, isTransactionControl, type Statement, statements } from "./statements.ts";

/** A line of a file's head that asks for it. */
const MARK = /^\s*--\s*no transaction\s*$/im;

const shown = (text: string) => text.replace(/\s+/g, " ").slice(0, 60);

/** psql's commands that would take the file out of the run it belongs to. */
function commandMistake(text: string): string | undefined {
    const [command = "", name = "", value = ""] = text.split(/\s+/);
    if (/^\\(c|connect)$/.test(command)) return "one connection runs the file and the note that it ran";
    if (/^\\(i|ir|include|include_relative)$/.test(command))
        return "only this file is sent to the coordinator; list the other one in citus:postDeploy";
    if (/^\\(un)?set$/.test(command) && name === "ON_ERROR_STOP" && !/^(on|true|yes|1)$/i.test(value))
        return "an error would not stop the file, and it would count as run";
    return undefined;
}

/** @returns why a file can't be run at all, each with its line; none when it can */
export function fileMistakes(path: string, sql: string): string[] {
    return statements(sql).flatMap(({ text, line }) => {
        const why = text.startsWith("\\") ? commandMistake(text) : undefined;
        return why === undefined ? [] : [`${path}:${line} has ${shown(text)}: ${why}. Take it out`];
    });
}

/** Whether a file asks to be run without a transaction, before its first statement. */
export function saysNoTransaction(sql: string, found: readonly Statement[] = statements(sql)): boolean {
    const head = sql
        .split("\n")
        .slice(0, (found[0]?.line ?? 1) - 1)
        .join("\n");
    return MARK.test(head);
}

/**
 * Why a file runs without a transaction around it, as in "line 3 has VACUUM".
 * @returns undefined when it can run in one, as far as its text tells
 */
export function whyAlone(sql: string): string | undefined {
    const found = statements(sql);
    if (saysNoTransaction(sql, found)) return `it says "-- no transaction"`;
    const says = (one: Statement | undefined) => one && `line ${one.line} has ${shown(one.text)}`;
    return (
        says(found.find(({ text }) => isTransactionControl(text))) ?? says(found.find(({ text }) => ALONE.test(text)))
    );
}
