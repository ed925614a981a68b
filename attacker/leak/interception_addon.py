"""Runs inside mitmproxy, as `mitmdump -s`: says as JSON lines on standard output what becomes of each connection.

It is loaded by mitmproxy's own Python, which has no other module of this project. When standard input ends, so does
mitmproxy: whoever started it holds the other end.
"""

import json
import ssl
import sys
import threading
from typing import Any

from mitmproxy import connection, ctx, tls, version
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import server_hooks


def load(loader: Loader) -> None:
    """mitmproxy's own way to tell an addon something."""
    loader.add_option("lab_servers", str, "", "the only servers to go on to, HOST:PORT,HOST:PORT")


def server_connect(data: server_hooks.ServerConnectionHookData) -> None:
    """mitmproxy is about to go on to a server: whatever made it want to, it goes to the lab's and to no other."""
    host, port = (data.server.address or ("", 0))[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if address not in ctx.options.lab_servers.split(","):
        data.server.error = f"{address} is out of scope"


def running() -> None:
    """mitmproxy listens."""
    threading.Thread(target=_wait_for_end_of_input, daemon=True).start()
    _tell("running", version=version.VERSION)


def tls_established_client(data: tls.TlsData) -> None:
    """A client went through the handshake with us; it may have presented a certificate."""
    pems = [certificate.to_pem().decode() for certificate in data.conn.certificate_list]
    _tell("client", data.conn, chain=[ssl.PEM_cert_to_DER_cert(pem).hex() for pem in pems])


def tls_failed_client(data: tls.TlsData) -> None:
    """A client broke off the handshake with us."""
    _tell("client", data.conn, chain=[])


def tls_established_server(data: tls.TlsData) -> None:
    """We went through our own handshake with the server, as far as a TLS client can tell."""
    _tell("server", data.conn)


def tls_failed_server(data: tls.TlsData) -> None:
    """The server broke off the handshake with us."""
    _tell("server", data.conn)


def _tell(what: str, of: connection.Connection | None = None, **more: Any) -> None:
    fields: dict[str, Any] = {"what": what, **more}
    if of is not None:
        fields |= {
            "peer": list(of.peername or ())[:2],
            "local": list(of.sockname or ())[:2],
            "tls": (of.tls_version or "").removeprefix("TLSv"),
            "error": of.error or "",
        }
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def _wait_for_end_of_input() -> None:
    while sys.stdin.read(1 << 12):
        pass
    ctx.master.shutdown()
