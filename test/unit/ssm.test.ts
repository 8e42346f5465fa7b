/** A command that AWS may have taken runs once at the most. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { runScript, type SsmShell } from "../../components/shell.ts";

const SHELL: SsmShell = { kind: "ssm", region: "eu-central-1", profile: "", clusterId: "0f", node: "worker-1" };
/** How often commands were taken, and what becomes of the answer. */
let sent = 0;
let answer: "lost" | "throttled" | "refused" = "lost";

const server = createServer((request, response) => {
    const say = (status: number, body: object) => {
        response.writeHead(status, { "content-type": "application/x-amz-json-1.1" });
        response.end(JSON.stringify(body));
    };
    request.resume().on("end", () => {
        if (String(request.headers["x-amz-target"]).endsWith("DescribeInstanceInformation"))
            return say(200, { InstanceInformationList: [{ InstanceId: "i-1", PingStatus: "Online" }] });
        sent++;
        if (answer === "lost") return request.socket.destroy();
        if (answer === "throttled" && sent < 3)
            return say(400, { __type: "ThrottlingException", message: "Rate exceeded" });
        return say(400, { __type: "AccessDeniedException", message: "not you" });
    });
});
const KEYS = ["AWS_ENDPOINT_URL_SSM", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] as const;
const kept = KEYS.map((key) => process.env[key]);

before(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    process.env.AWS_ENDPOINT_URL_SSM = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    process.env.AWS_ACCESS_KEY_ID = "AKIA";
    process.env.AWS_SECRET_ACCESS_KEY = "secret";
});

after(() => {
    KEYS.forEach((key, i) => {
        if (kept[i] === undefined) delete process.env[key];
        else process.env[key] = kept[i];
    });
    server.closeAllConnections();
    server.close();
});

test("an answer that is lost: not sent again, and the error says that it is not known", async () => {
    sent = 0;
    answer = "lost";
    await assert.rejects(
        runScript(SHELL, ["psql.sh", "app"]),
        /It is not known whether "psql.sh on worker-1" was run\./,
    );
    assert.equal(sent, 1);
});

test("what AWS was too busy for is sent again, and what it refuses is not", async () => {
    sent = 0;
    answer = "throttled";
    await assert.rejects(runScript(SHELL, ["facts.sh"]), /worker-1: its machine can't be reached .*AccessDenied/s);
    assert.equal(sent, 3);
});
