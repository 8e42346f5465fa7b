/** What AWS watches a machine for. */

import * as pulumi from "@pulumi/pulumi";
import { partitionOf, type Scope } from "./scope.ts";
import * as aws from "./sdk.ts";

/** Namespace of the metrics that nodes write (scripts/node/aws/metrics.sh), with the dimensions `Cluster` and `Node`. */
export const NAMESPACE = "Citus";
/** Per cent of the data volume. */
export const DISK_METRIC = "DiskUsed";
/** Seconds that WAL waits for the archive. */
export const ARCHIVE_METRIC = "ArchiveAge";
/** Whole days until a node's certificate ends. */
export const CERTIFICATE_METRIC = "CertificateDays";

const CERTIFICATE_DAYS = 30;
const DISK_PERCENT = 80;
const ARCHIVE_SECONDS = 900;
const LOG_DAYS = 30;

type Watched = Pick<
    aws.cloudwatch.MetricAlarmArgs,
    "namespace" | "metricName" | "dimensions" | "threshold" | "period" | "evaluationPeriods" | "alarmDescription"
>;

/** The log group that nodes write their metrics to. */
export function metricsGroup(scope: Scope, parent: pulumi.Resource): aws.cloudwatch.LogGroup {
    return new aws.cloudwatch.LogGroup(
        `${scope.prefix}-metrics`,
        {
            name: pulumi.interpolate`/citus/${scope.base}`,
            retentionInDays: LOG_DAYS,
            tags: scope.tags("metrics"),
        },
        { parent },
    );
}

/** A machine whose host fails is started on another one, always; the rest is for `citus:alarmTopic`. */
export function nodeAlarms(
    scope: Scope,
    node: string,
    args: { readonly instanceId: pulumi.Output<string>; readonly archives: boolean },
    parent: pulumi.Resource,
): void {
    const { alarmTopic, region } = scope.aws;
    const topic = alarmTopic === undefined ? [] : [alarmTopic];
    const alarm = (what: string, watched: Watched, more: Partial<aws.cloudwatch.MetricAlarmArgs>) =>
        new aws.cloudwatch.MetricAlarm(
            `${scope.prefix}-${node}-${what}`,
            {
                name: pulumi.interpolate`${scope.base}-${node}-${what}`,
                ...watched,
                statistic: "Maximum",
                comparisonOperator: "GreaterThanOrEqualToThreshold",
                treatMissingData: "missing",
                alarmActions: topic,
                tags: scope.tags(`${node}-${what}`, node),
                ...more,
            },
            { parent },
        );
    const machine = { namespace: "AWS/EC2", dimensions: { InstanceId: args.instanceId }, threshold: 1, period: 60 };
    alarm(
        "recover",
        {
            ...machine,
            metricName: "StatusCheckFailed_System",
            evaluationPeriods: 2,
            alarmDescription: `The host of ${node} of ${scope.cluster} fails: its machine is started on another`,
        },
        { alarmActions: [`arn:${partitionOf(region)}:automate:${region}:ec2:recover`, ...topic] },
    );
    if (alarmTopic === undefined) return;
    alarm(
        "status",
        {
            ...machine,
            metricName: "StatusCheckFailed",
            evaluationPeriods: 3,
            alarmDescription: `The machine of ${node} of ${scope.cluster} fails its status checks`,
        },
        { okActions: topic },
    );
    const own = {
        namespace: NAMESPACE,
        dimensions: { Cluster: scope.base, Node: node },
        period: 300,
        evaluationPeriods: 2,
    };
    // a node that says nothing any more is told of too
    const told = { okActions: topic, insufficientDataActions: topic };
    alarm(
        "disk",
        {
            ...own,
            metricName: DISK_METRIC,
            threshold: DISK_PERCENT,
            alarmDescription: `The data volume of ${node} of ${scope.cluster} fills up: raise volumeSize`,
        },
        told,
    );
    alarm(
        "certificate",
        {
            ...own,
            metricName: CERTIFICATE_METRIC,
            threshold: CERTIFICATE_DAYS,
            alarmDescription: `The certificate of ${node} of ${scope.cluster} ends within ${CERTIFICATE_DAYS} days, and then nothing can connect: pulumi up renews it`,
        },
        { ...told, statistic: "Minimum", comparisonOperator: "LessThanOrEqualToThreshold" },
    );
    if (!args.archives) return;
    alarm(
        "archive",
        {
            ...own,
            metricName: ARCHIVE_METRIC,
            threshold: ARCHIVE_SECONDS,
            alarmDescription: `The archive of ${node} of ${scope.cluster} is behind: a restore would lose what is not in it`,
        },
        told,
    );
}
