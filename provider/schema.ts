/** The package's schema, from what its kinds say of themselves. Pure. */
import type { AnyKind, Described, PropertySchema } from "./kind.ts";

const ANY = { $ref: "pulumi.json#/Any" };

function property({ type, secret, description }: PropertySchema): object {
    const shape = type === "object" ? ANY : type === "array" ? { type, items: ANY } : { type };
    return { ...shape, ...(description ? { description } : {}), ...(secret ? { secret } : {}) };
}

const properties = (described: Described) =>
    Object.fromEntries(Object.entries(described).map(([name, one]) => [name, property(one)]));

const required = (described: Described) =>
    Object.entries(described).flatMap(([name, { optional }]) => (optional ? [] : [name]));

const PACKAGE = "citus-clusters";

export function schemaOf(version: string, kinds: readonly AnyKind[]): string {
    return JSON.stringify({
        name: PACKAGE,
        version,
        description: "Citus clusters as code",
        resources: Object.fromEntries(
            kinds.map(({ type, description, inputs, outputs }) => [
                type,
                {
                    description,
                    inputProperties: properties(inputs),
                    requiredInputs: required(inputs),
                    properties: properties({ ...inputs, ...outputs }),
                    required: required({ ...inputs, ...outputs }),
                },
            ]),
        ),
    });
}
