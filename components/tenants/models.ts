/** Which facets each model has, in the order in which they are planned and run. */
import { change } from "../citus/tenants/change.ts";
import type { Model } from "./args.ts";
import type { Facet } from "./facet.ts";

// biome-ignore lint/suspicious/noExplicitAny: each facet has its own kind of finding
type AnyFacet = Facet<any>;

export const FACETS: Readonly<Record<Model, readonly AnyFacet[]>> = {
    rls: [],
    row: [change],
    schema: [change],
    database: [change],
    routed: [],
};
