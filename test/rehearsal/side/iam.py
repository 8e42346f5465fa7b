"""Whether a role may do what it asks for: the part of IAM's rules that the policies here use.

The policies are those that the stand-in provider has written to the world file. Without them (no provider took part)
everything is allowed.
"""

import fnmatch
import json
import pathlib
import re

WORLD = pathlib.Path("/world/world.json")
PROFILE = "aws:iam/instanceProfile:InstanceProfile"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"


class Unsupported(Exception):
    """A rule that is not known here: better said than guessed."""


def rows(kind):
    if not WORLD.exists():
        return []
    return [row for row in json.loads(WORLD.read_text(encoding="utf-8"))["rows"].values() if row["type"] == kind]


def secret_arn(name):
    for row in rows("aws:secretsmanager/secret:Secret"):
        if name in (row["props"]["name"], row["id"]):
            return row["id"]
    return None


def listed(value):
    return value if isinstance(value, list) else [value]


def like(pattern, text):
    """With * and ? only; brackets mean themselves."""
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), text) is not None


def compare(operator, wanted, have):
    base = operator.removesuffix("IfExists")
    if have is None:
        return operator.endswith("IfExists") or base in ("StringNotEquals", "StringNotLike", "ArnNotLike")
    one_of = {
        "StringEquals": lambda: have in wanted,
        "StringNotEquals": lambda: have not in wanted,
        "StringLike": lambda: any(like(each, have) for each in wanted),
        "StringNotLike": lambda: not any(like(each, have) for each in wanted),
        "ArnEquals": lambda: any(like(each, have) for each in wanted),
        "ArnLike": lambda: any(like(each, have) for each in wanted),
        "Bool": lambda: have.lower() in [str(each).lower() for each in wanted],
        "NumericLessThan": lambda: all(float(have) < float(each) for each in wanted),
    }
    if base not in one_of:
        raise Unsupported(f"condition operator {operator}")
    return one_of[base]()


def condition(statement, context):
    for operator, keys in (statement.get("Condition") or {}).items():
        for key, wanted in keys.items():
            have = context.get(key.lower())
            if operator == "Null":
                if (have is None) != (str(listed(wanted)[0]).lower() == "true"):
                    return False
            elif not compare(operator, listed(wanted), have):
                return False
    return True


def applies(statement, action, resource, context):
    for key in ("NotAction", "NotResource", "NotPrincipal"):
        if key in statement:
            raise Unsupported(key)
    return (
        any(like(each.lower(), action.lower()) for each in listed(statement["Action"]))
        and any(like(each, resource) for each in listed(statement["Resource"]))
        and condition(statement, context)
    )


def statements(policy):
    return listed(json.loads(policy)["Statement"])


def allowed(facts, action, resource, context):
    """Whether an instance's role may; denials in the bucket's own policy count too, whomever they name."""
    profiles = rows(PROFILE)
    if not profiles:
        return True
    name = facts["instanceProfile"].rsplit("/", 1)[-1]
    role = next((row["props"].get("role") for row in profiles if row["props"]["name"] == name), None)
    mine = [s for row in rows(ROLE_POLICY) if row["props"]["role"] == role for s in statements(row["props"]["policy"])]
    bucket = resource.removeprefix("arn:aws:s3:::").split("/")[0]
    guards = [row["props"] for row in rows(BUCKET_POLICY) if row["props"]["bucket"] == bucket]
    theirs = [s for props in guards for s in statements(props["policy"])]
    if any(s["Effect"] == "Deny" and applies(s, action, resource, context) for s in mine + theirs):
        return False
    return any(s["Effect"] == "Allow" and applies(s, action, resource, context) for s in mine)
