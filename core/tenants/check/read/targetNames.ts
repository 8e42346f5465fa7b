/** The objects that a statement names. */

import type { Node, ObjectType, RangeVar } from "libpg-query";
import { texts } from "./ast.ts";

/** Objects of one sort share their names. */
export type Sort = "relation" | "type" | "function" | "other";

export interface Target {
    readonly sort: Sort;
    readonly schema?: string;
    readonly name: string;
    /** Byte of the file. */
    readonly at?: number;
}

export const NAMES: Readonly<Record<string, Sort>> = {
    OBJECT_TYPE: "type",
    OBJECT_DOMAIN: "type",
    OBJECT_DOMCONSTRAINT: "type",
    OBJECT_ATTRIBUTE: "type",
    OBJECT_FUNCTION: "function",
    OBJECT_PROCEDURE: "function",
    OBJECT_ROUTINE: "function",
    OBJECT_AGGREGATE: "function",
    OBJECT_TABLE: "relation",
    OBJECT_VIEW: "relation",
    OBJECT_MATVIEW: "relation",
    OBJECT_SEQUENCE: "relation",
    OBJECT_INDEX: "relation",
    OBJECT_FOREIGN_TABLE: "relation",
    OBJECT_COLUMN: "relation",
    OBJECT_TRIGGER: "relation",
    OBJECT_RULE: "relation",
    OBJECT_POLICY: "relation",
    OBJECT_TABCONSTRAINT: "relation",
    OBJECT_COLLATION: "other",
    OBJECT_CONVERSION: "other",
    OBJECT_OPERATOR: "other",
    OBJECT_OPCLASS: "other",
    OBJECT_OPFAMILY: "other",
    OBJECT_STATISTIC_EXT: "other",
    OBJECT_TSCONFIGURATION: "other",
    OBJECT_TSDICTIONARY: "other",
    OBJECT_TSPARSER: "other",
    OBJECT_TSTEMPLATE: "other",
};

/** Their last part is not the object that has a schema, but one of it. */
export const PARTS: readonly string[] = [
    "OBJECT_COLUMN",
    "OBJECT_TRIGGER",
    "OBJECT_RULE",
    "OBJECT_POLICY",
    "OBJECT_TABCONSTRAINT",
    "OBJECT_DOMCONSTRAINT",
    "OBJECT_ATTRIBUTE",
];

export const target = (sort: Sort, names: readonly string[], at?: number): Target[] => {
    const name = names.at(-1);
    const schema = names.at(-2);
    if (name === undefined || name === "") return [];
    return [{ sort, name, ...(schema === undefined ? {} : { schema }), ...(at === undefined ? {} : { at }) }];
};

export const relation = (of: RangeVar | undefined): Target[] =>
    of === undefined
        ? []
        : target(
              "relation",
              [...(of.schemaname ? [of.schemaname] : of.relpersistence === "t" ? ["pg_temp"] : []), of.relname ?? ""],
              of.location,
          );

export const relations = (nodes: readonly Node[] | undefined) =>
    (nodes ?? []).flatMap((node) => ("RangeVar" in node ? relation(node.RangeVar) : []));

/** The parts of an object's name, however the parser wraps them. */
export function partsOf(object: Node): string[] {
    if ("List" in object) return texts(object.List.items);
    if ("TypeName" in object) return texts(object.TypeName.names);
    if ("ObjectWithArgs" in object) return texts(object.ObjectWithArgs.objname);
    if ("String" in object) return [object.String.sval ?? ""];
    return [];
}

/** Objects of kinds that are in a schema; undefined for a kind that is in none. */
export function named(type: ObjectType | string | undefined, objects: readonly Node[]): Target[] | undefined {
    const sort = NAMES[type ?? ""];
    if (sort === undefined) return undefined;
    return objects.flatMap((object) => {
        if ("RangeVar" in object) return relation(object.RangeVar);
        // an operator class is named after its access method; a constraint of a domain after the domain
        const parts = partsOf(object);
        if (type === "OBJECT_OPCLASS" || type === "OBJECT_OPFAMILY") return target(sort, parts.slice(1));
        if (type === "OBJECT_DOMCONSTRAINT" && "List" in object) {
            const [domain] = object.List.items ?? [];
            return domain ? target(sort, partsOf(domain)) : [];
        }
        return target(sort, PARTS.includes(type ?? "") ? parts.slice(0, -1) : parts);
    });
}
