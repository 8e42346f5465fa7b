/** What AWS says of a policy document before it looks at what the document means. */
import { isObject, type Props } from "../values.ts";
import type { World } from "../world.ts";

/** Whose document it is: a role's rights, who may assume it, or a bucket's. */
export type PolicyUse = "identity" | "trust" | "resource";

const OPERATIONS = /^[a-z0-9-]+:[A-Za-z0-9*?]+$/;

/** @returns what is wrong with it, undefined when nothing is */
export function policyProblem(document: string, use: PolicyUse): string | undefined {
    let policy: unknown;
    try {
        policy = JSON.parse(document);
    } catch (error) {
        return `MalformedPolicyDocument: it is no JSON: ${(error as Error).message}`;
    }
    if (!isObject(policy)) return "MalformedPolicyDocument: it is no JSON object";
    const unknown = Object.keys(policy).find((key) => !["Version", "Id", "Statement"].includes(key));
    if (unknown) return `MalformedPolicyDocument: unknown field ${unknown}`;
    if (policy.Version !== undefined && !["2012-10-17", "2008-10-17"].includes(String(policy.Version)))
        return `MalformedPolicyDocument: there is no policy version ${policy.Version}`;
    const statements = statementsOf(policy);
    if (statements.length === 0) return "MalformedPolicyDocument: no Statement";
    const sids = statements.flatMap((s) => (isObject(s) && s.Sid !== undefined ? [s.Sid] : []));
    if (new Set(sids).size < sids.length) return "MalformedPolicyDocument: statement IDs (SID) must be unique";
    return statements.map((s, i) => statementProblem(s, use, i)).find((found) => found !== undefined);
}

export const statementsOf = (policy: Props): unknown[] =>
    Array.isArray(policy.Statement) ? policy.Statement : policy.Statement === undefined ? [] : [policy.Statement];

const FIELDS = [
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

function statementProblem(statement: unknown, use: PolicyUse, index: number): string | undefined {
    const where = `MalformedPolicyDocument: statement ${index + 1}`;
    if (!isObject(statement)) return `${where} is no object`;
    const unknown = Object.keys(statement).find((key) => !FIELDS.includes(key));
    if (unknown) return `${where}: unknown field ${unknown}`;
    if (!["Allow", "Deny"].includes(String(statement.Effect))) return `${where}: Effect must be Allow or Deny`;
    if (use !== "resource" && statement.Sid !== undefined && !/^[A-Za-z0-9]*$/.test(String(statement.Sid)))
        return `${where}: Statement IDs (SID) must be alpha-numeric`;
    const actions = [statement.Action ?? statement.NotAction].flat();
    if (actions.some((a) => typeof a !== "string" || (a !== "*" && !OPERATIONS.test(a))))
        return `${where}: Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2: ${JSON.stringify(actions)}`;
    const resources = [statement.Resource ?? statement.NotResource].flat();
    const principal = statement.Principal ?? statement.NotPrincipal;
    if (use !== "identity" && principal === undefined) return `${where}: missing Principal`;
    if (use === "identity" && principal !== undefined)
        return `${where}: policy document should not specify a principal`;
    if (use === "trust") {
        if (resources[0] !== undefined) return `${where}: has prohibited field Resource`;
        return actions.every((a) => String(a).startsWith("sts:")) ? undefined : `${where}: only sts actions here`;
    }
    if (resources.some((r) => typeof r !== "string" || (r !== "*" && !r.startsWith("arn:"))))
        return `${where}: Resource ${JSON.stringify(resources)} must be in ARN format or "*"`;
    return undefined;
}

/** Roles of this account that it names and that don't exist. */
export function strangers(document: string, world: World, roleType: string): string[] {
    const arns = statementsOf(JSON.parse(document) as Props).flatMap((statement) => {
        const principal = isObject(statement) ? (statement.Principal ?? statement.NotPrincipal) : undefined;
        return isObject(principal) ? [principal.AWS].flat().filter((a): a is string => typeof a === "string") : [];
    });
    const roles = new Set(world.all(roleType).map((row) => row.props.arn));
    return arns.filter((arn) => arn.includes(":role/") && !roles.has(arn));
}

/** The document with its keys in order, so that documents that mean the same are the same text. */
export function canonical(value: unknown): unknown {
    if (Array.isArray(value)) {
        const items = value.map(canonical);
        // lists of actions and resources are sets, and one of one is the thing itself
        if (items.length === 1 && typeof items[0] === "string") return items[0];
        return items.every((v) => typeof v === "string") ? [...items].sort() : items;
    }
    if (!isObject(value)) return value;
    return Object.fromEntries(
        Object.keys(value)
            .sort()
            .map((key) => [key, canonical(value[key])]),
    );
}
