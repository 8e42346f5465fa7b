/** Which facets each model has, in the order in which they are planned and run. */
import { change } from "./change/change.ts";
import { databases } from "./databases/databases.ts";
import { migrations } from "./files/migrations.ts";
import type { Facet } from "./group/facet.ts";
import type { Model } from "./group/spec.ts";
import { isolation } from "./isolation/isolation.ts";
import { map } from "./map/map.ts";
import { pool } from "./map/pool.ts";
import { routed } from "./map/routed.ts";
import { signIn } from "./map/signIn.ts";
import { onboarding } from "./onboarding/onboarding.ts";
import { pinsFacet } from "./pins/pins.ts";
import { removal } from "./removal/removal.ts";
import { reader } from "./roles/reader.ts";
import { roles } from "./roles/roles.ts";
import { policies } from "./rows/policies.ts";
import { rows } from "./rows/rows.ts";
import { schemas } from "./schemas/schemas.ts";
import { state } from "./state/state.ts";
import { tables } from "./tables/tables.ts";

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
