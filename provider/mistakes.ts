/** What is wrong with inputs by their kind's own properties, before anything is asked. Pure. */
import type { CheckFailure, Described, PropertySchema } from "./kind.ts";
import { unknown } from "./unknown.ts";

const shown = (value: unknown) =>
    value === undefined || value === null ? "nothing" : (JSON.stringify(value) ?? String(value));

/** Where a type has an article, words for a person. */
const WORDS: Readonly<Record<PropertySchema["type"], string>> = {
    string: "a text",
    integer: "a whole number",
    number: "a number",
    boolean: "true or false",
    array: "a list",
    object: "an object",
};

function fits(type: PropertySchema["type"], value: unknown): boolean {
    switch (type) {
        case "integer":
            return Number.isInteger(value);
        case "array":
            return Array.isArray(value);
        case "object":
            return typeof value === "object" && value !== null && !Array.isArray(value);
        default:
            return typeof value === type;
    }
}

/**
 * Every property that is missing, of another type, or not one of the kind's.
 * @param isSecret whether a property's value is not to be shown
 */
export function typeMistakes(
    properties: Described,
    inputs: Readonly<Record<string, unknown>>,
    isSecret: (property: string) => boolean,
): CheckFailure[] {
    const wrong = Object.entries(properties).flatMap(([property, { type, optional, secret }]): CheckFailure[] => {
        const value = inputs[property];
        if (optional && (value === undefined || value === null)) return [];
        if (unknown(value) || fits(type, value)) return [];
        const got = secret || isSecret(property) ? "" : `got ${shown(value)} - `;
        return [{ property, reason: `${got}allowed: ${WORDS[type]}` }];
    });
    const others = Object.keys(inputs).flatMap((property): CheckFailure[] =>
        property in properties || property.startsWith("__")
            ? []
            : [{ property, reason: `there is no such property - allowed: ${Object.keys(properties).join(", ")}` }],
    );
    return [...wrong, ...others];
}
