/** What a change of a node's configuration says, and settings that PostgreSQL refuses. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { describeChange, waitingFor } from "../../components/hooks/impl/configuration.ts";
import { quotePsql } from "../../components/hooks/impl/postDeploy.ts";
import { readRefusals, refuseSettings } from "../../components/hooks/impl/settingsCheck.ts";

const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

describe("what a change means for a node", () => {
    const olds = { machine: "a", settings: { shared_buffers: "256MB", work_mem: "4MB" }, systemIdentifier: "771" };
    const news = (machine: string, settings: Record<string, string> = olds.settings) => ({
        name: "worker-1",
        machine,
        settings,
    });

    test("a machine that is still to come: in the future, with the settings that it starts with", () => {
        assert.equal(
            describeChange(olds, news(UNKNOWN)),
            "worker-1: its machine will be replaced, its data is kept (database 771)",
        );
        assert.equal(
            describeChange(olds, news(UNKNOWN, { shared_buffers: "512MB", work_mem: "4MB" })),
            "worker-1: its machine will be replaced, its data is kept (database 771); it starts with shared_buffers 256MB → 512MB",
        );
    });

    test("a machine that is there is told of by its update", () => {
        assert.equal(describeChange(olds, news("b", { shared_buffers: "512MB" })), undefined);
    });

    test("settings alone: reloaded, or a restart", () => {
        assert.equal(
            describeChange(olds, news("a", { ...olds.settings, work_mem: "8MB" })),
            "work_mem 4MB → 8MB; reloaded, no restart",
        );
        assert.equal(
            describeChange(olds, news("a", { ...olds.settings, shared_buffers: "512MB" })),
            "shared_buffers 256MB → 512MB; shared_buffers needs a restart of worker-1, one node after another",
        );
        assert.equal(describeChange(olds, news("a")), undefined);
    });
});

test("a node that starts is starting; what it says is told when that takes unusually long", () => {
    const said =
        'psql: error: connection to server at "localhost" (::1), port 5432 failed: Connection refused\nIs it running?';
    assert.equal(waitingFor("worker-1", 6_000, said), "worker-1 is starting");
    assert.equal(
        waitingFor("worker-1", 21_000, said),
        'worker-1 is starting, 21 s so far: psql: error: connection to server at "localhost" (::1), port 5432 failed: Connection refused',
    );
});

describe("settings that PostgreSQL refuses", () => {
    const OVERRIDES = {
        all: { shared_bufers: "1GB", work_mem: "4MB" },
        coordinator: { log_min_messages: "foo" },
        workers: { work_mem: "lots" },
    };
    const PRINTED = [
        '0\tunrecognized configuration parameter "shared_bufers"\t',
        '2\tinvalid value for parameter "log_min_messages": "foo"; Available values: debug5, debug4\tdebug5, debug4',
        '3\tinvalid value for parameter "work_mem": "lots"\t64 to 2147483647, in units of kB',
        "names\tshared_buffers,work_mem,log_min_messages",
        "",
    ].join("\n");

    test("each has its key, the value, PostgreSQL's words and what is allowed, or meant", () => {
        assert.deepEqual(readRefusals(PRINTED, OVERRIDES), [
            {
                path: "settings.all.shared_bufers",
                message:
                    'got "1GB" - PostgreSQL says: unrecognized configuration parameter "shared_bufers"; did you mean shared_buffers?',
            },
            {
                path: "settings.coordinator.log_min_messages",
                message:
                    'got "foo" - PostgreSQL says: invalid value for parameter "log_min_messages": "foo"; Available values: debug5, debug4',
            },
            {
                path: "settings.workers.work_mem",
                message:
                    'got "lots" - PostgreSQL says: invalid value for parameter "work_mem": "lots"; allowed: 64 to 2147483647, in units of kB',
            },
        ]);
    });

    test("nothing refused is no mistake", () => assert.deepEqual(readRefusals("", OVERRIDES), []));

    test("where no node can be asked nothing is said to be wrong", async () => {
        const nowhere = { kind: "docker", engine: "tcp://127.0.0.1:1", container: "x" } as const;
        await refuseSettings("0123", "worker-1", nowhere, OVERRIDES);
        await refuseSettings("0123", "worker-1", nowhere, {});
        await refuseSettings("0123", "worker-1", nowhere, undefined);
    });
});

test("what psql says of a file is indented whole", () => {
    assert.equal(
        quotePsql(
            "psql:content.sql:3: ERROR:  duplicate key\nDETAIL:  Key (id)=(1) already exists.\nHINT:  x\n",
            "sql/a.sql",
        ),
        "  sql/a.sql:3: ERROR:  duplicate key\n  DETAIL:  Key (id)=(1) already exists.\n  HINT:  x",
    );
});
