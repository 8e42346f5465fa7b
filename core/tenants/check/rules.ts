/** Every rule, in the order in which findings are shown when they stand in one line. */
import type { Rule } from "./read/finding.ts";
import {
    computedColumn,
    loseKey,
    narrowSequences,
    noTenant,
    poorTypes,
    typesApart,
    undeclared,
} from "./rules/columns.ts";
import { foreignKeyActions, foreignKeysApart } from "./rules/foreignKeys.ts";
import { keysOverTenants, keysWithoutColumn, noIdentity } from "./rules/keys.ts";
import { poorKeys, rewrites } from "./rules/later.ts";
import { copiesApart, rowSecurity } from "./rules/silent.ts";
import { notReplicated, refusedChanges, rewriteRules, triggers, unlogged } from "./rules/tables.ts";

export const RULES: readonly Rule[] = [
    keysWithoutColumn,
    foreignKeysApart,
    foreignKeyActions,
    noIdentity,
    unlogged,
    notReplicated,
    typesApart,
    computedColumn,
    triggers,
    narrowSequences,
    refusedChanges,
    copiesApart,
    rowSecurity,
    loseKey,
    rewriteRules,
    poorTypes,
    noTenant,
    undeclared,
    rewrites,
    poorKeys,
    keysOverTenants,
];
