"""The peers: `openssl s_server` as a bank that asks for a certificate, and the files that everybody needs."""

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.catalogue import cast
from lab.staging import pki
from lab.tls.bundle import Bundle

HOST = "127.0.0.1"
ACCOUNT = b'{"customer":"alice","balance":1000}'
REQUEST = f"GET /account HTTP/1.1\r\nHost: {cast.SERVER_NAME}\r\n\r\n".encode()
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(ACCOUNT), ACCOUNT)
_LISTENING = re.compile(rb"ACCEPT .*:(\d+)\s*$")


@dataclass(frozen=True)
class Files:
    """What an authority issued, in one folder: alice's certificate and key also apart, the key as SEC 1 has it.

    That is a form which all contenders can read: scapy takes no EC key in PKCS#8.
    """

    folder: Path
    alice: Bundle

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server(self) -> Path:
        return self.folder / "server.pem"

    @property
    def bundle(self) -> Path:
        return self.folder / "alice.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "alice.crt"

    @property
    def key(self) -> Path:
        return self.folder / "alice.key"


def issue(folder: Path) -> Files:
    """Issues P-256 certificates, the lab's default, and writes the answer that the server is to give."""
    authority = pki.new_authority()
    alice = pki.new_client(authority, cast.CUSTOMER)
    files = Files(folder, Bundle((alice.der,), alice.key))
    files.ca.write_bytes(authority.certificate_pem())
    files.server.write_bytes(pki.new_server(authority).bundle_pem())
    files.bundle.write_bytes(alice.bundle_pem())
    files.certificate.write_bytes(alice.certificate_pem())
    files.key.write_bytes(alice.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    (folder / "account").write_bytes(_ANSWER)
    return files


@contextlib.contextmanager
def openssl_server(files: Files, *prefix: str, host: str = HOST) -> Iterator[int]:
    """OpenSSL's own server, which takes alice's certificate and proof and no others; the port that it listens on.

    It serves one client after another, without session tickets: each attempt is a full handshake, and nothing comes
    before the answer. `prefix` is a command to start it with.
    """
    command = [*prefix, "openssl", "s_server", "-accept", f"{host}:0", "-HTTP", "-num_tickets", "0", "-no_cache"]
    command += ["-cert", files.server.name, "-key", files.server.name]
    command += ["-CAfile", files.ca.name, "-Verify", "1", "-verify_return_error"]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, cwd=files.folder, stdin=pipe, stdout=pipe, stderr=null) as server:
        try:
            assert server.stdout
            lines = (_LISTENING.search(line) for line in server.stdout)
            found = next(filter(None, lines), None)
            if found is None:
                raise RuntimeError("openssl s_server did not start")
            threading.Thread(target=server.stdout.read, daemon=True).start()  # it says something of each client
            yield int(found[1])
        finally:
            server.kill()
