"""Exercise 13: a real nginx, as the student configured it. `certreplay try` finds nothing."""

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from attacker.probe.dialects import Question
from attacker.probe.orders import Target
from lab import files
from lab.address import Address
from lab.exercises.exercise import Checked, ExerciseError
from lab.exits import run_to_end
from lab.guest.loading import GuestError
from lab.ports import HOST, held_ports
from lab.probing.judge import Judged, status
from lab.probing.probe import MOVE_IDS, Probed, ProbeFailed, probe
from lab.staging import pki
from lab.staging.caretaker import kill_group
from lab.tls.bundle import Bundle
from lab.tls.versions import VERSIONS

WHY = (
    "nginx leaves the handshake to OpenSSL, which always checks the proof. Your configuration says who needs one: "
    "everybody, with a certificate of the bank's CA. So a certificate without its key opens nothing."
)
PORT = "8443"
START_SECONDS = 60.0
RATE = 200.0
_COMPLAINT = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.*?)(?: in [^ ]*nginx\.conf:(\d+))?$", re.MULTILINE)


def keys() -> Mapping[str, bytes]:
    """Fresh keys for the server and alice, by the names that the configuration has for them."""
    return {f"nginx-keys/{name}": content for name, content in _issued()[0].items()}


def _issued() -> tuple[dict[str, bytes], Bundle]:
    authority = pki.new_authority()
    alice = pki.new_client(authority)
    content = {
        "ca.pem": authority.certificate_pem(),
        "server.pem": pki.new_server(authority).bundle_pem(),
        "alice.pem": alice.bundle_pem(),
    }
    return content, Bundle((alice.der,), alice.key)


def check(file: Path) -> Checked:
    """GuestError, with file and line, where nginx cannot read it; ExerciseError where there is no nginx."""
    content, alice = _issued()
    try:
        text = files.read(file).decode()
    except UnicodeDecodeError:
        raise GuestError(f"{file}: is no text") from None
    if problem := _may_not_start(text):
        return Checked(False, problem)
    with tempfile.TemporaryDirectory(prefix="exercise-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (port,) = held_ports(stack, 1)
        (folder / "nginx-keys").mkdir()
        for key, octets in content.items():
            (folder / "nginx-keys" / key).write_bytes(octets)
        (folder / "nginx.conf").write_text(re.sub(rf"\b{PORT}\b", str(port), text))
        stack.enter_context(_nginx(file, folder, port))
        target = Target(
            Address(HOST, port), "localhost", "http", Question(f"localhost:{port}"), tuple(VERSIONS), MOVE_IDS, RATE
        )
        try:
            probed = run_to_end(probe(target, alice, None, lambda words: None))
        except ProbeFailed as error:
            return Checked(False, f"`certreplay try` comes to no verdict: {error}. Does alice still get in?")
    return _judged(probed)


def _may_not_start(text: str) -> str:
    """Why this configuration is not tried at all; empty if it may be. A daemon would go on after its check, and other
    addresses than loopback's would let others in."""
    said = re.sub(r"#.*", "", text)
    if not re.search(r"(^|[;}])\s*daemon\s+off\s*;", said):
        return "Keep `daemon off;`: without it nginx goes on in the background, and nobody ends it."
    listens = re.findall(r"\blisten\s+([^\s;]+)", said)
    if f"{HOST}:{PORT}" not in listens:
        return f"`certreplay try` goes to port {PORT}: let nginx listen at {HOST}:{PORT}."
    if strange := [one for one in listens if not one.startswith(f"{HOST}:")]:
        return f"nginx listens at {strange[0]}, where others may reach it. Let it listen at {HOST}:{PORT} alone."
    return ""


def _judged(probed: Probed) -> Checked:
    for version, judged in probed.judged.items():
        if problem := _problem(judged):
            return Checked(False, f"In TLS {version} {problem}")
    if status(probed.judged) != 0:
        return Checked(False, "`certreplay try` does not say that it is safe. Start your server and look what it says.")
    tried = sum(len(judged.verdicts) for judged in probed.judged.values())
    return Checked(True, f"{WHY} {tried} moves were tried, with fresh keys, and alice got in.")


def _problem(judged: Judged) -> str:
    """What is wrong in one version; empty if nothing is."""
    if not judged.spoken:
        return "your server does not answer. The task wants both versions: see `ssl_protocols`."
    hers = judged.controls.key.answer.text
    if not hers.startswith("HTTP 200"):
        return f"alice does not get in any more. Which CA signed her certificate? (She got: {hers}.)"
    if "without a certificate" in judged.unfit:
        return (
            "a client without any certificate gets what alice gets. Nobody may get in without one: what must "
            "`ssl_verify_client` be?"
        )
    if judged.stranger_in:
        return (
            "a certificate that nobody issued gets in. nginx asks for one, and does not care whose it is: tell it "
            "which CA it must come from, and that it must."
        )
    if judged.open:
        return f"these moves get in: {', '.join(one.move for one in judged.accepted)}."
    return f"there is no verdict: {judged.unfit}." if judged.unfit else ""


@contextlib.contextmanager
def _nginx(file: Path, folder: Path, port: int) -> Iterator[None]:
    """The student's nginx, as long as the block lasts."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise ExerciseError("nginx is not installed: install it (Debian: apt-get install nginx), and try again")
    call = [program, "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", "nginx.conf"]
    output = folder / "output"
    with output.open("wb") as said:
        process = subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)  # noqa: S603
    try:
        _wait(process, file, output, port)
        yield
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", file: Path, output: Path, port: int) -> None:
    """Until it takes connections; GuestError if it does not."""
    ends = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < ends:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.02)
    said = output.read_text("utf-8", "replace").strip()
    found = _COMPLAINT.search(said)
    if found:
        raise GuestError(f"{file}{f', line {found[2]}' if found[2] else ''}: nginx says: {found[1]}")
    words = said.splitlines()[-1] if said else "nothing"
    raise GuestError(f"{file}: nginx does not stay at {HOST}:{PORT} (keep `daemon off`); it said: {words}")
