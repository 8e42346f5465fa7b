/** Whether each node's WAL reaches the repository, and how old the last restore point is. Asked of the nodes, through the coordinator. */

import { NODE_HOME } from "../../../node/settings.ts";
import { nodeOf } from "../../../node/topology.ts";
import type { Session } from "../../../reach/session.ts";
import type { RestorePoint } from "../../../restore/points.ts";
import { describeAge } from "../../../util/age.ts";
import { pause } from "../../../util/pause.ts";
import { onNodes } from "../../catalog.ts";
import type { Finding } from "./finding.ts";

export interface NodeArchive {
    readonly node: string;
    readonly on: boolean;
    /** Whether backups are configured, so that it should be on. */
    readonly wanted?: boolean;
    /** Seconds since the last segment arrived; undefined before the first. */
    readonly age?: number;
    /** Segments that wait to be sent. */
    readonly waiting: number;
    /** Why segments do not arrive, in pgBackRest's words; undefined when they do. */
    readonly failing?: string;
    /** Why its last scheduled backup failed. */
    readonly backupError?: string;
    /** Why the newest restore point can't be restored: what the repository lacks of this node. */
    readonly hole?: Hole;
}

/** What scripts/node/chain.sh found missing. */
export interface Hole {
    /** The backup since which WAL is missing, or which is gone. */
    readonly label: string;
    /** The first segment that is missing; null when the backup is gone. */
    readonly segment: string | null;
    readonly count: number;
}

export interface ArchiveHealth {
    readonly nodes: readonly NodeArchive[];
    /** Name of the last published restore point. */
    readonly lastPoint?: string;
    /** Seconds since it was published. */
    readonly pointAge?: number;
    /** Seconds between scheduled points; undefined when none are taken by themselves. */
    readonly pointInterval?: number;
    /** Local tables of the coordinator that the newest point did not hold, and who was in the way; undefined for none. */
    readonly notHeld?: NonNullable<RestorePoint["notHeld"]>;
    /** Why the newest two tries to take one failed. */
    readonly pointError?: string;
}

interface Row {
    on: boolean;
    wanted?: boolean;
    age: number | null;
    waiting: number;
    failing: boolean;
    reason: string | null;
    backupError: string | null;
    archiveError: string | null;
    notHeld: NonNullable<RestorePoint["notHeld"]> | null;
    hole: (Hole & { readonly point: string | null }) | null;
    lastPoint: string | null;
    pointAge: number | null;
    pointError: string | null;
    pointInterval: string | null;
}

const file = (name: string) => `pg_catalog.pg_read_file('${NODE_HOME}/backup/${name}', true)`;

/** Runs on a node. */
const QUERY = `SELECT jsonb_build_object(
    'on', current_setting('archive_mode') <> 'off',
    'wanted', coalesce((pg_catalog.pg_stat_file('${NODE_HOME}/conf/current/pgbackrest.conf', true)).size > 0, false),
    'age', extract(epoch FROM clock_timestamp() - a.last_archived_time),
    'waiting', (SELECT count(*) FROM pg_catalog.pg_ls_archive_statusdir() WHERE name LIKE '%.ready'),
    'failing', coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false),
    'reason', (SELECT pg_catalog.pg_read_file(d.path || a.last_failed_wal || '.error', true) FROM (
        SELECT '${NODE_HOME}/spool/archive/' || substring(current_setting('archive_command') FROM '--stanza=([^ ]+)') || '/out/' AS path) d),
    'archiveError', ${file("archive.error")}, 'backupError', ${file("backup.error")}, 'pointError', ${file("restore-point.error")},
    'pointInterval', substring(pg_catalog.pg_read_file('${NODE_HOME}/conf/current/backup.conf', true) FROM 'restore_point=([0-9]+)'),
    'hole', ${file("hole")}::jsonb, 'notHeld', ${file("not-held")}::jsonb, 'lastPoint', ${file("last-point")},
    'pointAge', extract(epoch FROM clock_timestamp() - (SELECT modification FROM pg_catalog.pg_stat_file('${NODE_HOME}/backup/last-point', true))))
  FROM pg_catalog.pg_stat_archiver a`;

/** As one line, without pgBackRest's code and its account of which of its processes said it. */
function oneLine(text: string | null): string | undefined {
    if (text === null) return undefined;
    const line = text
        .replace(/^\d+\n/, "")
        .replace(/raised from \S+ protocol: /g, "")
        .replace(/\s+/g, " ")
        .trim();
    return line.length > 500 ? `${line.slice(0, 497)}...` : line || undefined;
}

function archiveOf(node: string, row: Row, lastPoint: string | undefined): NodeArchive {
    const failing = row.failing
        ? (oneLine(row.reason) ??
          oneLine(row.archiveError) ??
          "the last segment was refused; the node's log has the reason")
        : undefined;
    const backupError = oneLine(row.backupError);
    // a newer point was published only because it rests on a newer backup
    const { point, ...hole } = row.hole ?? { point: null };
    return {
        node,
        on: row.on,
        ...(row.wanted && !row.on ? { wanted: true } : {}),
        waiting: row.waiting,
        ...(row.age === null ? {} : { age: row.age }),
        ...(row.on && failing !== undefined ? { failing } : {}),
        ...(row.on && backupError !== undefined ? { backupError } : {}),
        ...(row.on && point !== null && point === lastPoint ? { hole: hole as Hole } : {}),
    };
}

interface Answer {
    readonly host: string;
    readonly groupId: number;
    readonly facts: Row;
}

/** How often a node whose archive fails is asked for the reason, and how long apart in milliseconds. */
const REASON_TRIES = 5;
const REASON_EVERY = 400;

/** While pgBackRest tries a segment again, the reason of the last time is not there. */
const lacksReason = ({ facts }: Answer) =>
    facts.failing && (oneLine(facts.reason) ?? oneLine(facts.archiveError)) === undefined;

/**
 * Nodes that do not answer are left out.
 * @param silent hosts of nodes that are known not to answer: each would be waited for
 */
export async function readArchive(coordinator: Session, silent: readonly string[] = []): Promise<ArchiveHealth> {
    let answers = await ask(coordinator, silent);
    for (let tries = 1; tries < REASON_TRIES && answers.some(lacksReason); tries++) {
        await pause(REASON_EVERY);
        answers = await ask(coordinator, silent);
    }
    return healthOf(answers);
}

async function ask(coordinator: Session, silent: readonly string[]): Promise<Answer[]> {
    const rows = await coordinator.query<{ host: string; groupId: number; success: boolean; result: string }>(
        `SELECT n.nodename AS host, n.groupid AS "groupId", r.success, r.result
           FROM ${onNodes("nodename <> ALL ($2)", "$1")} JOIN pg_dist_node n ON n.nodename = r.node_name AND n.nodeport = r.node_port
          ORDER BY n.groupid`,
        [QUERY, silent],
    );
    return rows.filter(({ success }) => success).map((row) => ({ ...row, facts: JSON.parse(row.result) as Row }));
}

function healthOf(answers: readonly Answer[]): ArchiveHealth {
    const own = answers.find((row) => row.groupId === 0)?.facts;
    const lastPoint = oneLine(own?.lastPoint ?? null);
    const pointError = oneLine(own?.pointError ?? null);
    return {
        nodes: answers.map((row) => archiveOf(nodeOf(row.host), row.facts, lastPoint)),
        ...(lastPoint === undefined ? {} : { lastPoint }),
        ...(own?.pointAge == null ? {} : { pointAge: own.pointAge }),
        ...(own?.on && Number(own.pointInterval) > 0 ? { pointInterval: Number(own.pointInterval) } : {}),
        ...(own?.on && own.notHeld?.length ? { notHeld: own.notHeld } : {}),
        ...(own?.on && pointError !== undefined ? { pointError } : {}),
    };
}

/** Seconds by which clocks are allowed to differ. */
const CLOCKS = 5;
/** Points come late by a minute when one failed; later than this the schedule itself does not run. */
const LATE = (interval: number) => 3 * interval + 180;

const UP = "npm run pulumi -- up --refresh";

function holeFindings({ node, hole }: NodeArchive, point: string | undefined): Finding[] {
    if (hole === undefined) return [];
    const more = hole.count > 1 ? ` and ${hole.count - 1} more` : "";
    const lacks =
        hole.segment === null
            ? `its backup ${hole.label} is gone`
            : `WAL segment ${hole.segment}${more} ${hole.count > 1 ? "are" : "is"} missing since its backup ${hole.label}`;
    return [
        {
            check: "restore-point",
            danger: "danger",
            node,
            object: point ?? null,
            says: `the newest restore point, ${point}, can't be restored: ${node}: ${lacks}. A new backup of ${node} is made by itself, and the next point rests on that; to have both now`,
            mend: "npm run backup",
            on: null,
        },
    ];
}

function describePointError(error: string, age: number | undefined): string {
    const newest =
        age === undefined
            ? "there is no restore point yet"
            : `the newest restore point is ${describeAge(age)} old, and a restore would lose what was written since`;
    return `${newest}: the last two tries to take one failed (another follows within a minute): ${error.replace(/^no restore point: /, "")}`;
}

/** A node's own archive and backups. */
function nodeFindings({ node, on, wanted, failing, waiting, backupError }: NodeArchive): Finding[] {
    const of = { check: "archive", node, object: null, on: null };
    return [
        ...(wanted && !on
            ? [
                  {
                      ...of,
                      danger: "danger" as const,
                      says: `${node}'s archive is off (archive_mode) although backups are configured: nothing that it writes can be restored, and no restore point covers it. To turn it on`,
                      mend: UP,
                  },
              ]
            : []),
        ...(failing === undefined
            ? []
            : [
                  {
                      ...of,
                      danger: "danger" as const,
                      says: `${node}'s archive fails, ${waiting === 1 ? "1 segment (16 MB) waits" : `${waiting} segments (${waiting * 16} MB) wait`} on its disk: ${failing}`,
                      mend: null,
                  },
              ]),
        ...(backupError === undefined
            ? []
            : [
                  {
                      ...of,
                      danger: "mend" as const,
                      says: `${node}'s last backup failed: ${backupError}`,
                      mend: null,
                  },
              ]),
    ];
}

/** What is wrong with restore points and archives, each with what to do. Pure. */
export function archiveFindings(health: ArchiveHealth): Finding[] {
    const { lastPoint, pointAge, pointInterval, pointError } = health;
    const ofPoint = (says: string): Finding => ({
        check: "restore-point",
        danger: "danger",
        node: null,
        object: lastPoint ?? null,
        says,
        mend: null,
        on: null,
    });
    const late =
        pointError === undefined &&
        pointAge !== undefined &&
        pointInterval !== undefined &&
        pointAge > LATE(pointInterval);
    return [
        ...health.nodes.flatMap((node) => holeFindings(node, lastPoint)),
        ...(pointAge !== undefined && pointAge < -CLOCKS
            ? [
                  ofPoint(
                      `the coordinator's clock was set back: its newest restore point is dated ${describeAge(-pointAge)} from now. The next point is taken by itself within a minute; until the clock has passed that date, name the point that you restore to, for latest would be the one from the future`,
                  ),
              ]
            : []),
        ...(late
            ? [
                  ofPoint(
                      `the last restore point is ${describeAge(pointAge)} old, and one is due every ${describeAge(pointInterval)}: restart the coordinator's container, or on aws its service citus-node`,
                  ),
              ]
            : []),
        ...health.nodes.flatMap(nodeFindings),
        ...(pointError === undefined ? [] : [ofPoint(describePointError(pointError, pointAge))]),
    ];
}
