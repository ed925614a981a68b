"""Exercise 7: the careless client. Mallory in the server's place gets nothing, and alice gets in."""

import contextlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from lab.catalogue.cast import SHOP_NAME
from lab.catalogue.leaks import LIVE_RELAY
from lab.catalogue.plan import full_matrix
from lab.events.run import RunError, open_run
from lab.events.types import LoggedIn, LoginFailed
from lab.exercises.exercise import Checked
from lab.exercises.trial import trial
from lab.exits import BAD_INPUT
from lab.guest.host import environment
from lab.guest.loading import GuestError
from lab.judging.student_client import BY_WAY_OF_MALLORY
from lab.ports import HOST
from lab.staging import pki, student_code

WHY = (
    "Alice's client asked for a certificate that her bank's CA signed and that has the name she wanted, and mallory "
    "has none. So it broke off before it sent anything of hers. A live relay needs no broken cryptography, only a "
    "client that does not look."
)
SECONDS = 60
BANK, OTHER, UNKNOWN = "the bank", "another server of the same CA", "one that nobody vouches for"
"""The little servers that a client meets; only the first is the one that it wants."""


def check(file: Path) -> Checked:
    """GuestError, with file and line, where the file fails."""
    code = student_code.load(client=file)
    if problem := _problem(*_met(file)):
        return Checked(False, problem)
    plan = full_matrix(
        gateways=("mtls@openssl", "certificate-only@instrument"), moves=("omit-proof",), leaks=(LIVE_RELAY.id,)
    )
    with trial(plan, code) as judged:
        judgement = judged.judgement
        if judgement.relays or not judgement.as_expected:
            what = next(iter((*judgement.errors, *judgement.contradictions)), "mallory relayed a proof")
            return Checked(False, f"In a run with fresh keys and mallory in the bank's place: {what}.")
        logins = len({(one.gateway, one.tls) for one in judged.run.all(LoggedIn)})
        turned_down = sum(one.gateway.endswith(BY_WAY_OF_MALLORY) for one in judged.run.all(LoginFailed))
    return Checked(
        True,
        f"{WHY} In a run with fresh keys it turned mallory down {turned_down} times, and let alice in {logins} times.",
    )


def _problem(in_: set[str], reasons: dict[str, str]) -> str:
    """What is wrong, from the servers that the client logged in at."""
    if BANK not in in_:
        return (
            f"Alice does not get in at the right server any more: {reasons.get(BANK, 'she did not connect')}. Which CA "
            "must the client trust? It got its file."
        )
    if UNKNOWN in in_:
        return (
            "Your client still logs in at a server whose certificate nobody vouches for. Require a certificate, and "
            "trust the bank's CA alone."
        )
    if OTHER in in_:
        return (
            "Your client takes a certificate that the CA signed for another server: every customer of that CA can be "
            "the bank. It must check the name as well."
        )
    return ""


def _met(file: Path) -> tuple[set[str], dict[str, str]]:
    """At which of three little servers the student's client logs in, and why not at the others."""
    with tempfile.TemporaryDirectory(prefix="exercise-") as folder, contextlib.ExitStack() as stack:
        keys = Path(folder)
        authority, stranger = pki.new_authority(), pki.new_authority("nobody")
        alice = pki.new_client(authority, "alice")
        (keys / "alice.pem").write_bytes(alice.bundle_pem())
        (keys / "ca.pem").write_bytes(authority.certificate_pem())
        servers = {
            BANK: pki.new_server(authority),
            OTHER: pki.new_shop(authority, names=(SHOP_NAME,)),
            UNKNOWN: pki.new_server(stranger),
        }
        urls = {}
        for number, (name, server) in enumerate(servers.items()):
            (keys / f"{number}.pem").write_bytes(server.bundle_pem())
            urls[name] = f"https://localhost:{stack.enter_context(_server(keys / f'{number}.pem'))}"
        client = [sys.executable, "-m", "victim_client", f"--bundle={keys / 'alice.pem'}", f"--ca={keys / 'ca.pem'}"]
        client += [f"--student-code={file}", "--times=1", f"--folder={keys / 'run' / 'victim-client'}"]
        client += [f"--gateway={name}={url}" for name, url in urls.items()]
        try:
            done = subprocess.run(  # noqa: S603 - our own client
                client, check=False, timeout=SECONDS, capture_output=True, text=True, env=environment()
            )
        except subprocess.TimeoutExpired:
            raise GuestError(f"{file}: alice's logins with it do not come to an end within {SECONDS} s") from None
        said = done.stderr.strip().splitlines()
        if done.returncode == BAD_INPUT and said:
            raise GuestError(said[-1].removeprefix("victim-client: "))
        try:
            run = open_run(keys / "run")
        except RunError:
            how = f"with status {done.returncode} before its first login"
            raise GuestError(f"{file}: alice's client ended {how}; does it call sys.exit or os._exit?") from None
        failed = {one.gateway: one.reason for one in run.all(LoginFailed)}
        return {one.gateway for one in run.all(LoggedIn)} - ({BANK} & failed.keys()), failed


@contextlib.contextmanager
def _server(bundle: Path) -> Iterator[int]:
    """A bank that lets everybody in; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle)
    body = b'{"customer":"alice","balance":1}'
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                connection.settimeout(SECONDS)
                with context.wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1 << 16)
                    tls.sendall(answer)

    with socket.create_server((HOST, 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # a close alone does not end `accept`
