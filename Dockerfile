# Two images from one file: `service` (the default: server and Dask workers) and `database`
# (PostgreSQL of Debian 12). docker-compose.yml uses both.

FROM debian:bookworm-slim AS database
ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 \
    PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data/15
# The cluster that Debian's package would make is not wanted: the volume holds ours. Nor is the key
# that a package makes while it is installed: all who have the image would share it.
RUN mkdir -p /etc/postgresql-common \
 && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf \
 && apt-get update \
 && apt-get install -y --no-install-recommends postgresql-15 \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /etc/ssl/private/ssl-cert-snakeoil.key \
      /etc/ssl/certs/ssl-cert-snakeoil.pem \
 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data \
 && install -d -o postgres -g postgres /run/postgresql
COPY docker/start-database /usr/local/bin/start-database
USER postgres
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=12 \
  CMD pg_isready --quiet --host=127.0.0.1 --username=skyloom --dbname=skyloom
CMD ["sh", "/usr/local/bin/start-database"]

# Everything of Python is put together here; compilers are needed nowhere.
FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/skyloom/venv
ENV PATH=/opt/skyloom/venv/bin:$PATH
WORKDIR /opt/skyloom/source
COPY requirements.lock ./
# The lock file is installed whole, each wheel checked against its hash. pip cannot take a part of
# a hashed file, so the tools of developers are removed again below; the final image never has them.
RUN pip install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY app app
COPY migrations migrations
COPY .ci/supply.py .ci/supply.py
RUN pip install --no-deps --no-build-isolation . \
 && python .ci/supply.py unneeded > /tmp/unneeded \
 && python -m pip uninstall --yes --quiet -r /tmp/unneeded

FROM python:3.12-slim-bookworm AS service
LABEL org.opencontainers.image.title="Skyloom" \
      org.opencontainers.image.licenses="BSD-3-Clause"
RUN useradd --uid 10001 --create-home --home-dir /home/skyloom skyloom \
 && install -d -o skyloom -g skyloom /data
COPY --from=build /opt/skyloom/venv /opt/skyloom/venv
# The root may be read-only: what is written goes to /data, /tmp and, for code that is compiled anew,
# the folder of numba (each a volume or tmpfs then).
ENV PATH=/opt/skyloom/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SKYLOOM_DATA_DIR=/data \
    NUMBA_CACHE_DIR=/home/skyloom/numba
USER 10001:10001
RUN skyloom warm-up && rm -rf /tmp/*
WORKDIR /data
VOLUME ["/data", "/home/skyloom/numba"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
CMD ["skyloom", "serve", "--host", "0.0.0.0", "--port", "8000"]
