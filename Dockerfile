# One base for every part; each stage installs what its part needs and carries that part's code alone.
FROM debian:trixie-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/certreplay PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/certreplay
COPY pyproject.toml constraints.txt ./
RUN python3 -m venv /opt/venv
# Tells the attacker's code that it is in the lab; volumes take over their owner from the folders here.
RUN touch /etc/certreplay-lab \
    && groupadd --gid 10001 lab && useradd --uid 10001 --gid 10001 --no-create-home lab \
    && install -d -o lab -g lab /public /keys /keys/server /keys/client /keys/shop /keys/archive /keys/own \
    && install -d -o lab -g lab /requests /backup /data /scope \
    && install -d /runs /parts

FROM base AS victim-client
RUN pip install --no-cache-dir -q -c constraints.txt --group victim-client
COPY lab/__init__.py lab/address.py lab/files.py lab/printable.py lab/process.py lab/scope.py lab/unlock.py lab/
COPY lab/tls lab/tls
COPY lab/catalogue lab/catalogue
COPY lab/events lab/events
COPY victim_client victim_client
RUN python -m compileall -q .
USER lab

FROM base AS victim-server
RUN pip install --no-cache-dir -q -c constraints.txt --group victim-server
COPY lab/__init__.py lab/address.py lab/files.py lab/printable.py lab/process.py lab/scope.py lab/unlock.py lab/
COPY lab/tls lab/tls
COPY lab/catalogue lab/catalogue
COPY lab/events lab/events
COPY victim_server victim_server
RUN python -m compileall -q .
USER lab

FROM base AS rogue-server
RUN pip install --no-cache-dir -q -c constraints.txt --group attacker
COPY lab/__init__.py lab/address.py lab/files.py lab/ports.py lab/printable.py lab/process.py lab/scope.py lab/unlock.py lab/
COPY lab/tls lab/tls
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
    && rm -rf /var/lib/apt/lists/* \
    && chown root:root /data

FROM base AS mitmproxy
COPY attacker/mitmproxy-constraints.txt attacker/
RUN python3 -m venv /opt/venv/mitmproxy \
    && /opt/venv/mitmproxy/bin/pip install --no-cache-dir -q -c attacker/mitmproxy-constraints.txt mitmproxy \
    && rm -r /opt/venv/mitmproxy/lib/python3*/site-packages/tornado/test # brings a private key, if a well-known one

# nft, which sets the redirection, takes NET_ADMIN; mitmproxy itself runs without any capability.
FROM attacker AS interceptor
RUN apt-get update \
    && apt-get install -y --no-install-recommends nftables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=mitmproxy /opt/venv/mitmproxy /opt/venv/mitmproxy

FROM base AS lab
RUN pip install --no-cache-dir -q -c constraints.txt --group lab
COPY lab lab
COPY attacker attacker
COPY victim_client victim_client
COPY victim_server victim_server
RUN python -m compileall -q .
USER lab
