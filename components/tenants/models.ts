/** Which facets each model has, in the order in which they are planned and run. */
import { change } from "../citus/tenants/change.ts";
import { databases } from "../citus/tenants/databases.ts";
import { isolation } from "../citus/tenants/isolation.ts";
import { map } from "../citus/tenants/map.ts";
import { migrations } from "../citus/tenants/migrations.ts";
import { onboarding } from "../citus/tenants/onboarding.ts";
import { pinsFacet } from "../citus/tenants/pins.ts";
import { policies } from "../citus/tenants/policies.ts";
import { pool } from "../citus/tenants/pool.ts";
import { reader } from "../citus/tenants/reader.ts";
import { removal } from "../citus/tenants/removal.ts";
import { roles } from "../citus/tenants/roles.ts";
import { routed } from "../citus/tenants/routed.ts";
import { rows } from "../citus/tenants/rows.ts";
import { schemas } from "../citus/tenants/schemas.ts";
import { signIn } from "../citus/tenants/signIn.ts";
import { state } from "../citus/tenants/state.ts";
import { tables } from "../citus/tenants/tables.ts";
import type { Facet } from "./facet.ts";
import type { Model } from "./spec.ts";

// biome-ignore lint/suspicious/noExplicitAny: each facet has its own kind of finding
type AnyFacet = Facet<any>;

export const FACETS: Readonly<Record<Model, readonly AnyFacet[]>> = {
    rls: [migrations, tables, policies, roles, rows, isolation, change, removal, signIn, reader, pool, map, onboarding],
    row: [
        migrations,
        tables,
        policies,
        roles,
        rows,
        isolation,
        pinsFacet,
        change,
        removal,
        signIn,
        reader,
        pool,
        map,
        onboarding,
    ],
    schema: [roles, schemas, migrations, state, isolation, pinsFacet, change, removal, reader, pool, map, onboarding],
    database: [roles, databases, migrations, state, isolation, change, removal, pool, map],
    routed: [routed, map],
};
