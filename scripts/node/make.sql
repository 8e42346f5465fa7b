-- Run once on a node in the making, over its private socket.
-- the verifier is for pg_authid only, not for logs and statistics
SET pg_stat_statements.track_utility = off;
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\set verifier `cat :'verifier_file'`
ALTER ROLE postgres PASSWORD :'verifier';
CREATE DATABASE :"database" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C.UTF-8';
\connect :"database"
CREATE EXTENSION citus;
CREATE EXTENSION pg_stat_statements;
