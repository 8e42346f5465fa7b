/** A command that AWS may have taken runs once at the most. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, test } from "vitest";
import type { SsmShell } from "../../../../core/node/reach.ts";
import { onlineMachines } from "../../../../core/reach/aws/ssm.ts";
import { runScript } from "../../../../core/reach/run.ts";

const SHELL: SsmShell = { kind: "ssm", region: "eu-central-1", profile: "", clusterId: "0f", node: "worker-1" };
/** How often commands were taken, and what becomes of the answer. */
let sent = 0;
let answer: "lost" | "throttled" | "refused" = "lost";
/** Names of nodes that machines were asked for by, a list a question. */
const asked: string[][] = [];

const server = createServer((request, response) => {
    const say = (status: number, body: object) => {
        response.writeHead(status, { "content-type": "application/x-amz-json-1.1" });
        response.end(JSON.stringify(body));
    };
    let body = "";
    request.on("data", (chunk) => {
        body += chunk;
    });
    request.on("end", () => {
        if (String(request.headers["x-amz-target"]).endsWith("DescribeInstanceInformation")) {
            const { Filters } = JSON.parse(body) as { Filters: { Key: string; Values: string[] }[] };
            const names = Filters.find(({ Key }) => Key === "tag:citus-node")?.Values ?? [];
            asked.push(names);
            return say(200, {
                InstanceInformationList: [
                    ...(names.includes("worker-1") ? [{ InstanceId: "i-1", PingStatus: "Online" }] : []),
                    ...(names.includes("worker-50") ? [{ InstanceId: "i-50", PingStatus: "Online" }] : []),
                    ...(names.includes("worker-51") ? [{ InstanceId: "i-51", PingStatus: "ConnectionLost" }] : []),
                ],
            });
        }
        sent++;
        if (answer === "lost") return request.socket.destroy();
        if (answer === "throttled" && sent < 3)
            return say(400, { __type: "ThrottlingException", message: "Rate exceeded" });
        return say(400, { __type: "AccessDeniedException", message: "not you" });
    });
});
const KEYS = ["AWS_ENDPOINT_URL_SSM", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] as const;
const kept = KEYS.map((key) => process.env[key]);

beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    process.env.AWS_ENDPOINT_URL_SSM = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    process.env.AWS_ACCESS_KEY_ID = "AKIA";
    process.env.AWS_SECRET_ACCESS_KEY = "secret";
});

afterAll(() => {
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

test("machines of other nodes of the cluster are found by as many names as AWS takes in one question", async () => {
    asked.length = 0;
    const names = Array.from({ length: 90 }, (_, i) => `worker-${i + 2}`);
    assert.deepEqual(await onlineMachines(SHELL, names), ["i-50"]);
    assert.deepEqual(asked.flat(), names);
    assert.ok(asked.every((list) => list.length <= 40));
});
