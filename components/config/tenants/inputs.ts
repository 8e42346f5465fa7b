/** Settings of which some are known only while Pulumi runs. */
import * as pulumi from "@pulumi/pulumi";

/** A shape of which each part may be an output of another resource. */
export type Inputs<T> = pulumi.Input<
    T extends string | number | boolean | null | undefined ? T : { readonly [K in keyof T]: Inputs<T[K]> }
>;

/** Whether it is known only while Pulumi runs. */
export const isLater = (value: unknown) => pulumi.Output.isInstance(value) || value instanceof Promise;

/** Whether all of it is known now. */
export function isPlain<T>(value: Inputs<T>): value is T & Inputs<T> {
    if (isLater(value)) return false;
    if (typeof value !== "object" || value === null) return true;
    return Object.values(value).every((part) => isPlain(part as Inputs<unknown>));
}
