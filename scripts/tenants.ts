/** Tenants of the selected stack's cluster: npm run tenants */

import { userInfo } from "node:os";
import { resolve } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import { QUESTIONS } from "../core/tenants/ask/choose.ts";
import type { RestoreOptions } from "../core/tenants/exports/restore.ts";
import { nearest } from "../core/util/nearest.ts";
import { main, script } from "./lib/command.ts";
import { EXIT } from "./lib/exit.ts";
import { findGroup, findTenant, withStack, withTenant } from "./lib/groups.ts";
import { adopt } from "./tenants/adopt.ts";
import { check } from "./tenants/check.ts";
import { chooseModel } from "./tenants/choose.ts";
import { explain } from "./tenants/explain.ts";
import { hot } from "./tenants/hot.ts";
import { key } from "./tenants/key.ts";
import { list } from "./tenants/list.ts";
import { password } from "./tenants/password.ts";
import { slow } from "./tenants/slow.ts";

const program = script(
    "tenants",
    "Lists every tenant with its model, place, size, activity and limits; or does what one of the commands below says.",
);

program
    .command("list", { isDefault: true })
    .description("every tenant of every group")
    .option("--group <name>", "only this group's")
    .option("--json", "the same as data")
    .action(list);

const choose = program
    .command("choose")
    .description("recommends a model: asks, or takes flags")
    .option("--json", "the same as data");
for (const { flag, ask, kind } of QUESTIONS) {
    const value =
        kind === "number" ? "<n>" : kind === "part" ? "<percent>" : kind === "yes" ? "[yes|no]" : `<${kind.join("|")}>`;
    choose.option(`--${flag} ${value}`, ask);
}
choose.action(chooseModel);

program
    .command("map")
    .description("the shard map for applications, as JSON")
    .addOption(new Option("--json", "which it is without, too").hideHelp())
    .action(async () => {
        const [row] = await withStack(async ({ session }) => {
            const [there] = await session.query<{ ok: boolean }>(
                "SELECT to_regprocedure('citus_as_code.shard_map()') IS NOT NULL AS ok",
            );
            if (!there?.ok)
                throw new Error(
                    "There is no shard map: it is made by the first pulumi up with a group of tenants (citus:tenantGroups, or a class such as RowTenants in a program of your own).",
                );
            return session.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map");
        });
        console.log(JSON.stringify(row?.map, null, 2));
    });

program
    .command("explain")
    .description("how many shards a statement asks, why, and how to make it one; nothing is run")
    .argument("<sql>")
    .option("--as <tenant>", "as this tenant's role, with its settings")
    .option("--json", "the same as data")
    .action(explain);

/** A whole number from the command line. */
function count(text: string): number {
    if (!/^[1-9][0-9]{0,3}$/.test(text)) throw new InvalidArgumentError("It must be a whole number from 1 to 9999.");
    return Number(text);
}

program
    .command("slow")
    .description("the statements that cost most on all nodes: time, calls, shards, and how to make each ask one shard")
    .option("--limit <n>", "how many", count, 10)
    .option("--json", "the same as data")
    .action(slow);

program
    .command("hot")
    .description("each tenant's share of statements and CPU, the busiest first, with what to add to the configuration")
    .option("--limit <n>", "how many", count, 20)
    .option("--json", "the same as data")
    .action(hot);

program
    .command("check")
    .description("what will hurt: in SQL files, or without any in the living database. Exit code 1 on errors")
    .argument("[files...]")
    .option("--database", "the living database too")
    .addOption(
        new Option("--model <model>", "what files are that are in no group's template").choices([
            "rls",
            "row",
            "schema",
            "database",
        ]),
    )
    .option("--json", "the same as data")
    .action(async (files: string[], options) => {
        if (!(await check(files, options))) process.exitCode = EXIT.failed;
    });

program
    .command("approve")
    .description("lets a change of a group's template go on to the next wave (rollout.approve)")
    .argument("<group>", "its name")
    .action(async (name: string) => {
        const { approve } = await import("../core/tenants/files/approve.ts");
        const said = await withStack(({ groups, session }) =>
            approve(session, findGroup(groups, name).group, userInfo().username),
        );
        console.log(said.join("\n"));
    });

program
    .command("key")
    .description("is it the right distribution key: values, sizes of shards, statements. Exit code 1 when one is wrong")
    .argument("[name]", "a group or a table; all without it")
    .option("--json", "the same as data")
    .action(async (name: string | undefined, options) => {
        if (!(await key(name, options))) process.exitCode = EXIT.failed;
    });

program
    .command("export")
    .description("one tenant's data as a file")
    .argument("<tenant>", "its name, or group/name")
    .action(async (name: string) => {
        const { exportTenant } = await import("../core/tenants/exports/export.ts");
        const found = await withStack(async ({ groups }) => findTenant(groups, name));
        console.log(await withTenant(found, exportTenant));
    });

program
    .command("restore")
    .description("brings an exported tenant's data back")
    .argument("<tenant>", "its name, or group/name")
    .argument("<file>", "what export wrote: a file, or an address of a bucket or the repository")
    .option("--replace", "in place of what is there, which is exported first (models schema and database)")
    .action(async (name: string, file: string, { replace }: RestoreOptions) => {
        const { restoreTenant } = await import("../core/tenants/exports/restore.ts");
        const found = await withStack(async ({ groups }) => findTenant(groups, name));
        const { remoteFile } = await import("../core/tenants/exports/exportTarget.ts");
        const path = remoteFile(file) ? file : resolve(process.env.INIT_CWD ?? process.cwd(), file);
        await withTenant(found, (context, tenant) =>
            restoreTenant(context, tenant, path, { replace: replace === true }),
        );
        const { name: group, model } = found.inputs.group;
        const rights =
            model === "schema" || model === "database"
                ? "Its role has no rights on it yet, so no application can use it: run pulumi up now, which gives them back and runs"
                : "Next: pulumi up, for";
        console.log(`${group}/${found.tenant}: restored from ${file}. ${rights} what came into its template since.`);
    });

program
    .command("adopt")
    .description("writes tenants that create_tenant made into the JSON file of a group's tenants, or prints them")
    .argument("<group>")
    .argument("[file]", "a JSON file of tenants; made when there is none")
    .action(async (group: string, file?: string) => {
        await adopt(group, file && resolve(process.env.INIT_CWD ?? process.cwd(), file));
    });

program
    .command("password")
    .description("the login of a tenant, or of a group's application, as a connection string")
    .argument("<name>", "a tenant, group/tenant, or the group")
    .action(password);

// the default command would take it for an argument of its own
const known = [...program.commands.map((command) => command.name()), "help"];
const refuseUnknown = (word = "-") => {
    if (word.startsWith("-") || known.includes(word)) return;
    const meant = nearest(word, known);
    program.error(
        `There is no command ${word}${meant === undefined ? "" : ` (did you mean ${meant}?)`}; there are ${known.join(", ")}.`,
    );
};

await main(program, () => refuseUnknown(process.argv[2]));
