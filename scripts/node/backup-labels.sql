-- A line a backup: its stanza and its label.
\set info `cat :'info_file'`
SELECT s->>'name' || ' ' || (b->>'label') FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b;
