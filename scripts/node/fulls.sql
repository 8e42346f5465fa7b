-- How many full backups this stanza has.
\set info `cat :'info_file'`
SELECT count(*) FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b WHERE b->>'type' = 'full';
