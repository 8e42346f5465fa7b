-- Lets clients in from outside the container: the image's own file names the loopback only.
COPY (SELECT unnest(ARRAY['local all all trust', 'host all all all scram-sha-256'])) TO '/var/lib/postgresql/data/pg_hba.conf';
