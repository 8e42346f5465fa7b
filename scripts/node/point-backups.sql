-- Fails, naming them, when nodes have no backup yet: a restore point could not be restored then.
\set info `cat :'info_file'`
SELECT set_config('citus_as_code.info', :'info', false), set_config('citus_as_code.cluster', :'cluster', false) \g /dev/null
DO $$
DECLARE
    without text;
BEGIN
    SELECT string_agg(node, ', ' ORDER BY groupid) INTO without
      FROM (SELECT groupid, split_part(nodename, '.', 1) AS node FROM pg_dist_node WHERE noderole = 'primary' AND isactive) n
     WHERE NOT EXISTS (
           SELECT 1 FROM jsonb_array_elements(current_setting('citus_as_code.info')::jsonb) s, jsonb_array_elements(s->'backup') b
            WHERE s->>'name' = current_setting('citus_as_code.cluster') || '-' || node
              AND (b->'database'->>'id')::int = (SELECT max((d->>'id')::int) FROM jsonb_array_elements(s->'db') d));
    IF without IS NOT NULL THEN
        RAISE EXCEPTION 'there is no backup yet of %; it is made by itself soon, or now with: npm run backup', without;
    END IF;
END $$;
