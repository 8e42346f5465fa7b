/** What a statement makes, what it changes, and whether it reaches beyond a schema: PostgreSQL's parse tree in these words. */
import type { Node, RangeVar } from "libpg-query";
import { constantOf, lastOf, nodesIn, texts } from "./ast.ts";
import { GUARDED, pathOrSwitch, REACHES, type Reach, SERVER, SWITCH } from "./reaches.ts";
import { ACTS, type Acts, type Statement } from "./statementActs.ts";
import { relation, type Target, target } from "./targetNames.ts";

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
    const acts = ACTS[tag as keyof Statement] as ((stmt: unknown) => Partial<Acts>) | undefined;
    if (acts) return acts(body);
    return HARMLESS.has(tag) || tag === "DoStmt" || body === undefined
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
