#!/bin/bash
# One pgBackRest cycle on S3: stanza, archive, full, incremental, restore to a point, expire.
set -euo pipefail
export PATH=$PATH:/usr/lib/postgresql/17/bin
exec 2>&1
home=/data/try
install -d -o postgres -m 0700 $home
cat > /etc/pgbackrest.conf << 'C'
[global]
repo1-type=s3
repo1-path=/backups
repo1-s3-bucket=@BUCKET@
repo1-s3-region=eu-central-1
repo1-s3-endpoint=s3.eu-central-1.amazonaws.com
repo1-s3-key-type=auto
repo1-bundle=y
repo1-block=y
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=only-a-test
repo1-retention-full=1
compress-type=zst
start-fast=y
archive-async=y
spool-path=/data/try/spool
[x]
pg1-path=/data/try/pg
pg1-socket-path=/data/try
C
cd $home
as() { runuser -u postgres -- "$@"; }
backrest() { as pgbackrest --stanza=x --log-level-console=warn "$@"; }
sql() { as psql -h $home -XAt -v ON_ERROR_STOP=1 -d postgres -c "$1"; }
server() { as env -u PGDATA pg_ctl -D $home/pg -l $home/log -w "$@" > /dev/null; }
as mkdir spool
as initdb -D $home/pg > /dev/null 2>&1
as tee -a $home/pg/postgresql.conf > /dev/null << C
archive_mode = on
archive_command = 'pgbackrest --stanza=x archive-push %p'
unix_socket_directories = '$home'
listen_addresses = ''
C
server start
backrest stanza-create
backrest check
sql 'CREATE TABLE t AS SELECT 1 AS i'
backrest --type=full backup
sql 'INSERT INTO t VALUES (2)'
backrest --type=incr backup
sql "SELECT pg_create_restore_point('here')" > /dev/null
sql 'INSERT INTO t VALUES (3)'
sql 'SELECT pg_switch_wal()' > /dev/null
backrest check
server stop
backrest --delta --type=name --target=here --target-action=promote restore
server start
until [ "$(sql 'SELECT pg_is_in_recovery()')" = f ]; do sleep 0.2; done
echo "ROWS $(sql 'SELECT count(*) FROM t')"
backrest --type=full backup
backrest expire
backrest info
server stop
