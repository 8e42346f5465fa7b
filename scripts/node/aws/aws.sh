#!/usr/bin/env bash
# What the scripts of a machine on AWS share: its facts, and requests that are signed with the role's credentials. Those
# reach curl on its standard input, never as an argument. The launcher in the user data begins with this file, so it needs
# nothing but curl and sed. Sourced before PostgreSQL is installed: what needs that is in ../lib.sh.
# shellcheck disable=SC2034  # used by the scripts that read this file
set -euo pipefail

say() { printf '%s %s: %s\n' "$(date -u +%FT%TZ)" "${0##*/}" "$*" >&2; }
die() {
    local code=$1
    shift
    printf '%s\n' "$*" >&2
    exit "$code"
}

# Where things are. Overridden in the scripts' own tests only.
conf=${CITUS_NODE_CONF:-/etc/citus-node.conf}
home=${CITUS_HOME:-/var/lib/citus}
scripts=${CITUS_NODE_SCRIPTS:-/usr/local/lib/citus-node}

# REGION, BUCKET, BASE, CLUSTER, NODE, ROLE, VOLUME_ID, SECRET, ALARMS, CITUS_VERSION
if [ -r "$conf" ]; then
    # shellcheck source=/dev/null
    . "$conf"
fi

imds_url=${CITUS_IMDS_URL:-http://169.254.169.254}
s3_url=${CITUS_S3_URL:-https://${BUCKET:-}.s3.${REGION:-}.amazonaws.com}
secrets_url=${CITUS_SECRETS_URL:-https://secretsmanager.${REGION:-}.amazonaws.com}
logs_url=${CITUS_LOGS_URL:-https://logs.${REGION:-}.amazonaws.com}

imds() { # path below meta-data
    printf 'header = "X-aws-ec2-metadata-token: %s"\n' "$imds_token" \
        | curl -sSf --max-time 5 --retry 3 --config - "$imds_url/latest/meta-data/$1"
}

# A value of JSON that holds no quotes, without a parser.
json_word() { sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'; }

# The role's temporary credentials, into this shell's variables.
credentials() {
    local role answer
    imds_token=$(curl -sSf --max-time 5 --retry 3 --retry-connrefused -X PUT \
        -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$imds_url/latest/api/token")
    role=$(imds iam/security-credentials/)
    answer=$(imds "iam/security-credentials/$role")
    access_key=$(printf '%s\n' "$answer" | json_word AccessKeyId)
    secret_key=$(printf '%s\n' "$answer" | json_word SecretAccessKey)
    session_token=$(printf '%s\n' "$answer" | json_word Token)
    [ -n "$access_key" ] || die 69 "this machine has no credentials of a role"
}

signed() { # service, what else curl takes
    local service=$1
    shift
    {
        printf 'user = "%s:%s"\n' "$access_key" "$secret_key"
        [ -z "$session_token" ] || printf 'header = "x-amz-security-token: %s"\n' "$session_token"
    } | curl -sS --connect-timeout 10 --aws-sigv4 "aws:amz:$REGION:$service" --config - "$@"
}

s3_get() { # key, file
    signed s3 --fail --max-time 120 --output "$2" "$s3_url/$1"
}

# An operation of a service that speaks JSON. Its answer goes to standard output, also that of one that is refused.
aws_json() { # service, url, operation, body without secrets, what else curl takes
    local service=$1 url=$2 operation=$3 body=$4
    shift 4
    signed "$service" --fail-with-body --max-time 20 -H 'content-type: application/x-amz-json-1.1' \
        -H "x-amz-target: $operation" --data-raw "$body" "$@" "$url/"
}
