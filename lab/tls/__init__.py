"""An instrument for TLS handshakes: TLS 1.2 and 1.3, client and server. It is no TLS library and it protects nothing.

It exists because a real TLS stack cannot leave out a CertificateVerify, send that of another handshake, or skip its
check. It is sans-IO: bytes go in, events and bytes come out. There are no clocks here, no randomness but the `entropy`
that it is given, and no sockets except in `streams`. All cryptography comes from the package `cryptography`.

A name below is loaded when it is first used, so that `lab.tls.messages` alone stays cheap to import. The parts of the
instrument (`extensions`, `wire`, `records`, `keys`, `schedule`, `states` and others) are used as modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.tls.alerts import Alert as Alert
    from lab.tls.alerts import AlertDescription as AlertDescription
    from lab.tls.bundle import Bundle as Bundle
    from lab.tls.bundle import parse_bundle as parse_bundle
    from lab.tls.client import Client as Client
    from lab.tls.engine import Closed as Closed
    from lab.tls.engine import Data as Data
    from lab.tls.engine import Engine as Engine
    from lab.tls.engine import Established as Established
    from lab.tls.engine import Failed as Failed
    from lab.tls.errors import Abort as Abort
    from lab.tls.errors import TlsError as TlsError
    from lab.tls.flight import Flight as Flight
    from lab.tls.flight import honest_flight as honest_flight
    from lab.tls.messages13 import parse as parse
    from lab.tls.proof import prove_with as prove_with
    from lab.tls.server import ClientAuth as ClientAuth
    from lab.tls.server import Proof as Proof
    from lab.tls.server import Server as Server
    from lab.tls.sessions import Session as Session
    from lab.tls.sessions import SessionStore as SessionStore
    from lab.tls.streams import TlsStream as TlsStream
    from lab.tls.versions import Version as Version

_NAMES = {
    "alerts": ("Alert", "AlertDescription"),
    "bundle": ("Bundle", "parse_bundle"),
    "client": ("Client",),
    "engine": ("Closed", "Data", "Engine", "Established", "Failed"),
    "errors": ("Abort", "TlsError"),
    "flight": ("Flight", "honest_flight"),
    "messages13": ("parse",),
    "proof": ("prove_with",),
    "server": ("ClientAuth", "Proof", "Server"),
    "sessions": ("Session", "SessionStore"),
    "streams": ("TlsStream",),
    "versions": ("Version",),
}
_HOME = {name: f"lab.tls.{module}" for module, names in _NAMES.items() for name in names}

__all__ = list(_HOME)

if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)
