-- Whether the newest restore point survives when only the last :retention full backups of this stanza are kept.
\set info `cat :'info_file'`
\set point `cat :'point_file'`
WITH fulls AS (
       SELECT b->>'label' AS label, row_number() OVER (ORDER BY b->>'label' DESC) AS n
         FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b WHERE b->>'type' = 'full'),
     needed AS (
       -- a differential or incremental backup carries its full one's label
       SELECT split_part(n->>'label', '_', 1) AS label
         FROM jsonb_array_elements(nullif(:'point', '')::jsonb->'nodes') n WHERE n->>'stanza' = :'stanza')
SELECT NOT EXISTS (SELECT 1 FROM needed WHERE label IN (SELECT label FROM fulls WHERE n > :retention));
