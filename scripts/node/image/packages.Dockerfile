# What a node runs: PostgreSQL 17 with Citus from the base, pgBackRest, PgBouncer and tini.
ARG BASE
FROM ${BASE}
# newest, base, or a minor release such as 17.10
ARG POSTGRES
USER root
COPY image /usr/local/lib/citus-image
RUN bash /usr/local/lib/citus-image/packages.sh "${POSTGRES}"
USER postgres
HEALTHCHECK NONE
ENTRYPOINT []
CMD ["/usr/local/lib/citus-image/self-test.sh"]
