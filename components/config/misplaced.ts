/** Keys that are set and mean something on another platform only. */

import { record } from "../../core/util/fields.ts";
import type { Mistake } from "../../core/util/mistakes.ts";
import { shown } from "../../core/util/shown.ts";
import { ALL_KEYS, ROWS } from "./derived.ts";
import type { Key } from "./keys.ts";
import type { PlatformName } from "./platforms.ts";
import type { Only } from "./row.ts";

/** What Pulumi.yaml declares as a default is empty, and means that it is not set. */
const isEmpty = (value: unknown) => value === undefined || ["", "{}", "[]", '""'].includes(JSON.stringify(value));

const misplaced = (path: string, value: unknown, { platform, why }: Only): Mistake => ({
    path,
    message: `only means something on ${platform}, got ${shown(value)}: ${why} - take it away${platform === "aws" ? ", or set citus:platform to aws" : ""}`,
});

/**
 * Takes what belongs to another platform out, each with a mistake, so that nothing else is said of it.
 * @param given each key that is set
 */
export function onThisPlatform(
    given: Readonly<Partial<Record<Key, unknown>>>,
    platform: PlatformName,
): { kept: Partial<Record<Key, unknown>>; mistakes: Mistake[] } {
    const elsewhere = (only: Only | undefined): only is Only => only !== undefined && only.platform !== platform;
    const mistakes: Mistake[] = [];
    const kept: Partial<Record<Key, unknown>> = { ...given };
    for (const key of ALL_KEYS) {
        const { onlyOn, parts = {} } = ROWS[key];
        if (elsewhere(onlyOn)) {
            if (!isEmpty(given[key])) mistakes.push(misplaced(key, given[key], onlyOn));
            delete kept[key];
            continue;
        }
        const inside = Object.entries(record(given[key]));
        const own = inside.filter(([part, value]) => {
            const only = Object.hasOwn(parts, part) ? parts[part]?.onlyOn : undefined;
            if (!elsewhere(only)) return true;
            mistakes.push(misplaced(`${key}.${part}`, value, only));
            return false;
        });
        if (own.length < inside.length) kept[key] = Object.fromEntries(own);
    }
    return { kept, mistakes };
}
