/** Secrets on the wire: the SDK's server says that it takes them, and hands the engine's envelopes on as they are. Pure. */
import type { Described } from "./kind.ts";

/** How the engine marks an envelope, on the wire and in a state. */
export const SIGNATURE = "4dabf18193072939515e22adb298388d";
/** What the mark says of a secret. */
const SECRET = "1b47061264138c4ac30d75fd1eb44270";

type Values = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Values =>
    value !== null && typeof value === "object" && !Array.isArray(value);

const isSecret = (value: unknown): value is { readonly value: unknown } =>
    isObject(value) && value[SIGNATURE] === SECRET;

const envelope = (value: unknown) => ({ [SIGNATURE]: SECRET, value });

/** The values themselves. */
export function opened<T>(value: T): T {
    if (isSecret(value)) return opened(value.value) as T;
    if (Array.isArray(value)) return value.map(opened) as T;
    if (!isObject(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, opened(inner)])) as T;
}

/** Whether it is one, or has one inside. */
export const holdsSecret = (value: unknown): boolean =>
    isSecret(value) ||
    (Array.isArray(value) && value.some(holdsSecret)) ||
    (isObject(value) && Object.values(value).some(holdsSecret));

/**
 * What is answered, with what came in as a secret closed again under the same name, as the engine does for a provider that
 * takes none. A list with a secret in it is closed as a whole: its order may be another one.
 */
export function closed(answer: unknown, asked: unknown): unknown {
    if (answer === undefined || isSecret(answer) || !holdsSecret(asked)) return answer;
    if (isObject(answer) && isObject(asked) && !isSecret(asked))
        return Object.fromEntries(Object.entries(answer).map(([key, inner]) => [key, closed(inner, asked[key])]));
    return envelope(answer);
}

/** What an import found: nothing came in as a secret, so the kind says what is one. */
export function closedByKind(answer: object, properties: Described): object {
    return Object.fromEntries(
        Object.entries(answer).map(([key, value]) => [key, properties[key]?.secret ? envelope(value) : value]),
    );
}
