"""Each exercise is solved as a student would: in a real run, with the tools that the task names. Wrong ways, too."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from programs import PATIENCE_SECONDS, certreplay, program

Shell = Callable[[str], str]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a demo run, in a folder of runs."""
    return Path(shutil.copytree(finished_run, tmp_path / "runs" / finished_run.name))


@pytest.fixture
def shell(run: Path, tmp_path: Path) -> Shell:
    """Carries out commands in the shell, as a student would, and gives what they print; `$run` is the run's folder."""
    for name in ("tshark", "openssl", "xxd"):
        program(name)
    folder = tmp_path / "work"
    folder.mkdir()

    def carry_out(script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"run={run}\n{script}"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return carry_out


def right(run: Path, number: int, answer: str) -> None:
    done = certreplay("exercise", "check", str(number), *answer.split(), "--runs", run.parent)
    assert (done.returncode, done.stdout.startswith("Right")) == (0, True), done.stdout + done.stderr


def wrong(run: Path, number: int, answer: str, says: str) -> None:
    done = certreplay("exercise", "check", str(number), *answer.split(), "--runs", run.parent)
    told = " ".join(done.stdout.split())
    assert (done.returncode, says in told) == (1, True), told + done.stderr


def certificates(place: str) -> str:
    """Commands that write the first certificate sent by a side to a file, with tshark."""
    which = "tls.handshake.type == 16" if place == "alice" else "tls.handshake.type == 2"
    return (
        f"tshark -r $run/attacker/capture.pcapng -Y 'tls.handshake.type == 11 && {which}' "
        f"-T fields -e tls.handshake.certificate | sed -n 1p > {place}.hex; xxd -r -p {place}.hex > {place}.der\n"
    )


def test_1_her_certificate(run: Path, shell: Shell) -> None:
    mine = shell(certificates("alice") + "openssl x509 -inform DER -in alice.der -noout -fingerprint -sha256")
    assert mine.count(":") == 31
    right(run, 1, mine)
    right(run, 1, mine.replace(":", "").lower())
    right(run, 1, shell("sha256sum alice.der"))
    right(run, 1, shell("openssl dgst -sha256 alice.der"))
    right(run, 1, shell("openssl dgst -sha256 -c alice.der"))


@pytest.mark.parametrize(
    ("commands", "says"),
    [
        ("sha256sum bank.der", "the bank's certificate"),
        ("openssl x509 -inform DER -in alice.der | sha256sum", "the PEM file"),
        ("sha256sum alice.hex", "as text"),
        ("tr -d '\\n' < alice.hex | sha256sum", "as text"),
        ("sha1sum alice.der", "sha1"),
        ("sha512sum alice.der", "sha512"),
        ("openssl x509 -inform DER -in alice.der -noout -serial", "serial number"),
        ("openssl x509 -inform DER -in alice.der -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum", "key"),
        ("head -c 100 alice.der | sha256sum", "Look at what you hashed"),
        ("sha256sum alice.der | cut -c 1-60", "cut off"),
        ("echo nothing to see", "no hash"),
    ],
)
def test_1_wrong_ways(run: Path, shell: Shell, commands: str, says: str) -> None:
    wrong(run, 1, shell(certificates("alice") + certificates("bank") + commands), says)
