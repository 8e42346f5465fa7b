#!/bin/bash
# As its role: `signed SERVICE CURL_ARGUMENT...`. Goes before a script that uses it.
set -euo pipefail
imds=http://169.254.169.254/latest
region=eu-central-1
# shellcheck disable=SC2034 # used by what comes after this
s3=https://app-0123456789abcdef.s3.$region.amazonaws.com
secretsmanager=https://secretsmanager.$region.amazonaws.com/

token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' $imds/api/token)
metadata() { curl -sf -H "X-aws-ec2-metadata-token: $token" "$imds/meta-data/$1"; }
role=$(metadata iam/security-credentials/)
credentials=$(metadata "iam/security-credentials/$role")
user="$(jq -r '.AccessKeyId + ":" + .SecretAccessKey' <<< "$credentials")"
session=$(jq -r .Token <<< "$credentials")

signed() {
    local service=$1
    shift
    printf 'user = "%s"\nheader = "x-amz-security-token: %s"\n' "$user" "$session" \
        | curl -s --config - --aws-sigv4 "aws:amz:$region:$service" "$@"
}
status() { "$@" -o /dev/null -w '%{http_code}'; }
secret() {
    signed secretsmanager "$secretsmanager" -H 'content-type: application/x-amz-json-1.1' \
        -H 'x-amz-target: secretsmanager.GetSecretValue' -d "$1" "${@:2}"
}
