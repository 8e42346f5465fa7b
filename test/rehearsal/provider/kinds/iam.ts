/** Roles and what they may do. */
import { isManagedPolicy } from "../catalogue.ts";
import { type Kind, type Problem, Refusal } from "../kind.ts";
import { type Props, text } from "../values.ts";
import { ACCOUNT, hex } from "../world.ts";
import { type PolicyUse, policyProblem } from "./policy.ts";

export const ROLE = "aws:iam/role:Role";
export const PROFILE = "aws:iam/instanceProfile:InstanceProfile";
const ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy";
const ROLE_ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment";

/** Characters of all inline policies of a role, white space not counted. */
const INLINE_LIMIT = 10240;
const TRUST_LIMIT = 2048;
const NAME = /^[\w+=,.@-]+$/;
const NO_ROLE = [ROLE, "NoSuchEntity"] as const;

function name(inputs: Props, problem: Problem): void {
    const value = text(inputs, "name");
    if (value !== undefined && !NAME.test(value))
        problem("name", `ValidationError: "${value}": only alphanumeric characters and +=,.@-_ are allowed`);
}

export function document(inputs: Props, property: string, use: PolicyUse, problem: Problem): void {
    const value = text(inputs, property);
    const wrong = value === undefined ? undefined : policyProblem(value, use);
    if (wrong) problem(property, wrong);
}

const size = (policy: unknown): number => String(policy).replace(/\s/g, "").length;

const role: Kind = {
    autoname: { property: "name", max: 64 },
    global: true,
    replaces: ["name", "namePrefix", "path"],
    documents: ["assumeRolePolicy"],
    longest: { name: 64, description: 1000 },
    range: { maxSessionDuration: [3600, 43200] },
    usedBy: [
        [ROLE_POLICY, "role"],
        [ROLE_ATTACHMENT, "role"],
    ],
    check(inputs, problem) {
        name(inputs, problem);
        document(inputs, "assumeRolePolicy", "trust", problem);
        const trust = text(inputs, "assumeRolePolicy");
        if (trust !== undefined && size(trust) > TRUST_LIMIT)
            problem("assumeRolePolicy", `LimitExceeded: at most ${TRUST_LIMIT} characters`);
        const description = text(inputs, "description") ?? "";
        if (!/^[\t\n\r -~\u00A1-\u00FF]*$/.test(description))
            problem("description", "ValidationError: has characters that IAM does not allow");
        for (const property of ["inlinePolicies", "managedPolicyArns"])
            if (inputs[property] !== undefined)
                problem(property, "the stand-in knows policies only as resources of their own");
    },
    create(inputs, world) {
        const id = String(inputs.name);
        if (world.find(ROLE, id)) throw new Refusal("EntityAlreadyExists", `Role with name ${id} already exists.`);
        return {
            id,
            props: {
                arn: `arn:aws:iam::${ACCOUNT}:role${text(inputs, "path") ?? "/"}${id}`,
                path: "/",
                maxSessionDuration: 3600,
                createDate: new Date().toISOString(),
                uniqueId: `AROA${hex(world.newId("r"), 17).toUpperCase()}`,
                managedPolicyArns: [],
                inlinePolicies: [],
            },
        };
    },
    afterDelete(row, _state, world) {
        for (const profile of world.all(PROFILE)) if (profile.props.role === row.id) delete profile.props.role;
    },
};

const inlineLimit = (inputs: Props, others: readonly Props[]): void => {
    const sum = [inputs, ...others].reduce((all, p) => all + size(p.policy), 0);
    if (sum > INLINE_LIMIT)
        throw new Refusal(
            "LimitExceeded",
            `Maximum policy size of ${INLINE_LIMIT} bytes exceeded for role ${inputs.role}: all its inline policies have ${sum}`,
        );
};

const rolePolicy: Kind = {
    autoname: { property: "name", max: 128 },
    global: true,
    untagged: true,
    replaces: ["name", "namePrefix", "role"],
    documents: ["policy"],
    longest: { name: 128 },
    refers: { role: NO_ROLE },
    check(inputs, problem) {
        name(inputs, problem);
        document(inputs, "policy", "identity", problem);
        const policy = text(inputs, "policy");
        if (policy !== undefined && size(policy) > INLINE_LIMIT)
            problem(
                "policy",
                `LimitExceeded: Maximum policy size of ${INLINE_LIMIT} bytes exceeded: it has ${size(policy)}`,
            );
    },
    create(inputs, world) {
        const id = `${inputs.role}:${inputs.name}`;
        if (world.find(ROLE_POLICY, id)) throw new Refusal("EntityAlreadyExists", `${id} already exists`);
        inlineLimit(
            inputs,
            world.all(ROLE_POLICY).flatMap((row) => (row.props.role === inputs.role ? [row.props] : [])),
        );
        return { id };
    },
    update(row, news, world) {
        inlineLimit(
            news,
            world
                .all(ROLE_POLICY)
                .flatMap((other) => (other.id !== row.id && other.props.role === news.role ? [other.props] : [])),
        );
        return undefined;
    },
};

/** AWS' quota of managed policies of a role. */
const MANAGED_LIMIT = 10;

const rolePolicyAttachment: Kind = {
    global: true,
    untagged: true,
    replaces: ["role", "policyArn"],
    refers: { role: NO_ROLE },
    create(inputs, world) {
        const arn = String(inputs.policyArn);
        if (!isManagedPolicy(arn))
            throw new Refusal("NoSuchEntity", `Policy ${arn} does not exist or is not attachable.`);
        const attached = world.all(ROLE_ATTACHMENT).filter((row) => row.props.role === inputs.role);
        if (attached.length >= MANAGED_LIMIT)
            throw new Refusal("LimitExceeded", `Cannot exceed quota for PoliciesPerRole: ${MANAGED_LIMIT}`);
        return { id: `${inputs.role}/${arn}` };
    },
};

const instanceProfile: Kind = {
    autoname: { property: "name", max: 128 },
    global: true,
    replaces: ["name", "namePrefix", "path"],
    longest: { name: 128 },
    refers: { role: NO_ROLE },
    check: name,
    create(inputs, world) {
        const id = String(inputs.name);
        if (world.find(PROFILE, id)) throw new Refusal("EntityAlreadyExists", `Instance Profile ${id} already exists.`);
        return {
            id,
            props: {
                arn: `arn:aws:iam::${ACCOUNT}:instance-profile${text(inputs, "path") ?? "/"}${id}`,
                path: "/",
                createDate: new Date().toISOString(),
                uniqueId: `AIPA${hex(world.newId("p"), 17).toUpperCase()}`,
            },
        };
    },
};

export const iam: Record<string, Kind> = {
    [ROLE]: role,
    [ROLE_POLICY]: rolePolicy,
    [ROLE_ATTACHMENT]: rolePolicyAttachment,
    [PROFILE]: instanceProfile,
};
