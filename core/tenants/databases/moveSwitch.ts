/** A verified copy gets the name of the database, and the old one is dropped. */

import { identifier } from "../../sql/quote.ts";
import { forgetMoveByHand } from "../ledger/tenants.ts";
import type { Move } from "./databaseFound.ts";
import { fence, printOf } from "./moveCopy.ts";
import { copyName, find, isWhole, refuseForeign, type Work } from "./moveState.ts";
import { explainLost, goneFrom } from "./moveWords.ts";

/** Settings whose values are lists of names, and are stored as they are written. */
const LISTS =
    "'search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries', 'shared_preload_libraries', 'unix_socket_directories'";

/** Statements that give another database what pg_dump leaves out: whose it is, its settings, its comment, and who may connect. */
const PROPERTIES_SQL = `
SELECT format('ALTER DATABASE %s OWNER TO %I', $2::text, pg_get_userbyid(datdba)) AS statement FROM pg_database WHERE datname = $1
UNION ALL
SELECT format('REVOKE ALL ON DATABASE %s FROM PUBLIC, %I', $2::text, pg_get_userbyid(datdba)) FROM pg_database WHERE datname = $1
UNION ALL
SELECT format('GRANT %s ON DATABASE %s TO %s%s', a.privilege_type, $2, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
  FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE d.datname = $1
UNION ALL
SELECT format('COMMENT ON DATABASE %s IS %L', $2, shobj_description(d.oid, 'pg_database')) FROM pg_database d WHERE d.datname = $1
UNION ALL
SELECT format('ALTER %s SET %I TO %s',
              CASE s.setrole WHEN 0 THEN 'DATABASE ' || $2 ELSE format('ROLE %I IN DATABASE %s', pg_get_userbyid(s.setrole), $2) END,
              split_part(c, '=', 1),
              CASE WHEN split_part(c, '=', 1) IN (${LISTS}) THEN coalesce(nullif(substr(c, strpos(c, '=') + 1), ''), '''''')
                   ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END)
  FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c WHERE d.datname = $1`;

/** Gives the verified copy the name. @returns for how long nobody could use the database, in milliseconds */
export async function switchOver({ ledger, name, options }: Work, move: Move): Promise<number> {
    const { group, tenant } = name;
    const target = await options.node(move.to).server();
    const temporary = copyName(name);
    // a killed run may have switched and not written it down
    if (!(await find(target, tenant))) {
        const source = await options.node(move.from).server();
        const rows = await source.query<{ statement: string }>(PROPERTIES_SQL, [tenant, identifier(temporary)]);
        try {
            await target.query(
                [
                    ...rows.map((row) => row.statement),
                    `ALTER DATABASE ${identifier(temporary)} CONNECTION LIMIT ${move.limit}`,
                    // what it says and who may come in arrive with its name
                    `ALTER DATABASE ${identifier(temporary)} RENAME TO ${identifier(tenant)}`,
                ].join(";\n"),
            );
        } catch (error) {
            throw new Error(
                `${group}/${tenant}: moving its database from ${move.from} to ${move.to}: the copy could not be given its name\n  ${(error as Error).message}\n` +
                    `It is whole on ${move.from}, and takes no connections. Remove the cause, then run pulumi up again: it goes on with the move.`,
            );
        }
    }
    const took = Date.now() - move.fenced;
    await ledger.write(move.to, { ...move, phase: "drop" });
    return took;
}

/** The new one left the cluster with its node. */
export async function explainAway(work: Work, move: Move): Promise<string> {
    const old = await find(await work.options.node(move.from).server(), work.name.tenant);
    if (old) refuseForeign(work, move.from, old);
    return explainLost(work, move, old, `${move.to} is not in the cluster any more`);
}

/** The old one left the cluster with its node. @returns what was done, for a person */
export async function leaveOld(work: Work, move: Move): Promise<string> {
    const { ledger, options, name } = work;
    const { group, tenant } = name;
    if (move.phase !== "drop")
        throw new Error(
            `${group}/${tenant}: its database was moving from ${move.from} to ${move.to}, and ${move.from}, which has it, is not in the cluster any more.\n` +
                `No database was touched. Register ${move.from} again. Or, to begin anew with an export or a backup, make the ledger forget the move:\n` +
                `  ${forgetMoveByHand({ group, tenant })}`,
        );
    const made = await find(await options.node(move.to).server(), tenant);
    if (!made || !isWhole(made)) throw new Error(explainLost(work, move, undefined, goneFrom(made)));
    refuseForeign(work, move.to, made);
    await ledger.write(move.to, undefined);
    return `${tenant}: its old database was on ${move.from}, which is not in the cluster any more, and was not dropped`;
}

/** The copy has the name and was verified before it got it. */
export async function dropOld(work: Work, move: Move): Promise<void> {
    const { ledger, name, options } = work;
    const { group, tenant } = name;
    const target = options.node(move.to);
    const source = options.node(move.from);
    const made = await find(await target.server(), tenant);
    const old = await find(await source.server(), tenant);
    if (!made || !isWhole(made)) throw new Error(explainLost(work, move, old, goneFrom(made)));
    refuseForeign(work, move.to, made);
    if (old) {
        refuseForeign(work, move.from, old);
    }
    if (old && isWhole(old)) {
        // a superuser can have written to it since, and whoever was let in by hand
        await fence(await source.server(), tenant);
        if ((await printOf(target, tenant, source)) !== move.print?.source)
            throw new Error(
                `${group}/${tenant}: its database moved to ${move.to}, and the old one on ${move.from} was written to after it was copied.\n` +
                    `Both are kept. Keep everybody, superusers too, from writing to the one on ${move.from}. Then run pulumi up again: it copies again, unless the one on ${move.to} was written to as well.`,
            );
    }
    if (old) await (await source.server()).query(`DROP DATABASE ${identifier(tenant)} WITH (FORCE)`);
    await ledger.write(move.to, undefined);
}
