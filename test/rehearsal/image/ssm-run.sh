#!/bin/sh
# Does what the SSM agent does with a command of AWS-RunShellScript: writes the script that comes on standard input to a
# file, and runs that with sh, as root, with nothing on its standard input and little in its environment.
#   ssm-run.sh run COMMAND_ID INSTANCE_ID REGION TIMEOUT [DIRECTORY]
#   ssm-run.sh cancel COMMAND_ID
set -eu
action=$1 id=$2
pid=/run/ssm/$id

case $action in
    run)
        instance=$3 region=$4 timeout=$5 directory=${6-}
        work=/var/lib/amazon/ssm/$instance/document/orchestration/$id/awsrunShellScript/0.awsrunShellScript
        umask 077
        mkdir -p /run/ssm "$work"
        cat > "$work/_script.sh"
        chmod 0700 "$work/_script.sh"
        cd "${directory:-$work}"
        umask 022
        # this process leads a group and becomes the timeout, which ends all of the group, and so does cancel
        echo $$ > "$pid"
        exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            AWS_SSM_INSTANCE_ID="$instance" AWS_SSM_REGION_NAME="$region" SSM_COMMAND_ID="$id" \
            timeout --signal=KILL "$timeout" sh -c "$work/_script.sh" < /dev/null
        ;;
    cancel)
        kill -s KILL -- "-$(cat "$pid")"
        ;;
    *)
        echo "ssm-run.sh: unknown action $action" >&2
        exit 64
        ;;
esac
