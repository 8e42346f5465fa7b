#!/usr/bin/env bash
# Metrics for alarms, as lines of CloudWatch's embedded metric format in the log group /citus/BASE, stream NODE: so the role
# needs no permission that can't be limited to this cluster. Namespace Citus, dimensions Cluster (BASE) and Node. Runs as root.
#
#   metrics.sh on|off   once a minute, or not; remembered in /etc/citus-node.conf as ALARMS
#   metrics.sh post     now; nothing when they are off
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=aws.sh
. "$here/aws.sh"

remember() { # on, off
    { grep -v '^ALARMS=' "$conf" || true; printf 'ALARMS=%s\n' "$1"; } > "$conf.new"
    mv "$conf.new" "$conf"
}

# Seconds since a WAL segment last reached the repository while one waits; 0 when none waits. Nothing without an answer.
archive_age() {
    runuser -u postgres -- psql -h "$home/run" -U postgres -d postgres -XAtq -v ON_ERROR_STOP=1 -f - < "$here/archive-age.sql" 2> /dev/null || true
}

# Whole days until this node's certificate ends. Nothing when it can't be read.
certificate_days() {
    local ends
    ends=$(openssl x509 -enddate -noout -in "$home/conf/current/node.crt" 2> /dev/null) || return 0
    ends=$(date -d "${ends#notAfter=}" +%s)
    # the second in which it was asked belongs to the day
    echo $(((ends - $(date +%s) + 60) / 86400))
}

log_event() { # operation, body
    aws_json logs "$logs_url" "Logs_20140328.$1" "$2" -H 'x-amzn-logs-format: json/emf'
}

post() {
    local now disk age days message body answer
    now=$(date +%s%3N)
    disk=$(df --output=pcent "$home" | tail -n 1 | tr -dc 0-9)
    age=$(archive_age)
    days=$(certificate_days)
    # what has no answer is no metric
    message=$(jq -cn --arg cluster "$BASE" --arg node "$NODE" --argjson now "$now" --argjson disk "$disk" \
        --argjson age "${age:-null}" --argjson days "${days:-null}" '
        [{Name: "DiskUsed", Unit: "Percent", value: $disk}, {Name: "ArchiveAge", Unit: "Seconds", value: $age},
         {Name: "CertificateDays", Unit: "None", value: $days}] | map(select(.value != null)) as $metrics
        | {_aws: {Timestamp: $now, CloudWatchMetrics: [{Namespace: "Citus", Dimensions: [["Cluster", "Node"]],
            Metrics: $metrics | map(del(.value))}]}, Cluster: $cluster, Node: $node}
          + ($metrics | map({(.Name): .value}) | add)')
    body=$(jq -cn --arg group "/citus/$BASE" --arg stream "$NODE" --argjson now "$now" --arg message "$message" \
        '{logGroupName: $group, logStreamName: $stream, logEvents: [{timestamp: $now, message: $message}]}')
    credentials
    answer=$(log_event PutLogEvents "$body" 2> /dev/null) && return
    [[ $answer == *ResourceNotFoundException* ]] || die 69 "the metrics can't be sent: $answer"
    # the stream is made by who writes first
    answer=$(log_event CreateLogStream "{\"logGroupName\":\"/citus/$BASE\",\"logStreamName\":\"$NODE\"}" 2> /dev/null) \
        || [[ $answer == *ResourceAlreadyExistsException* ]] || die 69 "the log stream can't be made: $answer"
    answer=$(log_event PutLogEvents "$body" 2> /dev/null) || die 69 "the metrics can't be sent: $answer"
}

case ${1:-} in
    on)
        remember on
        systemctl enable --quiet --now citus-metrics.timer
        ;;
    off)
        remember off
        systemctl disable --quiet --now citus-metrics.timer
        ;;
    post) if [ "${ALARMS:-off}" = on ]; then post; fi ;;
    *) die 64 "metrics.sh on|off|post" ;;
esac
