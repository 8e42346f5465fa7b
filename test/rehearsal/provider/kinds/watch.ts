/** CloudWatch: alarms and logs. */
import { type Kind, Refusal } from "../kind.ts";
import { number, strings } from "../values.ts";

const ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm";
const LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup";
const FILTER = "aws:cloudwatch/logMetricFilter:LogMetricFilter";

const ACTIONS = ["alarmActions", "okActions", "insufficientDataActions"];

const alarm: Kind = {
    autoname: { property: "name" },
    replaces: ["name", "region"],
    longest: { name: 255, alarmDescription: 1024 },
    values: {
        comparisonOperator: [
            "GreaterThanOrEqualToThreshold",
            "GreaterThanThreshold",
            "LessThanThreshold",
            "LessThanOrEqualToThreshold",
            "LessThanLowerOrGreaterThanUpperThreshold",
            "LessThanLowerThreshold",
            "GreaterThanUpperThreshold",
        ],
        statistic: ["SampleCount", "Average", "Sum", "Minimum", "Maximum"],
        treatMissingData: ["breaching", "notBreaching", "ignore", "missing"],
    },
    range: { evaluationPeriods: [1, 100000], datapointsToAlarm: [1, 100000] },
    check(inputs, problem) {
        const simple = inputs.metricName !== undefined;
        if (simple === (inputs.metricQueries !== undefined))
            problem("metricName", "exactly one of metricName, metricQueries must be given");
        if (simple)
            for (const name of ["namespace", "period", "evaluationPeriods", "comparisonOperator"])
                if (inputs[name] === undefined) problem(name, "MissingParameter: a metric alarm needs it");
        if (simple && (inputs.statistic === undefined) === (inputs.extendedStatistic === undefined))
            problem("statistic", "exactly one of statistic, extendedStatistic must be given");
        if (inputs.threshold === undefined && inputs.thresholdMetricId === undefined)
            problem("threshold", "one of threshold, thresholdMetricId must be given");
        const period = number(inputs, "period");
        if (period !== undefined && ![10, 20, 30].includes(period) && (period < 60 || period % 60 !== 0))
            problem("period", `ValidationError: must be 10, 20, 30 or a multiple of 60 seconds, not ${period}`);
        const all = (period ?? 0) * (number(inputs, "evaluationPeriods") ?? 0);
        if (all > ((period ?? 0) >= 3600 ? 7 : 1) * 86400)
            problem("evaluationPeriods", "ValidationError: metrics cannot be checked across more than a day");
        for (const name of ACTIONS) {
            const arns = strings(inputs, name);
            if (arns.length > 5) problem(name, "ValidationError: at most 5 actions");
            for (const arn of arns)
                if (!arn.startsWith("arn:")) problem(name, `ValidationError: "${arn}" is not an ARN`);
        }
    },
    create(inputs, world) {
        const id = String(inputs.name);
        if (world.find(ALARM, id)) throw new Refusal("AlreadyExists", `an alarm ${id} already exists`);
        return {
            id,
            props: {
                arn: world.arn("cloudwatch", `alarm:${id}`),
                actionsEnabled: true,
                treatMissingData: "missing",
                evaluateLowSampleCountPercentiles: "",
            },
        };
    },
};

const DAYS = [
    0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

const logGroup: Kind = {
    autoname: { property: "name", max: 512 },
    replaces: ["name", "namePrefix", "logGroupClass", "region"],
    longest: { name: 512 },
    values: { retentionInDays: DAYS, logGroupClass: ["STANDARD", "INFREQUENT_ACCESS", "DELIVERY"] },
    check(inputs, problem) {
        if (typeof inputs.name === "string" && !/^[\w.\-/#]+$/.test(inputs.name))
            problem("name", "InvalidParameterException: only a-z, A-Z, 0-9 and _-/.# are allowed");
    },
    create(inputs, world) {
        const id = String(inputs.name);
        if (world.find(LOG_GROUP, id))
            throw new Refusal("ResourceAlreadyExistsException", `The specified log group already exists: ${id}`);
        return {
            id,
            props: {
                arn: world.arn("logs", `log-group:${id}`),
                logGroupClass: "STANDARD",
                retentionInDays: 0,
                deletionProtectionEnabled: false,
            },
        };
    },
    beforeDelete(row) {
        if (row.props.deletionProtectionEnabled === true)
            throw new Refusal("ValidationException", `Log group ${row.id} has deletion protection.`);
    },
    afterDelete(row, _state, world) {
        for (const filter of world.all(FILTER))
            if (filter.props.logGroupName === row.id) world.remove(FILTER, filter.id);
    },
};

const filter: Kind = {
    autoname: { property: "name", max: 512 },
    untagged: true,
    replaces: ["name", "logGroupName", "region"],
    longest: { name: 512, pattern: 1024 },
    refers: { logGroupName: [LOG_GROUP, "ResourceNotFoundException"] },
    create: (inputs) => ({ id: String(inputs.name) }),
};

export const watch: Record<string, Kind> = { [ALARM]: alarm, [LOG_GROUP]: logGroup, [FILTER]: filter };
