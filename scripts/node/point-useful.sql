-- Whether any restore point of a day still has all the backups that it rests on. A day without points is none to remove.
\set info `cat :'info_file'`
\set day `paste -sd, :'day_file'`
WITH backup AS (SELECT s->>'name' AS stanza, b->>'label' AS label FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b)
SELECT :'day' = '' OR EXISTS (
    SELECT 1 FROM jsonb_array_elements(('[' || :'day' || ']')::jsonb) p
     WHERE NOT EXISTS (SELECT 1 FROM jsonb_array_elements(p->'nodes') n
                        WHERE NOT EXISTS (SELECT 1 FROM backup WHERE stanza = n->>'stanza' AND label = n->>'label')));
