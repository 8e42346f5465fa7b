/** What a statement does beside the rows that it writes, by its kind. */

import type { Node, ObjectType } from "libpg-query";
import { texts } from "./ast.ts";
import {
    DATABASE,
    EXTENSION,
    FILES,
    GUARDED,
    PATH,
    pathOrSwitch,
    type Reach,
    ROLES,
    SCHEMA,
    SERVER,
    SWITCH,
} from "./reaches.ts";
import { NAMES, named, PARTS, partsOf, relation, relations, type Target, target } from "./targetNames.ts";

export interface Acts {
    readonly makes: readonly Target[];
    readonly changes: readonly Target[];
    /** Schemas that it names as such. */
    readonly schemas: readonly string[];
    readonly drops: readonly Target[];
    readonly reach?: Reach;
}

export type Statement = {
    [Tag in Node extends infer N ? (N extends N ? keyof N : never) : never]: Extract<Node, Record<Tag, unknown>>[Tag];
};

/** What a statement does beside the rows that it writes, by its kind. */
export const ACTS: { readonly [Tag in keyof Statement]?: (stmt: Statement[Tag]) => Partial<Acts> } = {
    CreateStmt: (stmt) => {
        const { relation: table, inhRelations } = stmt;
        return { makes: relation(table), changes: relations(inhRelations) };
    },
    CreateTableAsStmt: (stmt) => ({ makes: relation(stmt.into?.rel) }),
    SelectStmt: (stmt) => ({ makes: relation(stmt.intoClause?.rel) }),
    ViewStmt: (stmt) => ({ makes: relation(stmt.view) }),
    CreateSeqStmt: (stmt) => ({ makes: relation(stmt.sequence) }),
    CompositeTypeStmt: (stmt) => ({ makes: relation(stmt.typevar).map((of) => ({ ...of, sort: "type" as const })) }),
    CreateEnumStmt: (stmt) => ({ makes: target("type", texts(stmt.typeName)) }),
    CreateRangeStmt: (stmt) => ({ makes: target("type", texts(stmt.typeName)) }),
    CreateDomainStmt: (stmt) => ({ makes: target("type", texts(stmt.domainname)) }),
    CreateFunctionStmt: (stmt) => ({ makes: target("function", texts(stmt.funcname)) }),
    DefineStmt: (stmt) => {
        const { kind, defnames } = stmt;
        return { makes: target(NAMES[kind ?? ""] ?? "other", texts(defnames)) };
    },
    CreateOpClassStmt: (stmt) => ({ makes: target("other", texts(stmt.opclassname)) }),
    CreateOpFamilyStmt: (stmt) => ({ makes: target("other", texts(stmt.opfamilyname)) }),
    CreateConversionStmt: (stmt) => ({ makes: target("other", texts(stmt.conversion_name)) }),
    IndexStmt: (stmt) => {
        const on = relation(stmt.relation);
        const schema = on[0]?.schema;
        const { idxname } = stmt;
        return {
            makes: idxname ? target("relation", schema === undefined ? [idxname] : [schema, idxname]) : [],
            changes: on,
        };
    },
    CreateStatsStmt: (stmt) => {
        const { defnames, relations: of } = stmt;
        return { makes: target("other", texts(defnames)), changes: relations(of) };
    },
    CreateTrigStmt: (stmt) => ({ changes: relation(stmt.relation) }),
    RuleStmt: (stmt) => ({ changes: relation(stmt.relation) }),
    CreatePolicyStmt: (stmt) => ({ changes: relation(stmt.table) }),
    AlterPolicyStmt: (stmt) => ({ changes: relation(stmt.table) }),
    AlterTableStmt: (stmt) => {
        const { relation: table, cmds, objtype } = stmt;
        const others = (cmds ?? []).flatMap((node) => {
            const def = "AlterTableCmd" in node ? node.AlterTableCmd.def : undefined;
            if (def && "PartitionCmd" in def) return relation(def.PartitionCmd.name);
            return def && "RangeVar" in def ? relation(def.RangeVar) : [];
        });
        const first = relation(table);
        return {
            changes: [
                ...(objtype === "OBJECT_TYPE" ? first.map((of) => ({ ...of, sort: "type" as const })) : first),
                ...others,
            ],
        };
    },
    RenameStmt: (stmt) => {
        const { renameType, relation: table, object, newname = "" } = stmt;
        if (renameType === "OBJECT_SCHEMA") return { reach: SCHEMA };
        const of =
            table && renameType !== "OBJECT_ATTRIBUTE"
                ? relation(table)
                : named(renameType, object ? [object] : table ? [{ RangeVar: table }] : []);
        if (of === undefined) return { reach: renameType === "OBJECT_ROLE" ? ROLES : DATABASE };
        const whole = !PARTS.includes(renameType ?? "");
        return {
            changes: of,
            ...(whole ? { drops: of, makes: of.map(({ at: _, ...one }) => ({ ...one, name: newname })) } : {}),
        };
    },
    AlterOwnerStmt: (stmt) => objects(stmt.objectType, stmt.object),
    CommentStmt: (stmt) => objects(stmt.objtype, stmt.object),
    SecLabelStmt: (stmt) => objects(stmt.objtype, stmt.object),
    AlterObjectDependsStmt: (stmt) => {
        const { objectType, object, relation: table } = stmt;
        return table ? { changes: relation(table) } : objects(objectType, object);
    },
    AlterSeqStmt: (stmt) => ({ changes: relation(stmt.sequence) }),
    AlterEnumStmt: (stmt) => ({ changes: target("type", texts(stmt.typeName)) }),
    AlterDomainStmt: (stmt) => ({ changes: target("type", texts(stmt.typeName)) }),
    AlterTypeStmt: (stmt) => ({ changes: target("type", texts(stmt.typeName)) }),
    AlterFunctionStmt: (stmt) => ({ changes: target("function", texts(stmt.func?.objname)) }),
    AlterStatsStmt: (stmt) => ({ changes: target("other", texts(stmt.defnames)) }),
    AlterOperatorStmt: (stmt) => ({ changes: target("other", texts(stmt.opername?.objname)) }),
    AlterOpFamilyStmt: (stmt) => ({ changes: target("other", texts(stmt.opfamilyname)) }),
    AlterCollationStmt: (stmt) => ({ changes: target("other", texts(stmt.collname)) }),
    AlterTSDictionaryStmt: (stmt) => ({ changes: target("other", texts(stmt.dictname)) }),
    AlterTSConfigurationStmt: (stmt) => ({ changes: target("other", texts(stmt.cfgname)) }),
    DropStmt: (stmt) => {
        const { removeType, objects: of = [] } = stmt;
        if (removeType === "OBJECT_SCHEMA") return { reach: SCHEMA, schemas: of.flatMap(partsOf) };
        if (removeType === "OBJECT_EXTENSION") return { reach: EXTENSION };
        const found = named(removeType, of);
        if (found === undefined) return { reach: removeType === "OBJECT_EVENT_TRIGGER" ? SWITCH : DATABASE };
        return { changes: found, ...(PARTS.includes(removeType ?? "") ? {} : { drops: found }) };
    },
    TruncateStmt: (stmt) => ({ changes: relations(stmt.relations) }),
    CopyStmt: (stmt) => {
        const { relation: table, is_from, filename, is_program } = stmt;
        if (is_program || filename !== undefined) return { reach: FILES };
        return is_from ? { changes: relation(table) } : {};
    },
    GrantStmt: (stmt) => {
        const { targtype, objtype, objects: of = [] } = stmt;
        if (targtype === "ACL_TARGET_ALL_IN_SCHEMA" || objtype === "OBJECT_SCHEMA")
            return {
                reach: { ...SCHEMA, what: "it is about a whole schema, which it names", instead: "name the objects" },
                schemas: of.flatMap(partsOf),
            };
        const found = named(objtype, of);
        return found === undefined ? { reach: objtype === "OBJECT_DATABASE" ? SERVER : DATABASE } : { changes: found };
    },
    LockStmt: (stmt) => ({ changes: relations(stmt.relations) }),
    ReindexStmt: (stmt) => {
        const { relation: table } = stmt;
        return table ? { changes: relation(table) } : { reach: DATABASE };
    },
    RefreshMatViewStmt: (stmt) => ({ changes: relation(stmt.relation) }),
    ClusterStmt: (stmt) => (stmt.relation ? { changes: relation(stmt.relation) } : { reach: DATABASE }),
    VariableSetStmt: (stmt) => {
        const { kind, name = "" } = stmt;
        if (kind === "VAR_RESET_ALL") return { reach: PATH };
        return GUARDED.test(name.toLowerCase()) ? { reach: pathOrSwitch(name.toLowerCase()) } : {};
    },
};

export function objects(type: ObjectType | string | undefined, object: Node | undefined): Partial<Acts> {
    if (type === "OBJECT_SCHEMA") return { reach: SCHEMA };
    const found = named(type, object ? [object] : []);
    if (found !== undefined) return { changes: found };
    return { reach: type === "OBJECT_ROLE" ? ROLES : type === "OBJECT_DATABASE" ? SERVER : DATABASE };
}
