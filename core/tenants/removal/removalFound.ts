/** SQL for what there is of tenants whose state is `deleted`. */

import { literal, qualified } from "../../sql/quote.ts";

/**
 * SQL for a jsonb of how many rows keys have, and how wide a row is: in queries of their own, so that Citus plans each alone,
 * and in hex, which XML leaves as it is; keys of another type have no rows, nor has a list.
 */
export const countKeys = (table: string, column: string, keys: string) =>
    `coalesce((SELECT convert_from(decode((xpath('//x/text()', query_to_xml(format(
        'SELECT encode(convert_to(coalesce(jsonb_object_agg(c.k, c.n)::text, ''{}''), ''UTF8''), ''hex'') AS x FROM (SELECT %1$I::text AS k, count(*) AS n FROM %2$s WHERE %1$I = ANY (%3$L::%4$s[]) GROUP BY 1) c',
        a.attname, ${literal(qualified(table))}, (SELECT coalesce(array_agg(k.key), '{}') FROM unnest(ARRAY[${keys}]::text[]) AS k (key) WHERE pg_input_is_valid(k.key, y.type)), y.type),
        true, false, '')))[1]::text, 'hex'), 'UTF8')::jsonb
       FROM pg_attribute a, LATERAL (SELECT CASE a.atttypid WHEN 'bpchar'::regtype THEN 'bpchar' ELSE format_type(a.atttypid, NULL) END AS type) y
      WHERE a.attrelid = ${literal(qualified(table))}::regclass AND a.attname = ${literal(column)} AND NOT a.attisdropped
        AND y.type NOT LIKE '%[]'), '{}')`;

/** SQL for the bytes that a row of a table takes, from some of them. */
export const widthOf = (table: string) =>
    `coalesce((xpath('//x/text()', query_to_xml(${literal(`SELECT avg(pg_column_size(s.*))::int AS x FROM (SELECT * FROM ${qualified(table)} LIMIT 100) s`)}, true, false, '')))[1]::text::int, 0)`;
