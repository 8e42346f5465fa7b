/** Whether every node has the same metadata. Names are compared, since a node numbers its own relations. */
import { COORDINATOR } from "../../../node/topology.ts";
import type { Finding } from "../read/finding.ts";
import { type Answer, ofNodes } from "./check.ts";

/** Of each catalog: how many rows, and a hash of what must be the same everywhere. */
type Hashes = Readonly<Record<string, { readonly rows: number; readonly hash: string }>>;

const NAME = (oid: string) =>
    `(SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ${oid})`;

/** What a row of each catalog must say on every node. Whether a worker is in sync is the coordinator's own note. */
const CATALOGS: Readonly<Record<string, string>> = {
    pg_dist_node: `SELECT concat_ws('|', nodeid, groupid, nodename, nodeport, isactive, noderole, nodecluster, shouldhaveshards) AS said FROM pg_dist_node`,
    pg_dist_partition: `SELECT concat_ws('|', ${NAME("logicalrelid")}, partmethod, column_to_column_name(logicalrelid, partkey), colocationid, repmodel) AS said FROM pg_dist_partition`,
    pg_dist_shard: `SELECT concat_ws('|', shardid, ${NAME("logicalrelid")}, shardstorage, shardminvalue, shardmaxvalue) AS said FROM pg_dist_shard`,
    pg_dist_placement: `SELECT concat_ws('|', placementid, shardid, shardstate, groupid) AS said FROM pg_dist_placement`,
    pg_dist_colocation: `SELECT concat_ws('|', colocationid, shardcount, replicationfactor, distributioncolumntype::regtype) AS said FROM pg_dist_colocation`,
    pg_dist_schema: `SELECT concat_ws('|', (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = schemaid), colocationid) AS said FROM pg_dist_schema`,
    pg_dist_object: `SELECT concat_ws('|', i.type, i.object_names::text, i.object_args::text, o.distribution_argument_index, o.colocationid)
        AS said FROM pg_dist_object o, LATERAL pg_catalog.pg_identify_object_as_address(o.classid, o.objid, o.objsubid) i`,
};

/** The worker's nodes are asked what they have; nothing is sent between them. */
export function judgeMetadata(answers: readonly Answer<Hashes>[]): Finding[] {
    const own = answers.find(({ node }) => node === COORDINATOR);
    if (own === undefined) return [];
    return answers
        .filter(({ node }) => node !== COORDINATOR)
        .flatMap(({ node, answer }): Finding[] => {
            const apart = Object.entries(own.answer).flatMap(([catalog, { rows, hash }]) => {
                const there = answer[catalog];
                if (there?.hash === hash) return [];
                return [
                    there?.rows === rows
                        ? `${catalog} (${rows} rows each, with other content)`
                        : `${catalog} (${rows} rows on the coordinator, ${there?.rows ?? 0} on ${node})`,
                ];
            });
            if (apart.length === 0) return [];
            return [
                {
                    check: "metadata-equal",
                    danger: "danger",
                    node,
                    object: apart.map((what) => what.split(" ")[0]).join(", "),
                    says: `${node} has other metadata than the coordinator: ${apart.join(", ")}. A query that enters through ${node} may see other rows or fail. This sends the metadata again and keeps the ids of its sequences apart`,
                    mend: "npm run doctor -- --fix metadata-equal",
                    on: null,
                    fix: { kind: "activate", node },
                },
            ];
        });
}

export const metadataEqual = ofNodes<Hashes>({
    id: "metadata-equal",
    title: "every node has the coordinator's metadata",
    sql: `(SELECT jsonb_object_agg(c, jsonb_build_object('rows', n, 'hash', h)) FROM (${Object.entries(CATALOGS)
        .map(
            ([name, query]) =>
                `SELECT '${name}' AS c, count(*) AS n, md5(coalesce(string_agg(said, E'\\n' ORDER BY said COLLATE "C"), '')) AS h FROM (${query}) q`,
        )
        .join(" UNION ALL ")}) all_of)`,
    judge: judgeMetadata,
});
