/** What a statement makes, what it changes, and whether it reaches beyond a schema: PostgreSQL's parse tree in these words. */
import type { Node, ObjectType, RangeVar } from "libpg-query";
import { constantOf, lastOf, nodesIn, texts } from "./ast.ts";

/** Objects of one sort share their names. */
export type Sort = "relation" | "type" | "function" | "other";

export interface Target {
    readonly sort: Sort;
    readonly schema?: string;
    readonly name: string;
    /** Byte of the file. */
    readonly at?: number;
}

/** How far a statement reaches: out of a schema, or out of a database. */
export interface Reach {
    readonly out: "schema" | "database";
    readonly what: string;
    readonly instead: string;
}

export interface Acts {
    readonly makes: readonly Target[];
    readonly changes: readonly Target[];
    /** Schemas that it names as such. */
    readonly schemas: readonly string[];
    readonly drops: readonly Target[];
    readonly reach?: Reach;
}

const NAMES: Readonly<Record<string, Sort>> = {
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
const PARTS: readonly string[] = [
    "OBJECT_COLUMN",
    "OBJECT_TRIGGER",
    "OBJECT_RULE",
    "OBJECT_POLICY",
    "OBJECT_TABCONSTRAINT",
    "OBJECT_DOMCONSTRAINT",
    "OBJECT_ATTRIBUTE",
];

const target = (sort: Sort, names: readonly string[], at?: number): Target[] => {
    const name = names.at(-1);
    const schema = names.at(-2);
    if (name === undefined || name === "") return [];
    return [{ sort, name, ...(schema === undefined ? {} : { schema }), ...(at === undefined ? {} : { at }) }];
};

const relation = (of: RangeVar | undefined): Target[] =>
    of === undefined
        ? []
        : target(
              "relation",
              [...(of.schemaname ? [of.schemaname] : of.relpersistence === "t" ? ["pg_temp"] : []), of.relname ?? ""],
              of.location,
          );

const relations = (nodes: readonly Node[] | undefined) =>
    (nodes ?? []).flatMap((node) => ("RangeVar" in node ? relation(node.RangeVar) : []));

/** The parts of an object's name, however the parser wraps them. */
function partsOf(object: Node): string[] {
    if ("List" in object) return texts(object.List.items);
    if ("TypeName" in object) return texts(object.TypeName.names);
    if ("ObjectWithArgs" in object) return texts(object.ObjectWithArgs.objname);
    if ("String" in object) return [object.String.sval ?? ""];
    return [];
}

/** Objects of kinds that are in a schema; undefined for a kind that is in none. */
function named(type: ObjectType | string | undefined, objects: readonly Node[]): Target[] | undefined {
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

const EXTENSION: Reach = {
    out: "schema",
    what: "an extension is the whole database's",
    instead: "put CREATE EXTENSION ... SCHEMA public into a file of citus:postDeploy, which is run before the groups",
};
const SCHEMA: Reach = {
    out: "schema",
    what: "schemas are made and dropped by this project, one for each tenant",
    instead: "take it out. The file is run in the tenant's schema",
};
const PATH: Reach = {
    out: "schema",
    what: "it changes where the names that follow are looked for",
    instead: "take it out. Files are run with the tenant's schema, then public, as search_path",
};
const SWITCH: Reach = {
    out: "database",
    what: "it changes who runs what follows, or switches off what guards it",
    instead: "take it out",
};
const ROLES: Reach = {
    out: "database",
    what: "roles are the whole cluster's",
    instead: "put it into a file of citus:postDeploy",
};
const SERVER: Reach = {
    out: "database",
    what: "it is about the server or the whole cluster",
    instead: "put it into a file of citus:postDeploy, or take it out",
};
const FILES: Reach = {
    out: "database",
    what: "it reads or writes files of the server, or runs a program there",
    instead: "write INSERT",
};
const DATABASE: Reach = {
    out: "schema",
    what: "it is about the whole database",
    instead: "put it into a file of citus:postDeploy",
};
const AWAY: Reach = {
    out: "schema",
    what: "it moves an object out of the tenant's schema",
    instead: "take it out",
};

const REACHES: Readonly<Record<string, Reach>> = {
    CreateExtensionStmt: EXTENSION,
    AlterExtensionStmt: EXTENSION,
    AlterExtensionContentsStmt: EXTENSION,
    CreateSchemaStmt: SCHEMA,
    CreateRoleStmt: ROLES,
    AlterRoleStmt: ROLES,
    AlterRoleSetStmt: ROLES,
    DropRoleStmt: ROLES,
    GrantRoleStmt: ROLES,
    ReassignOwnedStmt: ROLES,
    DropOwnedStmt: ROLES,
    AlterDefaultPrivilegesStmt: DATABASE,
    CreatedbStmt: SERVER,
    DropdbStmt: SERVER,
    AlterDatabaseStmt: SERVER,
    AlterDatabaseSetStmt: SERVER,
    AlterDatabaseRefreshCollStmt: SERVER,
    CreateTableSpaceStmt: SERVER,
    DropTableSpaceStmt: SERVER,
    AlterTableSpaceOptionsStmt: SERVER,
    AlterTableMoveAllStmt: SERVER,
    AlterSystemStmt: SERVER,
    LoadStmt: SERVER,
    CheckPointStmt: SERVER,
    CreateSubscriptionStmt: SERVER,
    AlterSubscriptionStmt: SERVER,
    DropSubscriptionStmt: SERVER,
    CreatePublicationStmt: DATABASE,
    AlterPublicationStmt: DATABASE,
    CreateFdwStmt: DATABASE,
    AlterFdwStmt: DATABASE,
    CreateForeignServerStmt: DATABASE,
    AlterForeignServerStmt: DATABASE,
    CreateUserMappingStmt: DATABASE,
    AlterUserMappingStmt: DATABASE,
    DropUserMappingStmt: DATABASE,
    CreateForeignTableStmt: DATABASE,
    ImportForeignSchemaStmt: DATABASE,
    CreateEventTrigStmt: SWITCH,
    AlterEventTrigStmt: SWITCH,
    CreateAmStmt: DATABASE,
    CreateCastStmt: DATABASE,
    CreatePLangStmt: DATABASE,
    CreateTransformStmt: DATABASE,
    AlterObjectSchemaStmt: AWAY,
};

/** Settings that decide where names are looked for, as whom statements run, and what guards them. */
const GUARDED = /^(search_path|role|session_authorization|session_replication_role|event_triggers|citus_as_code\..*)$/;

const pathOrSwitch = (setting: string): Reach => (setting === "search_path" ? PATH : SWITCH);

/** Functions of Citus and PostgreSQL that act on other tables, other sessions or the cluster. */
const FAR =
    /^(create_(distributed|reference)_table|create_distributed_table_concurrently|undistribute_table|alter_distributed_table|alter_table_set_access_method|update_distributed_table_colocation|citus_(schema_(un)?distribute|schema_move|add_.*|remove_.*|drain_node|disable_node|activate_node|update_node|set_.*|move_shard_placement|copy_shard_placement|split_.*|rebalance_.*|cleanup_.*|create_restore_point|internal_.*|drop_.*|add_local_table_to_metadata)|isolate_tenant_to_new_shard|master_.*|rebalance_table_shards|replicate_.*|run_command_on_.*|start_metadata_sync_.*|stop_metadata_sync_.*|dblink(_.*)?|lo_(import|export)|pg_(terminate|cancel)_backend|pg_(read|write)_.*file|pg_file_.*|pg_reload_conf|pg_ls_.*|adminpack_.*)$/;

function settingIn(call: Record<string, unknown>): string | undefined {
    const [first] = (call.args as Node[] | undefined) ?? [];
    return constantOf(first)?.toLowerCase();
}

/** What the expressions of a statement call, and the rows that it writes at any depth. */
function inside(stmt: Node): { changes: Target[]; reach?: Reach } {
    const changes: Target[] = [];
    let reach: Reach | undefined;
    for (const [tag, node] of nodesIn(stmt)) {
        if (["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"].includes(tag))
            changes.push(...relation(node.relation as RangeVar | undefined));
        else if (tag === "FuncCall") {
            const called = lastOf(node.funcname as Node[] | undefined);
            const setting = called === "set_config" ? settingIn(node) : undefined;
            if (setting !== undefined && GUARDED.test(setting)) reach ??= pathOrSwitch(setting);
            if (FAR.test(called))
                reach ??= {
                    out: "schema",
                    what: `${called}() acts on other tables or on the cluster`,
                    instead: "call it in a file of citus:postDeploy",
                };
            if (called === "setval") {
                const named = constantOf(((node.args as Node[] | undefined) ?? [])[0]);
                if (named !== undefined) changes.push(...target("relation", named.replaceAll('"', "").split(".")));
            }
        }
    }
    return { changes, ...(reach ? { reach } : {}) };
}

/** What a statement does beside the rows that it writes. */
function own(stmt: Node): Partial<Acts> {
    const [tag = "", body] = Object.entries(stmt)[0] ?? [];
    const reach = REACHES[tag];
    if (reach) return { reach };
    if ("CreateStmt" in stmt) {
        const { relation: table, inhRelations } = stmt.CreateStmt;
        return { makes: relation(table), changes: relations(inhRelations) };
    }
    if ("CreateTableAsStmt" in stmt) return { makes: relation(stmt.CreateTableAsStmt.into?.rel) };
    if ("SelectStmt" in stmt) return { makes: relation(stmt.SelectStmt.intoClause?.rel) };
    if ("ViewStmt" in stmt) return { makes: relation(stmt.ViewStmt.view) };
    if ("CreateSeqStmt" in stmt) return { makes: relation(stmt.CreateSeqStmt.sequence) };
    if ("CompositeTypeStmt" in stmt)
        return { makes: relation(stmt.CompositeTypeStmt.typevar).map((of) => ({ ...of, sort: "type" as const })) };
    if ("CreateEnumStmt" in stmt) return { makes: target("type", texts(stmt.CreateEnumStmt.typeName)) };
    if ("CreateRangeStmt" in stmt) return { makes: target("type", texts(stmt.CreateRangeStmt.typeName)) };
    if ("CreateDomainStmt" in stmt) return { makes: target("type", texts(stmt.CreateDomainStmt.domainname)) };
    if ("CreateFunctionStmt" in stmt) return { makes: target("function", texts(stmt.CreateFunctionStmt.funcname)) };
    if ("DefineStmt" in stmt) {
        const { kind, defnames } = stmt.DefineStmt;
        return { makes: target(NAMES[kind ?? ""] ?? "other", texts(defnames)) };
    }
    if ("CreateOpClassStmt" in stmt) return { makes: target("other", texts(stmt.CreateOpClassStmt.opclassname)) };
    if ("CreateOpFamilyStmt" in stmt) return { makes: target("other", texts(stmt.CreateOpFamilyStmt.opfamilyname)) };
    if ("CreateConversionStmt" in stmt)
        return { makes: target("other", texts(stmt.CreateConversionStmt.conversion_name)) };
    if ("IndexStmt" in stmt) {
        const on = relation(stmt.IndexStmt.relation);
        const schema = on[0]?.schema;
        const { idxname } = stmt.IndexStmt;
        return {
            makes: idxname ? target("relation", schema === undefined ? [idxname] : [schema, idxname]) : [],
            changes: on,
        };
    }
    if ("CreateStatsStmt" in stmt) {
        const { defnames, relations: of } = stmt.CreateStatsStmt;
        return { makes: target("other", texts(defnames)), changes: relations(of) };
    }
    if ("CreateTrigStmt" in stmt) return { changes: relation(stmt.CreateTrigStmt.relation) };
    if ("RuleStmt" in stmt) return { changes: relation(stmt.RuleStmt.relation) };
    if ("CreatePolicyStmt" in stmt) return { changes: relation(stmt.CreatePolicyStmt.table) };
    if ("AlterPolicyStmt" in stmt) return { changes: relation(stmt.AlterPolicyStmt.table) };
    if ("AlterTableStmt" in stmt) {
        const { relation: table, cmds, objtype } = stmt.AlterTableStmt;
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
    }
    if ("RenameStmt" in stmt) {
        const { renameType, relation: table, object, newname = "" } = stmt.RenameStmt;
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
    }
    if ("AlterOwnerStmt" in stmt) return objects(stmt.AlterOwnerStmt.objectType, stmt.AlterOwnerStmt.object);
    if ("CommentStmt" in stmt) return objects(stmt.CommentStmt.objtype, stmt.CommentStmt.object);
    if ("SecLabelStmt" in stmt) return objects(stmt.SecLabelStmt.objtype, stmt.SecLabelStmt.object);
    if ("AlterObjectDependsStmt" in stmt) {
        const { objectType, object, relation: table } = stmt.AlterObjectDependsStmt;
        return table ? { changes: relation(table) } : objects(objectType, object);
    }
    if ("AlterSeqStmt" in stmt) return { changes: relation(stmt.AlterSeqStmt.sequence) };
    if ("AlterEnumStmt" in stmt) return { changes: target("type", texts(stmt.AlterEnumStmt.typeName)) };
    if ("AlterDomainStmt" in stmt) return { changes: target("type", texts(stmt.AlterDomainStmt.typeName)) };
    if ("AlterTypeStmt" in stmt) return { changes: target("type", texts(stmt.AlterTypeStmt.typeName)) };
    if ("AlterFunctionStmt" in stmt)
        return { changes: target("function", texts(stmt.AlterFunctionStmt.func?.objname)) };
    if ("AlterStatsStmt" in stmt) return { changes: target("other", texts(stmt.AlterStatsStmt.defnames)) };
    if ("AlterOperatorStmt" in stmt)
        return { changes: target("other", texts(stmt.AlterOperatorStmt.opername?.objname)) };
    if ("AlterOpFamilyStmt" in stmt) return { changes: target("other", texts(stmt.AlterOpFamilyStmt.opfamilyname)) };
    if ("AlterCollationStmt" in stmt) return { changes: target("other", texts(stmt.AlterCollationStmt.collname)) };
    if ("AlterTSDictionaryStmt" in stmt)
        return { changes: target("other", texts(stmt.AlterTSDictionaryStmt.dictname)) };
    if ("AlterTSConfigurationStmt" in stmt)
        return { changes: target("other", texts(stmt.AlterTSConfigurationStmt.cfgname)) };
    if ("DropStmt" in stmt) {
        const { removeType, objects: of = [] } = stmt.DropStmt;
        if (removeType === "OBJECT_SCHEMA") return { reach: SCHEMA, schemas: of.flatMap(partsOf) };
        if (removeType === "OBJECT_EXTENSION") return { reach: EXTENSION };
        const found = named(removeType, of);
        if (found === undefined) return { reach: removeType === "OBJECT_EVENT_TRIGGER" ? SWITCH : DATABASE };
        return { changes: found, ...(PARTS.includes(removeType ?? "") ? {} : { drops: found }) };
    }
    if ("TruncateStmt" in stmt) return { changes: relations(stmt.TruncateStmt.relations) };
    if ("CopyStmt" in stmt) {
        const { relation: table, is_from, filename, is_program } = stmt.CopyStmt;
        if (is_program || filename !== undefined) return { reach: FILES };
        return is_from ? { changes: relation(table) } : {};
    }
    if ("GrantStmt" in stmt) {
        const { targtype, objtype, objects: of = [] } = stmt.GrantStmt;
        if (targtype === "ACL_TARGET_ALL_IN_SCHEMA" || objtype === "OBJECT_SCHEMA")
            return {
                reach: { ...SCHEMA, what: "it is about a whole schema, which it names", instead: "name the objects" },
                schemas: of.flatMap(partsOf),
            };
        const found = named(objtype, of);
        return found === undefined ? { reach: objtype === "OBJECT_DATABASE" ? SERVER : DATABASE } : { changes: found };
    }
    if ("LockStmt" in stmt) return { changes: relations(stmt.LockStmt.relations) };
    if ("ReindexStmt" in stmt) {
        const { relation: table } = stmt.ReindexStmt;
        return table ? { changes: relation(table) } : { reach: DATABASE };
    }
    if ("RefreshMatViewStmt" in stmt) return { changes: relation(stmt.RefreshMatViewStmt.relation) };
    if ("ClusterStmt" in stmt)
        return stmt.ClusterStmt.relation ? { changes: relation(stmt.ClusterStmt.relation) } : { reach: DATABASE };
    if ("VariableSetStmt" in stmt) {
        const { kind, name = "" } = stmt.VariableSetStmt;
        if (kind === "VAR_RESET_ALL") return { reach: PATH };
        return GUARDED.test(name.toLowerCase()) ? { reach: pathOrSwitch(name.toLowerCase()) } : {};
    }
    if ("DoStmt" in stmt || "CreateFunctionStmt" in stmt) return {};
    return HARMLESS.has(tag) || body === undefined
        ? {}
        : { reach: { ...SERVER, what: `${tag.replace(/Stmt$/, "")} is not known to stay in a schema` } };
}

/** Statements that change nothing by themselves; what they hold is looked at by itself. */
const HARMLESS = new Set(
    `InsertStmt UpdateStmt DeleteStmt MergeStmt CallStmt ExplainStmt PrepareStmt ExecuteStmt DeallocateStmt VariableShowStmt TransactionStmt
     ConstraintsSetStmt DeclareCursorStmt FetchStmt ClosePortalStmt DiscardStmt NotifyStmt ListenStmt UnlistenStmt VacuumStmt`.split(
        /\s+/,
    ),
);

function objects(type: ObjectType | string | undefined, object: Node | undefined): Partial<Acts> {
    if (type === "OBJECT_SCHEMA") return { reach: SCHEMA };
    const found = named(type, object ? [object] : []);
    if (found !== undefined) return { changes: found };
    return { reach: type === "OBJECT_ROLE" ? ROLES : type === "OBJECT_DATABASE" ? SERVER : DATABASE };
}

/** Words that switch off what guards a file, wherever they stand: in a DO block or a function they are text. */
const SWITCHES =
    /\b(session_replication_role|event_triggers|EVENT\s+TRIGGER|SESSION\s+AUTHORIZATION|COPY\b[^;]*\bPROGRAM)\b/i;

/** Code that the parser leaves as text. */
function codeIn(stmt: Node): string {
    const args =
        "DoStmt" in stmt ? stmt.DoStmt.args : "CreateFunctionStmt" in stmt ? stmt.CreateFunctionStmt.options : [];
    return (args ?? [])
        .flatMap((arg) => ("DefElem" in arg && arg.DefElem.defname === "as" ? [arg.DefElem.arg] : []))
        .flatMap((arg) =>
            arg && "List" in arg ? texts(arg.List.items) : arg && "String" in arg ? [arg.String.sval ?? ""] : [],
        )
        .join("\n");
}

/** Pure. */
export function actsOf(stmt: Node): Acts {
    const mine = own(stmt);
    const within = inside(stmt);
    const hidden = SWITCHES.exec(codeIn(stmt))?.[0];
    const reach =
        mine.reach ?? within.reach ?? (hidden === undefined ? undefined : { ...SWITCH, what: `it has ${hidden}` });
    return {
        makes: mine.makes ?? [],
        changes: [...(mine.changes ?? []), ...within.changes],
        schemas: mine.schemas ?? [],
        drops: mine.drops ?? [],
        ...(reach ? { reach } : {}),
    };
}
