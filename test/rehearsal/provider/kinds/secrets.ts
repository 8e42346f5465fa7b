/** Secrets Manager. */
import { randomUUID } from "node:crypto";
import { type Kind, Refusal } from "../kind.ts";
import { strings, text } from "../values.ts";
import { hex } from "../world.ts";

export const SECRET = "aws:secretsmanager/secret:Secret";
const VERSION = "aws:secretsmanager/secretVersion:SecretVersion";

/** Bytes of a value. */
const VALUE_LIMIT = 65536;

const secret: Kind = {
    autoname: { property: "name", max: 512 },
    replaces: ["name", "namePrefix", "type", "region"],
    documents: ["policy"],
    longest: { name: 512, description: 2048 },
    check(inputs, problem) {
        const name = text(inputs, "name");
        if (name !== undefined && !/^[A-Za-z0-9/_+=.@-]+$/.test(name))
            problem("name", `ValidationException: "${name}" must have only alphanumeric characters and /_+=.@-`);
        const days = inputs.recoveryWindowInDays;
        if (typeof days === "number" && days !== 0 && (days < 7 || days > 30))
            problem("recoveryWindowInDays", `must be 0 or between 7 and 30, not ${days}`);
    },
    create(inputs, world) {
        const name = String(inputs.name);
        if (world.all(SECRET).some((row) => row.props.name === name))
            throw new Refusal(
                "ResourceExistsException",
                `The operation failed because the secret ${name} already exists.`,
            );
        if (world.data.deletedSecrets.includes(name))
            throw new Refusal(
                "InvalidRequestException",
                `You can't create this secret because a secret with this name is already scheduled for deletion: ${name}`,
            );
        const id = world.arn("secretsmanager", `secret:${name}-${hex(world.newId("s"), 6)}`);
        return { id, props: { arn: id, recoveryWindowInDays: 30 } };
    },
    afterDelete(row, state, world) {
        for (const version of world.all(VERSION))
            if (version.props.secretId === row.id) world.remove(VERSION, version.id);
        if (state.recoveryWindowInDays !== 0) world.data.deletedSecrets.push(String(row.props.name));
    },
    outside: { delete: (machines, row) => machines.deleteSecret(String(row.props.name)) },
};

const VALUES = ["secretString", "secretBinary", "secretStringWo"];

const version: Kind = {
    untagged: true,
    replaces: ["secretId", "secretString", "secretBinary", "secretStringWoVersion", "region"],
    refers: { secretId: [SECRET, "ResourceNotFoundException"] },
    check(inputs, problem) {
        const given = VALUES.filter((name) => inputs[name] !== undefined);
        if (given.length > 1) problem(given[1] ?? "", `conflicts with ${given[0]}`);
        for (const name of given)
            if (Buffer.byteLength(text(inputs, name) ?? "") > VALUE_LIMIT)
                problem(name, `ValidationException: at most ${VALUE_LIMIT} bytes`);
    },
    create(inputs, world) {
        // the one before becomes AWSPREVIOUS, and what was that has no stage left
        for (const row of world.all(VERSION)) {
            if (row.props.secretId !== inputs.secretId) continue;
            row.props.versionStages = strings(row.props, "versionStages").includes("AWSCURRENT") ? ["AWSPREVIOUS"] : [];
        }
        const versionId = randomUUID();
        return {
            id: `${inputs.secretId}|${versionId}`,
            props: { arn: inputs.secretId, versionId, versionStages: ["AWSCURRENT"], hasSecretStringWo: false },
        };
    },
    exists: (row, world) => world.find(SECRET, row.props.secretId) !== undefined,
    outside: {
        async create(machines, row, world) {
            const owner = world.find(SECRET, row.props.secretId);
            await machines.putSecret(
                {
                    name: String(owner?.props.name),
                    arn: String(row.props.secretId),
                    version: String(row.props.versionId),
                },
                text(row.props, "secretString") ?? "",
            );
        },
    },
};

export const secrets: Record<string, Kind> = { [SECRET]: secret, [VERSION]: version };
