#!/bin/bash
# What a node asks of AWS, and what it must not get.
# shellcheck disable=SC2154 # signed.sh comes before this
echo "token-less $(status curl -s "$imds/meta-data/instance-id")"
echo "instance $(metadata instance-id)"
[ "$(metadata placement/region)" = "$region" ]
echo "current $(signed s3 -f "$s3/bundle/current")"
echo "object $(signed s3 -f "$s3/bundle/a%20b%2Bc.tar" | od -An -tx1 | tr -d ' ')"
echo "unsigned $(status curl -s "$s3/bundle/current")"
echo "without token $(status curl -s --aws-sigv4 "aws:amz:$region:s3" --user "$user" "$s3/bundle/current")"
echo "secret $(secret '{"SecretId": "citus/app-012345/worker-1", "VersionId": "@VERSION@"}' -f | jq -r .SecretString)"
user=${user%?}x
echo "foreign $(status signed s3 "$s3/bundle/current")"
