/** The moment in which new tables take the place of the old ones. */

import type { Session } from "../../reach/session.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import type { Context } from "../group/facet.ts";
import { type Copied, newName } from "./besideFollow.ts";
import { NEW, OLD, statementsOf } from "./besideMake.ts";
import type { Beside } from "./besidePlan.ts";
import { forgetKey, putBack, writeDown } from "./keysBack.ts";

interface Around {
    readonly views: readonly { readonly view: string; readonly definition: string; readonly options: string }[];
    readonly keys: readonly {
        readonly table: string;
        readonly name: string;
        readonly definition: string;
        /** Whether its table is one of those that are made anew. */
        readonly inside: boolean;
        readonly valid: boolean;
    }[];
    readonly publications: readonly { readonly publication: string; readonly table: string }[];
    readonly sequences: readonly { readonly old: string; readonly fresh: string }[];
}

/** What stands around the tables and has to point to the new ones. */
const AROUND = `
WITH o AS (SELECT c.oid, c.relname, n.nspname FROM unnest($1::text[]) t (name) JOIN pg_class c ON c.oid = t.name::regclass JOIN pg_namespace n ON n.oid = c.relnamespace)
SELECT
    (SELECT coalesce(jsonb_agg(jsonb_build_object('view', format('%I.%I', n.nspname, v.relname), 'definition', pg_get_viewdef(v.oid),
                'options', coalesce((SELECT ' WITH (' || string_agg(format('%I = %L', p.option_name, p.option_value), ', ') || ')' FROM pg_options_to_table(v.reloptions) p), '')) ORDER BY v.oid), '[]')
       FROM pg_class v JOIN pg_namespace n ON n.oid = v.relnamespace WHERE v.relkind = 'v' AND EXISTS (
            SELECT FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
             WHERE w.ev_class = v.oid AND d.refobjid IN (SELECT oid FROM o))) AS views,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('table', CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END, 'name', k.conname,
                'definition', regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), 'inside', k.conrelid IN (SELECT oid FROM o), 'valid', k.convalidated) ORDER BY k.oid), '[]')
       FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid IN (SELECT oid FROM o) OR k.confrelid IN (SELECT oid FROM o))
        AND NOT relation_is_a_known_shard(k.conrelid)) AS keys,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('publication', p.pubname, 'table', o.relname)), '[]')
       FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN o ON o.oid = r.prrelid) AS publications,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('old', format('%I.%I', n.nspname, s.relname), 'fresh', format('%I.%I', '${NEW}', s.relname))), '[]')
       FROM o JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
       JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace) AS sequences`;

export class Switch {
    /** Milliseconds for which writes waited, once it is done. */
    waited = 0;
    /** Whether it failed for something that passes: a lock, or a wait that would have been too long. */
    putOff = false;
    private keys: readonly { readonly table: string; readonly name: string }[] = [];
    private readonly context: Context;
    private readonly beside: Beside;
    private readonly tables: readonly Copied[];
    private readonly statements: ReadonlyMap<string, readonly string[]>;
    private readonly longest: number;

    /** @param statements what each table was made by. @param longest milliseconds for which writes may wait */
    constructor(
        context: Context,
        beside: Beside,
        tables: readonly Copied[],
        statements: ReadonlyMap<string, readonly string[]>,
        longest: number,
    ) {
        this.context = context;
        this.beside = beside;
        this.tables = tables;
        this.statements = statements;
        this.longest = longest;
    }

    /**
     * Makes writes wait, lets the last rows be copied, and switches.
     * @param last copies them; it calls what it is given between steps
     * @param bounded whether it is given up when it takes too long
     * @throws Error with nothing switched
     */
    async run(last: (late: () => void) => Promise<void>, bounded = true): Promise<void> {
        const { session, group } = this.context;
        this.putOff = false;
        const watcher = await this.context.open("coordinator");
        const [backend] = await session.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
        let expired = false;
        let over = false;
        const late = () => {
            if (expired) throw new Error(`writes would have waited for more than ${this.longest / 1000} s`);
        };
        const timer = setInterval(() => {
            expired = true;
            // again each time, should a statement not notice once
            if (!over) watcher.query("SELECT pg_cancel_backend($1::int)", [backend?.pid]).catch(() => undefined);
        }, this.longest);
        if (!bounded) clearInterval(timer);
        const names = this.tables.map(({ name }) => qualified(name));
        await session.query("BEGIN");
        const began = Date.now();
        try {
            await session.query(
                `SET LOCAL citus.propagate_set_commands = 'local'; SET LOCAL lock_timeout = ${group.lockTimeout};
                 SET LOCAL citus.multi_shard_modify_mode = 'sequential'; SET LOCAL client_min_messages = warning`,
            );
            // reads go on; what was begun before is waited for
            await session.query(`LOCK TABLE ${names.join(", ")} IN EXCLUSIVE MODE`);
            await this.refuseChanged();
            await last(late);
            late();
            await this.change(session);
            late();
            over = true;
            await session.query("COMMIT");
        } catch (error) {
            over = true;
            await session.query("ROLLBACK").catch(() => undefined);
            this.putOff = expired || ["55P03", "40P01", "57014"].includes((error as { code?: string }).code ?? "");
            throw expired
                ? new Error(`writes would have waited for more than ${this.longest / 1000} s, so nothing was switched`)
                : error;
        } finally {
            over = true;
            clearInterval(timer);
        }
        this.waited = Math.max(1, Date.now() - began);
    }

    /** What was changed since the new tables were made, or is not decided yet, would be lost. */
    private async refuseChanged(): Promise<void> {
        const { session, open, nodes } = this.context;
        for (const { name } of this.tables) {
            const now = await statementsOf(session, name);
            const then = this.statements.get(name) ?? [];
            if (now.join(";\n") !== then.join(";\n"))
                throw new Error(
                    `${name} was changed meanwhile: ${[...now.filter((sql) => !then.includes(sql)), ...then.filter((sql) => !now.includes(sql))].slice(0, 3).join("; ")}`,
                );
        }
        for (const { name } of nodes) {
            const [row] = await (await open(name)).query<{ gid: string }>(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() LIMIT 1",
            );
            if (row) {
                const error = new Error(
                    `${name} has a prepared transaction (${row.gid}) that may have changed the tables`,
                );
                throw Object.assign(error, { code: "55P03" });
            }
        }
    }

    private async change(session: Session): Promise<void> {
        const [around] = await session.query<Around>(AROUND, [this.tables.map(({ name }) => qualified(name))]);
        if (!around) throw new Error("what stands around the tables could not be read");
        const dropped = (table: string, key: string) =>
            this.beside.drop.some((drop) => drop.table === table && drop.name === key);
        const keys = around.keys.filter(({ table, name }) => !dropped(table, name));
        await this.numbers(around.sequences);
        await session.query(`CREATE SCHEMA ${OLD}`);
        await session.query(
            `COMMENT ON SCHEMA ${OLD} IS ${literal(JSON.stringify(Object.fromEntries(this.tables.map(({ relname, rows }) => [relname, String(rows)]))))}`,
        );
        for (const { table, name, inside } of around.keys) {
            if (keys.some((key) => key.table === table && key.name === name))
                await session.query(writeDown(this.context.group.name, table, name));
            if (!inside) await session.query(`ALTER TABLE ${qualified(table)} DROP CONSTRAINT ${identifier(name)}`);
        }
        for (const { name } of this.tables) await session.query(`ALTER TABLE ${qualified(name)} SET SCHEMA ${OLD}`);
        for (const table of this.tables) {
            const schema = table.name.includes(".") ? (table.name.split(".", 2)[0] ?? "public") : "public";
            await session.query(`ALTER TABLE ${newName(table)} SET SCHEMA ${identifier(schema)}`);
        }
        for (const { view, definition, options } of around.views)
            await session.query(`CREATE OR REPLACE VIEW ${view}${options} AS ${definition}`);
        for (const { publication, table } of around.publications) {
            const fresh = this.tables.find(({ relname }) => relname === table);
            await session.query(`ALTER PUBLICATION ${identifier(publication)} DROP TABLE ${OLD}.${identifier(table)}`);
            await session.query(
                `ALTER PUBLICATION ${identifier(publication)} ADD TABLE ${qualified(fresh?.name ?? table)}`,
            );
        }
        for (const { table, name, definition } of keys)
            await session.query(
                `ALTER TABLE ${qualified(table)} ADD CONSTRAINT ${identifier(name)} ${definition} NOT VALID`,
            );
        this.keys = keys.filter(({ valid }) => valid);
        for (const { table, name } of keys.filter(({ valid }) => !valid))
            await forgetKey(session, this.context.group.name, table, name);
    }

    /** New sequences go on where the old ones are, on each node: a worker has numbers of its own. */
    private async numbers(sequences: Around["sequences"]): Promise<void> {
        for (const { name } of this.context.nodes) {
            const node = await this.context.open(name);
            for (const { old, fresh } of sequences) {
                const [there] = await node.query<{ ok: boolean }>(
                    "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL AS ok",
                    [old, fresh],
                );
                if (there?.ok)
                    await node.query(`SELECT setval(${literal(fresh)}::regclass, last_value, is_called) FROM ${old}`);
            }
        }
    }

    /** Rows of foreign keys are checked when everybody works again; new rows are checked from the switch on. */
    async validate(): Promise<void> {
        for (const { table, name } of this.keys) {
            this.context.progress(`${table}: foreign key ${name} is checked`);
            await putBack(this.context.session, this.context.group.name, table, name);
        }
    }
}
