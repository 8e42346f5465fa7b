/** What npm run test:aws decides by itself: its price, when it refuses, what it reads from logs. Nothing here reaches AWS. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { describe, test } from "vitest";
import { sourceOf, validate } from "../../components/config/index.ts";
import { Commands } from "../aws/commands.ts";
import { announcement, expectedCost, forgottenDay, minutesOf, mostVcpus } from "../aws/cost.ts";
import { byHand, listing, stillThere } from "../aws/leftovers.ts";
import { BOOTS, clusterConfig, copyConfig, STAGES, type Stage } from "../aws/plan.ts";
import { PRICES } from "../aws/prices.ts";
import { replacedOneAtATime } from "../aws/replacements.ts";
import { collect, type Ran, ROOT } from "../lib.ts";
import { assertNoSecret } from "../secrets.ts";

const close = (got: number, wanted: number) => assert.ok(Math.abs(got - wanted) < 1e-9, `${got} is not ${wanted}`);

describe("what it costs", () => {
    const machine = { machines: ["t3.medium"], gib: 730 } as const;
    const stage = (minutes: number, clusters: number): Stage => ({
        what: "",
        minutes,
        clusters: Array(clusters).fill(machine),
    });

    test("machines and volumes by the minute, gateways by the hour that was begun, packages by the GB", () => {
        const cost = expectedCost([stage(30, 1), stage(60, 2)], 10);
        const { hour } = PRICES.machines["t3.medium"];
        close(cost.machines, 2.5 * hour);
        close(cost.volumes, 2.5 * PRICES.volumeGibMonth);
        close(cost.networks, 3 * (PRICES.natHour + PRICES.addressHour) + 4 * PRICES.natGb);
        close(cost.total, cost.machines + cost.volumes + cost.networks + PRICES.rest);
    });

    test("what is forgotten costs what stands at most", () => {
        const alone = forgottenDay([stage(1, 1)]);
        close(forgottenDay([stage(1, 1), stage(1, 2), stage(1, 1)]), 2 * alone);
        assert.equal(mostVcpus([stage(1, 1), stage(1, 3)]), 6);
    });

    test("the run's own is said with its time, its sum and its date", () => {
        const { total } = expectedCost(STAGES, BOOTS);
        assert.ok(total > 0.3 && total < 5, `${total} USD`);
        const said = announcement("t-0a1b2c");
        for (const part of [
            `about ${minutesOf(STAGES)} minutes`,
            `about ${total.toFixed(2)} USD`,
            PRICES.asOf,
            PRICES.region,
            "test-aws=t-0a1b2c",
        ])
            assert.ok(said.includes(part), `${part} not in ${said}`);
    });
});

describe("what it makes", () => {
    const checked = (stack: string, config: Record<string, unknown>) =>
        validate({
            ...sourceOf(
                stack,
                Object.fromEntries(
                    Object.entries(config).map(([key, value]) => [
                        `citus:${key}`,
                        typeof value === "string" ? value : JSON.stringify(value),
                    ]),
                ),
            ),
            environment: { AWS_REGION: "eu-central-1" },
        });

    for (const [what, stack, config] of [
        ["the cluster", "t-0a1b2c", clusterConfig("t-0a1b2c")],
        ["the copy", "t-0a1b2c-copy", copyConfig("t-0a1b2c")],
    ] as const)
        test(`${what} is a valid configuration, tagged and not protected`, () => {
            const result = checked(stack, config);
            assert.ok("args" in result, JSON.stringify(result));
            assert.equal(result.args.protect, false);
            assert.deepEqual(result.args.aws?.tags, { "test-aws": "t-0a1b2c" });
            assert.equal(result.args.name, stack);
        });
});

describe("npm run test:aws refuses", () => {
    const start = (environment: NodeJS.ProcessEnv): Promise<Ran> => {
        const others = Object.entries(process.env).filter(([key]) => !/^(AWS_|CITUS_|NODE_TEST)/.test(key));
        return collect(
            spawn(process.execPath, ["test/aws/aws.test.ts"], {
                cwd: ROOT,
                env: {
                    ...Object.fromEntries(others),
                    AWS_EC2_METADATA_DISABLED: "true",
                    AWS_CONFIG_FILE: join(ROOT, "no-config"),
                    AWS_SHARED_CREDENTIALS_FILE: join(ROOT, "no-credentials"),
                    ...environment,
                },
                stdio: ["ignore", "pipe", "pipe"],
            }),
        );
    };
    const keys = { AWS_ACCESS_KEY_ID: "AKIAEXAMPLE", AWS_SECRET_ACCESS_KEY: "secret" };

    test("everything at once, after it has said what it costs", async () => {
        const ran = await start({});
        assert.equal(ran.code, 1, ran.output);
        assert.match(ran.stdout, /costs +about [0-9.]+ USD/);
        assert.match(ran.stderr, /CITUS_TEST_AWS=yes has to say/);
        assert.match(ran.stderr, /AWS_REGION must be set/);
        assert.match(ran.stderr, /Nothing was made/);
    });

    test("without consent only, although all else is there", async () => {
        const ran = await start({ AWS_REGION: "eu-central-1", ...keys });
        assert.equal(ran.code, 1, ran.output);
        assert.match(ran.stderr, /CITUS_TEST_AWS=yes has to say/);
        assert.doesNotMatch(ran.stderr, /credentials|AWS_REGION/);
    });

    test("without credentials", async () => {
        const ran = await start({ CITUS_TEST_AWS: "yes", AWS_REGION: "eu-central-1" });
        assert.equal(ran.code, 1, ran.output);
        assert.match(ran.stderr, /AWS credentials, got none .*AWS_PROFILE=NAME/);
        assert.doesNotMatch(ran.stderr, /CITUS_TEST_AWS/);
    });

    test("what is no region, and credentials that are not clear", async () => {
        const ran = await start({ CITUS_TEST_AWS: "yes", AWS_REGION: "eu-central-1a", AWS_PROFILE: "ops", ...keys });
        assert.equal(ran.code, 1, ran.output);
        assert.match(ran.stderr, /its region is eu-central-1/);
        assert.match(ran.stderr, /which credentials are meant/);
    });
});

describe("machines replaced one at a time", () => {
    const event = (kind: string, op: string, type: string, name: string) =>
        JSON.stringify({ [kind]: { metadata: { op, type, urn: `urn:pulumi:t::citus::x$${type}::${name}` } } });
    const begins = (op: string, name: string) => event("resourcePreEvent", op, "aws:ec2/instance:Instance", name);
    const back = (name: string) => event("resOutputsEvent", "update", "citus-clusters:index:Configuration", name);

    test("each back before the next", () => {
        const log = ["citus-worker-1", "citus-worker-2"].flatMap((name) => [
            begins("delete-replaced", name),
            begins("replace", name),
            begins("create-replacement", name),
            back(name),
        ]);
        assert.deepEqual(replacedOneAtATime(`${log.join("\n")}\n`), ["citus-worker-1", "citus-worker-2"]);
        assert.deepEqual(replacedOneAtATime(begins("same", "citus-worker-1")), []);
    });

    test("two at once, or one that did not come back", () => {
        const [one, two] = ["citus-worker-1", "citus-worker-2"].map((name) => begins("delete-replaced", name));
        assert.throws(() => replacedOneAtATime(`${one}\n${two}`), /citus-worker-2 was replaced before citus-worker-1/);
        assert.throws(() => replacedOneAtATime(`${one}`), /citus-worker-1 did not come back/);
    });
});

describe("what is left", () => {
    const arn = (what: string) => `arn:aws:ec2:eu-central-1:123456789012:${what}`;

    test("machines and gateways that have ended do not count", () => {
        const there = [arn("instance/i-1"), arn("instance/i-2"), arn("natgateway/nat-1"), arn("volume/vol-1")];
        assert.deepEqual(stillThere(there, ["i-2"]), [arn("instance/i-2"), arn("volume/vol-1")]);
    });

    test("it is asked for, and removed by hand, where and as whom it was made", () => {
        const place = { region: "eu-west-1", profile: "ops" };
        for (const command of Object.values(listing(place, "t-0a1b2c")))
            assert.match(command.join(" "), /t-0a1b2c.*--region eu-west-1 --profile ops/);
        const said = byHand(place, "t-0a1b2c", "/somewhere", ["t-0a1b2c-copy", "t-0a1b2c"]);
        assert.ok(said.indexOf("--stack t-0a1b2c-copy)") < said.indexOf("--stack t-0a1b2c)"));
        assert.match(said, /Key=test-aws,Values=t-0a1b2c/);
    });
});

describe("a run that is stopped", () => {
    const options = { cwd: ROOT, env: process.env };

    test("asks what runs to end, starts nothing more, and cleans up", { timeout: 20_000 }, async () => {
        const commands = new Commands();
        const running = commands.run(
            "bash",
            ["-c", "trap 'echo asked; exit 3' INT; while :; do sleep 0.1; done"],
            options,
        );
        setTimeout(() => commands.stop(), 500);
        const ran = await running;
        assert.equal(ran.code, 3);
        assert.equal(ran.stdout, "asked\n");
        await assert.rejects(commands.run("true", [], options), /was not started/);
        commands.reopen();
        assert.equal((await commands.run("true", [], options)).code, 0);
    });

    test("a command that takes too long is asked to end", { timeout: 20_000 }, async () => {
        const ran = await new Commands().run("sleep", ["60"], { ...options, limit: 200 });
        assert.notEqual(ran.code, 0);
    });

    test("a command that is not there is an error", async () => {
        await assert.rejects(new Commands().run("no-such-command", [], options), /ENOENT/);
    });
});

describe("secrets are found", () => {
    const secret = "correct-horse-battery-staple";
    const fails = (text: string) =>
        assert.throws(() => assertNoSecret([text], { "the password": secret }), /^AssertionError.*the password/);

    test("in the clear, and in base64 on one line, on several, and in JSON", () => {
        const encoded = Buffer.from(`before ${secret} after, and some more of it so that it takes two lines`).toString(
            "base64",
        );
        const lines = encoded.replace(/(.{76})/g, "$1\n");
        fails(`echo ${secret}`);
        fails(`put x <<'END'\n${encoded}\nEND`);
        fails(`put x <<'END'\n${lines}\nEND`);
        fails(JSON.stringify({ text: lines }));
        assertNoSecret(["nothing of it", encoded.slice(0, 8)], { "the password": secret });
    });

    test("keys and verifiers of any kind", () => {
        const key = ["-----BEGIN", "PRIVATE KEY-----"].join(" ");
        assert.throws(() => assertNoSecret([key], {}), /a private key/);
        assert.throws(() => assertNoSecret([`SCRAM-SHA-256$4096:${"x".repeat(30)}`], {}), /verifier/);
    });
});
