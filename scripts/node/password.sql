-- Each node sets its own copy, so that a change does not travel over the connections it would break.
-- the verifier is for pg_authid only, not for logs and statistics
SET pg_stat_statements.track_utility = off;
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\set verifier `cat :'verifier_file'`
SELECT rolpassword IS DISTINCT FROM :'verifier' AS changed FROM pg_catalog.pg_authid WHERE rolname = 'postgres' \gset
\if :changed
SET citus.enable_alter_role_propagation = off;
ALTER ROLE postgres PASSWORD :'verifier';
\echo password=changed
\endif
