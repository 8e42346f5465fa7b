/** Where AWS credentials are looked for, and what is said when there are none. Nothing here reaches AWS. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, test } from "vitest";
import { credentialsProblem } from "../../../../core/reach/aws/credentials.ts";

const region = "eu-central-1";

describe("credentials", () => {
    const kept = { ...process.env };
    let dir: string;
    /** A metadata service that never answers. */
    let silent: Server;

    beforeAll(async () => {
        dir = mkdtempSync(join(tmpdir(), "citus-credentials-"));
        writeFileSync(
            join(dir, "credentials"),
            "[ops]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n",
        );
        writeFileSync(
            join(dir, "config"),
            "[profile sso]\nsso_start_url = https://example.awsapps.com/start\nsso_region = eu-central-1\nsso_account_id = 123456789012\nsso_role_name = Admin\n" +
                "[profile slow]\ncredential_process = /bin/sleep 2\n",
        );
        silent = createServer(() => undefined);
        await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    });

    afterAll(() => {
        silent.closeAllConnections();
        silent.close();
        rmSync(dir, { recursive: true });
    });

    beforeEach(() => {
        for (const name of Object.keys(process.env)) if (name.startsWith("AWS_")) delete process.env[name];
        process.env.HOME = dir;
        process.env.AWS_CONFIG_FILE = join(dir, "config");
        process.env.AWS_SHARED_CREDENTIALS_FILE = join(dir, "credentials");
        process.env.AWS_EC2_METADATA_DISABLED = "true";
    });

    afterEach(() => {
        for (const name of Object.keys(process.env)) if (!(name in kept)) delete process.env[name];
        Object.assign(process.env, kept);
    });

    test("from the environment", async () => {
        process.env.AWS_ACCESS_KEY_ID = "AKIAEXAMPLE";
        process.env.AWS_SECRET_ACCESS_KEY = "secret";
        assert.equal(await credentialsProblem({ region }), undefined);
    });

    test("from a profile, named by argument or by the environment", async () => {
        assert.equal(await credentialsProblem({ region, profile: "ops" }), undefined);
        process.env.AWS_PROFILE = "ops";
        assert.equal(await credentialsProblem({ region }), undefined);
    });

    test("none anywhere: where it looked, and what to do", async () => {
        const problem = (await credentialsProblem({ region })) ?? "";
        for (const part of [
            "must lead to AWS credentials, got none (",
            "AWS_ACCESS_KEY_ID",
            `profile default of ${join(dir, "config")} and ${join(dir, "credentials")}`,
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile (pulumi config set aws:profile NAME)",
            "aws sts get-caller-identity shows",
        ])
            assert.ok(problem.includes(part), `${part} not in ${problem}`);
        assert.ok(!problem.includes("EC2 instance"), "the metadata service was not to be asked");
        assert.ok(!problem.includes("\n"));
    });

    test("a profile that is not there", async () => {
        const problem = (await credentialsProblem({ region, profile: "nobody" })) ?? "";
        for (const part of [
            "profile nobody of",
            "aws configure --profile nobody",
            "get-caller-identity --profile nobody",
        ])
            assert.ok(problem.includes(part), `${part} not in ${problem}`);
        assert.ok(!problem.includes("looked at AWS_ACCESS_KEY_ID"));
    });

    test("a single sign-on whose session has ended says so", async () => {
        const problem = (await credentialsProblem({ region, profile: "sso" })) ?? "";
        assert.match(problem, /SSO session/);
        assert.ok(problem.includes("aws sso login --profile sso"));
    });

    test("a metadata service that does not answer is given up soon", async () => {
        delete process.env.AWS_EC2_METADATA_DISABLED;
        process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
        const began = Date.now();
        const problem = (await credentialsProblem({ region })) ?? "";
        assert.ok(Date.now() - began < 8000);
        assert.ok(problem.includes("the role of this container or EC2 instance"), problem);
    });

    test("what takes too long is given up", async () => {
        const problem = await credentialsProblem({ region, profile: "slow" }, 200);
        assert.match(problem ?? "", /no answer within 0\.2 s/);
    });
});
