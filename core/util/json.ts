/** A JSON file as it is written: no number is rounded, and no key is lost because it is there twice. Pure. */

/** A number that JSON.parse would change: `9007199254740993` becomes 9007199254740992. */
export class InexactNumber {
    /** As the file has it. */
    readonly written: string;
    constructor(written: string) {
        this.written = written;
    }
    toJSON(): string {
        return this.written;
    }
}

// strings first: whatever is in one is no punctuation
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g;

/** Keys that an object of a valid JSON text has twice, each as a path. */
function repeatedKeys(json: string): string[] {
    interface Open {
        readonly keys?: Set<string>;
        key: string;
    }
    const stack: Open[] = [];
    const repeated: string[] = [];
    let last = "";
    for (const [token] of json.matchAll(TOKEN)) {
        const open = stack.at(-1);
        if (token === "{") stack.push({ keys: new Set(), key: "" });
        else if (token === "[") stack.push({ key: "[]" });
        else if (token === "}" || token === "]") stack.pop();
        else if (token === ":" && open?.keys) {
            open.key = JSON.parse(last) as string;
            if (open.keys.has(open.key)) repeated.push(stack.map(({ key }) => key).join("."));
            open.keys.add(open.key);
        }
        last = token;
    }
    return repeated;
}

const MOST = 5;

/**
 * @returns the value; numbers that JavaScript can't hold as they are written are InexactNumber
 * @throws Error when it is no JSON, or an object has a key twice
 */
export function parseExact(json: string): unknown {
    const value: unknown = JSON.parse(json, (_key, parsed: unknown, context?: { readonly source?: string }) =>
        typeof parsed === "number" && context?.source !== undefined && String(parsed) !== context.source
            ? new InexactNumber(context.source)
            : parsed,
    );
    const repeated = repeatedKeys(json);
    if (repeated.length > 0)
        throw new Error(
            `has ${repeated
                .slice(0, MOST)
                .map((key) => JSON.stringify(key))
                .join(
                    ", ",
                )}${repeated.length > MOST ? ` and ${repeated.length - MOST} more` : ""} twice, and only the last of them would count`,
        );
    return value;
}

/** Whether a number is the same whole number in JavaScript, in JSON and in the database. */
export const isExact = (value: unknown): value is number => Number.isSafeInteger(value) && !Object.is(value, -0);
