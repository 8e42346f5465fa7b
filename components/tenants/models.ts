/** Which facets each model has, in the order in which they are planned and run. */
import { databases } from "../citus/tenants/databases.ts";
import { map } from "../citus/tenants/map.ts";
import { migrations } from "../citus/tenants/migrations.ts";
import { pinsFacet } from "../citus/tenants/pins.ts";
import { roles } from "../citus/tenants/roles.ts";
import { routed } from "../citus/tenants/routed.ts";
import { schemas } from "../citus/tenants/schemas.ts";
import { state } from "../citus/tenants/state.ts";
import type { Model } from "./args.ts";
import type { Facet } from "./facet.ts";

// biome-ignore lint/suspicious/noExplicitAny: each facet has its own kind of finding
type AnyFacet = Facet<any>;

export const FACETS: Readonly<Record<Model, readonly AnyFacet[]>> = {
    rls: [migrations, roles, map],
    row: [migrations, roles, pinsFacet, map],
    schema: [roles, schemas, migrations, state, pinsFacet, map],
    database: [roles, databases, migrations, state, map],
    routed: [routed, map],
};
