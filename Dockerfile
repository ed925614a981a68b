# One base for every part; each stage installs what its part needs and carries that part's code alone.
# docs/images.md says what is pinned here, and how to renew the pins.
ARG BASE=debian:trixie-slim
FROM ${BASE} AS debian
ARG SNAPSHOT=
RUN if [ "$SNAPSHOT" ]; then apt-get update \
        && apt-get install -y --no-install-recommends ca-certificates \
        && printf 'APT::Snapshot "%s";\nAPT::Update::Error-Mode "any";\n' "$SNAPSHOT" > /etc/apt/apt.conf.d/snapshot; fi \
    && apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/certreplay PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/certreplay

# pip, which the stages below borrow and none of them keeps. It takes no file whose hash is not written down.
FROM debian AS pip
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && python3 -m venv /mnt/pip \
    && printf '#!/bin/sh\nexec /mnt/pip/bin/pip --python "$1" install %s -r "$2"\n' \
        '-q --no-cache-dir --only-binary :all: --require-hashes' > /mnt/install \
    && chmod +x /mnt/install

# What every part needs: cryptography. Each stage adds what else its part does.
FROM debian AS base
RUN --mount=from=pip,source=/mnt,target=/mnt --mount=source=requirements,target=/srv \
    python3 -m venv --without-pip /opt/venv && /mnt/install /opt/venv /srv/victim-client.txt
# Tells the attacker's code that it is in the lab; volumes take over their owner from the folders here.
RUN touch /etc/certreplay-lab \
    && groupadd --gid 10001 lab && useradd --uid 10001 --gid 10001 --no-create-home lab \
    && install -d -o lab -g lab /public /keys /keys/server /keys/client /keys/shop /keys/archive /keys/own \
    && install -d -o lab -g lab /requests /backup /data /scope \
    && install -d /runs /parts

FROM base AS victim-client
COPY lab/__init__.py lab/address.py lab/files.py lab/printable.py lab/process.py lab/scope.py lab/unlock.py lab/
COPY lab/tls lab/tls
COPY lab/guest lab/guest
COPY lab/catalogue lab/catalogue
COPY lab/events lab/events
COPY victim_client victim_client
RUN python -m compileall -q .
USER lab

FROM base AS victim-server
RUN --mount=from=pip,source=/mnt,target=/mnt --mount=source=requirements,target=/srv \
    /mnt/install /opt/venv /srv/victim-server.txt
COPY lab/__init__.py lab/address.py lab/files.py lab/printable.py lab/process.py lab/scope.py lab/unlock.py lab/
COPY lab/tls lab/tls
COPY lab/guest lab/guest
COPY lab/capture lab/capture
COPY lab/catalogue lab/catalogue
COPY lab/events lab/events
COPY victim_server victim_server
RUN python -m compileall -q .
USER lab

FROM base AS rogue-server
RUN --mount=from=pip,source=/mnt,target=/mnt --mount=source=requirements,target=/srv \
    /mnt/install /opt/venv /srv/attacker.txt
COPY lab/__init__.py lab/address.py lab/files.py lab/ports.py lab/printable.py lab/process.py lab/scope.py lab/unlock.py lab/
COPY lab/tls lab/tls
COPY lab/guest lab/guest
COPY lab/capture lab/capture
COPY lab/catalogue lab/catalogue
COPY lab/events lab/events
COPY attacker attacker
RUN python -m compileall -q .
USER lab

# NET_RAW counts for root only, and root has nothing else here.
FROM rogue-server AS attacker
USER root
RUN apt-get update \
    && apt-get install -y --no-install-recommends libpcap0.8t64 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && chown root:root /data

FROM debian AS mitmproxy
RUN --mount=from=pip,source=/mnt,target=/mnt --mount=source=requirements,target=/srv \
    python3 -m venv --without-pip /opt/venv/mitmproxy && /mnt/install /opt/venv/mitmproxy /srv/mitmproxy.txt \
    && rm -r /opt/venv/mitmproxy/lib/python3*/site-packages/tornado/test # brings a private key, if a well-known one

# nft, which sets the redirection, takes NET_ADMIN; mitmproxy itself runs without any capability.
FROM attacker AS interceptor
RUN apt-get update \
    && apt-get install -y --no-install-recommends nftables \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=mitmproxy /opt/venv/mitmproxy /opt/venv/mitmproxy

FROM base AS lab
RUN --mount=from=pip,source=/mnt,target=/mnt --mount=source=requirements,target=/srv \
    /mnt/install /opt/venv /srv/lab.txt
COPY lab lab
COPY attacker attacker
COPY victim_client victim_client
COPY victim_server victim_server
RUN python -m compileall -q .
USER lab

# The embedded lab in one container, to try another architecture: `make arm64`.
FROM lab AS embedded
USER root
RUN --mount=from=pip,source=/mnt,target=/mnt --mount=source=requirements,target=/srv \
    /mnt/install /opt/venv /srv/victim-server.txt && /mnt/install /opt/venv /srv/attacker.txt
USER lab

# A server of the gallery and what tries it, for `docker compose --profile gallery`.
FROM lab AS gallery
USER root
ARG PACKAGES
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends util-linux $PACKAGES \
    && apt-get clean && rm -rf /var/lib/apt/lists/*

# A student's place in a JupyterHub (docs/class.md): the embedded lab, which needs no privilege, the tools that the
# exercises name, and the page as a tile in JupyterLab.
FROM base AS student
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends jq nginx openssl tshark xxd \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
RUN --mount=from=pip,source=/mnt,target=/mnt --mount=source=requirements,target=/srv \
    for part in victim-server attacker lab student; do /mnt/install /opt/venv /srv/$part.txt || exit; done
COPY lab lab
COPY attacker attacker
COPY victim_client victim_client
COPY victim_server victim_server
RUN python -m compileall -q . \
    && printf '#!/bin/sh\nexec python -m lab "$@"\n' > /usr/local/bin/certreplay \
    && chmod +x /usr/local/bin/certreplay \
    && install -d /etc/jupyter \
    && printf 'from lab.page.jupyter import setup\n\nc.ServerProxy.servers = {"certreplay": setup()}\n' \
        > /etc/jupyter/jupyter_server_config.py \
    && useradd --uid 1000 --create-home student \
    && rm /etc/certreplay-lab # this is no part of a class's network
USER student
WORKDIR /home/student
EXPOSE 8888
CMD ["jupyterhub-singleuser"]
