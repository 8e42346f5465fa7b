# The node image: what packages.Dockerfile made, and the node scripts.
ARG PACKAGES
FROM ${PACKAGES}
USER root
COPY *.sh *.sql /usr/local/lib/citus-node/
ENV PGHOST=/var/lib/citus/run PGUSER=postgres LANG=C.UTF-8
USER postgres
WORKDIR /var/lib/citus
STOPSIGNAL SIGINT
HEALTHCHECK NONE
# tini: PostgreSQL as the first process would take an orphan that fails (pgBackRest leaves some) for a crashed backend
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["/usr/local/lib/citus-node/start.sh"]
