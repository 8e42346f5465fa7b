-- For how many seconds WAL has waited for the archive: since the last segment that reached it, or the server's start. 0 when
-- no segment waits, which an idle server is right to have, and where archiving is off.
SELECT CASE WHEN current_setting('archive_mode') <> 'off' AND EXISTS (SELECT FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')
            THEN round(extract(epoch FROM now() - greatest(last_archived_time, pg_postmaster_start_time())))
            ELSE 0 END
  FROM pg_stat_archiver;
