"""Runs inside mitmproxy, as `mitmdump -s`: reports each connection as a JSON line on standard output.

mitmproxy's own Python loads it, without any other module of this project. mitmproxy ends when its standard input does,
so it does not outlive the attacker.
"""

import json
import ssl
import sys
import threading
from typing import Any

from mitmproxy import connection, ctx, http, tls, version
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import server_hooks


def load(loader: Loader) -> None:
    """Adds the option for the servers to mitmproxy's own."""
    loader.add_option("lab_servers", str, "", "the only servers to connect to, HOST:PORT,HOST:PORT")


def server_connect(data: server_hooks.ServerConnectionHookData) -> None:
    """mitmproxy is about to connect to a server: allows only those of the lab."""
    host, port = (data.server.address or ("", 0))[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if address not in ctx.options.lab_servers.split(","):
        data.server.error = f"{address} is out of scope"


def running() -> None:
    """mitmproxy listens now."""
    threading.Thread(target=_wait_for_end_of_input, daemon=True).start()
    _report("running", version=version.VERSION)


def tls_established_client(data: tls.TlsData) -> None:
    """A client completed the handshake with mitmproxy; it may have presented a certificate."""
    pems = [certificate.to_pem().decode() for certificate in data.conn.certificate_list]
    _report("client", data.conn, chain=[ssl.PEM_cert_to_DER_cert(pem).hex() for pem in pems])


def tls_failed_client(data: tls.TlsData) -> None:
    """A client broke off the handshake with mitmproxy."""
    _report("client", data.conn, chain=[])


def requestheaders(flow: http.HTTPFlow) -> None:
    """A client's request: reports how it says who it is, if it does (RFC 9110 section 11.6.2)."""
    if authorization := flow.request.headers.get("authorization"):
        _report("request", flow.client_conn, authorization=authorization)


def tls_established_server(data: tls.TlsData) -> None:
    """mitmproxy completed its handshake with the server, as far as a TLS client can know."""
    _report("server", data.conn)


def tls_failed_server(data: tls.TlsData) -> None:
    """The server broke off the handshake with mitmproxy."""
    _report("server", data.conn)


def _report(what: str, of: connection.Connection | None = None, **more: Any) -> None:
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
