/** What a change of a node's configuration says, and settings that PostgreSQL refuses. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { graceSeconds } from "../../core/reach/run.ts";
import { describeChange, describeStarting, gotOn, waitingFor } from "../../provider/configuration.ts";
import { quotePsql } from "../../provider/postDeploy.ts";
import { readRefusals, refuseSettings } from "../../provider/settingsCheck.ts";

const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

describe("what a change means for a node", () => {
    const olds = { machine: "a", settings: { shared_buffers: "256MB", work_mem: "4MB" }, systemIdentifier: "771" };
    const news = (machine: string, settings: Record<string, string> = olds.settings) => ({
        name: "worker-1",
        machine,
        settings,
    });

    test("a machine that is still to come: in the future, with its settings and the restart that they cost", () => {
        assert.equal(
            describeChange(olds, news(UNKNOWN)),
            "worker-1: its machine will be replaced, its data is kept (database 771)",
        );
        assert.equal(
            describeChange(olds, news(UNKNOWN, { shared_buffers: "512MB", work_mem: "4MB" })),
            "worker-1: its machine will be replaced, its data is kept (database 771); then shared_buffers 256MB → 512MB, with one more restart for shared_buffers",
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

describe("a server that does not answer yet", () => {
    test("one that reads and writes gets on, however long it takes; one that does nothing does not", () => {
        const redo = { state: "in crash recovery", at: "startup recovering 000000010000000000000005", work: "100" };
        assert.equal(gotOn(undefined, redo), true);
        assert.equal(gotOn(redo, { ...redo, work: "101" }), true);
        assert.equal(gotOn(redo, { ...redo, at: "startup recovering 000000010000000000000006" }), true);
        assert.equal(gotOn(redo, { ...redo, state: "in production" }), true);
        assert.equal(gotOn(redo, { ...redo }), false);
        const runs = { state: "in production", work: "100" };
        assert.equal(
            gotOn(runs, { ...runs, work: "200" }),
            false,
            "a server that runs and is not ready is not starting",
        );
    });

    test("says what it is doing where that is unusual", () => {
        assert.equal(describeStarting({ at: "startup recovering 05" }), "it replays its WAL (startup recovering 05)");
        assert.equal(describeStarting({ state: "in crash recovery" }), "it is in crash recovery");
        assert.equal(describeStarting({ state: "in production" }), undefined);
    });

    test("may take longer to end the more memory it writes", () => {
        assert.equal(graceSeconds(0), 60);
        assert.equal(graceSeconds(1024), 60);
        assert.equal(graceSeconds(65_536), 656);
    });
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
        assert.deepEqual(readRefusals(PRINTED, OVERRIDES, "worker-1"), [
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

    test("what a trial finds has the key of the node's own kind, and is not said twice", () => {
        const overrides = {
            all: { huge_pages: "on", work_mem: "lots" },
            coordinator: { huge_pages: "try" },
            workers: { shared_preload_libraries: "pg_cron" },
        };
        const printed = [
            '1\tinvalid value for parameter "work_mem": "lots"\t',
            'trial\tshared_preload_libraries\tcould not access file "pg_cron": No such file or directory',
            "trial\thuge_pages\tcould not map anonymous shared memory",
            "trial\twork_mem\tbad",
            "trial\t-\tno room",
        ].join("\n");
        assert.deepEqual(
            readRefusals(printed, overrides, "worker-1").map(({ path, message }) => `${path} ${message}`),
            [
                'settings.all.work_mem got "lots" - PostgreSQL says: invalid value for parameter "work_mem": "lots"',
                'settings.workers.shared_preload_libraries got "pg_cron" - PostgreSQL was started with it on worker-1 for a trial, and says: could not access file "pg_cron": No such file or directory',
                'settings.all.huge_pages got "on" - PostgreSQL was started with it on worker-1 for a trial, and says: could not map anonymous shared memory',
                "settings PostgreSQL was started with it on worker-1 for a trial, and says: no room",
            ],
        );
        assert.equal(
            readRefusals("trial\thuge_pages\tx", overrides, "coordinator")[0]?.path,
            "settings.coordinator.huge_pages",
        );
    });

    test("nothing refused is no mistake", () => assert.deepEqual(readRefusals("", OVERRIDES, "worker-1"), []));

    test("where no node can be asked nothing is said to be wrong", async () => {
        const nowhere = { kind: "docker", engine: "tcp://127.0.0.1:1", container: "x" } as const;
        const asked = { clusterId: "0123", node: "worker-1", shell: nowhere };
        await refuseSettings({ ...asked, overrides: OVERRIDES }, undefined);
        await refuseSettings({ ...asked, overrides: OVERRIDES }, { settings: { work_mem: "lots" } });
        await refuseSettings({ ...asked, overrides: {} }, undefined);
        await refuseSettings(asked, undefined);
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
