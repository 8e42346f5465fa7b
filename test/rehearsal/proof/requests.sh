#!/bin/bash
# What a node asks of AWS, and what it must not get.
set -euo pipefail
imds=http://169.254.169.254/latest
region=eu-central-1
s3=https://app-0123456789abcdef.s3.$region.amazonaws.com

echo "token-less $(curl -s -o /dev/null -w '%{http_code}' $imds/meta-data/instance-id)"
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' $imds/api/token)
get() { curl -sf -H "X-aws-ec2-metadata-token: $token" "$imds/meta-data/$1"; }
echo "instance $(get instance-id)"
[ "$(get placement/region)" = $region ]
role=$(get iam/security-credentials/)
credentials=$(get "iam/security-credentials/$role")
user="$(jq -r '.AccessKeyId + ":" + .SecretAccessKey' <<< "$credentials")"
session=$(jq -r .Token <<< "$credentials")

signed() {
    local service=$1
    shift
    printf 'user = "%s"\nheader = "x-amz-security-token: %s"\n' "$user" "$session" \
        | curl -s --config - --aws-sigv4 "aws:amz:$region:$service" "$@"
}
echo "current $(signed s3 -f $s3/bundle/current)"
echo "object $(signed s3 -f "$s3/bundle/a%20b%2Bc.tar" | od -An -tx1 | tr -d ' ')"
echo "unsigned $(curl -s -o /dev/null -w '%{http_code}' $s3/bundle/current)"
echo "without token $(curl -s -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:$region:s3 --user "$user" $s3/bundle/current)"
signed secretsmanager -f https://secretsmanager.$region.amazonaws.com/ \
    -H 'content-type: application/x-amz-json-1.1' -H 'x-amz-target: secretsmanager.GetSecretValue' \
    -d '{"SecretId": "citus/app-012345/worker-1", "VersionId": "@VERSION@"}' | jq -r '"secret " + .SecretString'
user=${user%?}x
echo "foreign $(signed s3 -o /dev/null -w '%{http_code}' $s3/bundle/current)"
