#!/bin/bash
# What a role may do and what not.
# shellcheck disable=SC2154 # signed.sh comes before this
echo "get $(status signed s3 "$s3/bundle/current")"
echo "put $(status signed s3 -T /etc/hostname "$s3/bundle/current")"
echo "put backup $(status signed s3 -T /etc/hostname "$s3/backups/x")"
echo "list $(status signed s3 "$s3/?list-type=2&prefix=backups/")"
echo "list all $(status signed s3 "$s3/?list-type=2")"
echo "delete several $(status signed s3 -X POST "$s3/?delete=" --data-binary '<Delete><Object><Key>backups/x</Key></Object><Object><Key>bundle/current</Key></Object></Delete>')"
echo "own secret $(status secret '{"SecretId": "citus/app-012345/worker-1"}')"
echo "other secret $(status secret '{"SecretId": "citus/app-012345/worker-2"}')"
