"""The command's manners: bad input is one line on stderr and status 2, and every verb speaks JSON."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wirecraft
from lab.staging import pki
from programs import CERTREPLAY, certreplay, output_of, wait_until


def assert_bad_input(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("certreplay: ")
    for word in words:
        assert word in done.stderr


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = certreplay("demo", "--runs", tmp_path, "--port", str(port))
    assert_bad_input(done, str(port), "in use")
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [CERTREPLAY, "demo", "--runs", str(tmp_path)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "certreplay: cannot write: No space left on device\n")


def test_a_verdict_that_the_run_does_not_have(finished_run: Path) -> None:
    done = certreplay("explain", finished_run, "--move", "no-certificate", "--gateway", "mtls@openssl")
    assert_bad_input(
        done,
        "move no-certificate, gateway mtls@openssl",
        "moves omit-proof, replay-proof, foreign-key at pinned-certificate-only@instrument in 1.2",
    )


def test_a_run_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_bad_input(certreplay("demo", "--runs", tmp_path / "file"), str(tmp_path / "file"), "--runs")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("demo", "--key-type", "dsa"), "dsa"),
        (("demo", "--student", "S07"), "'S07'"),
        (("demo", "--port", "70000"), "70000"),
        (("demo", "--port", "many"), "--port"),
        (("capture",), "FILE"),
        (("capture", "/nowhere/at.all"), "/nowhere/at.all"),
        (("verdicts", "/nowhere/at.all"), "/nowhere/at.all"),
        (("story", "/proc"), "/proc"),
        (("no-such-verb",), "no-such-verb"),
        (("classroom", "control", "--gateway", "nonsense"), "nonsense"),
    ],
)
def test_a_wrong_call(arguments: tuple[str, ...], word: str) -> None:
    assert_bad_input(certreplay(*arguments), word)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"GIF89a and more", "47 49 46 38"), (b"\xd4\xc3\xb2\xa1\x02\x00", "breaks off")],
)
def test_a_capture_that_is_none(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.pcap").write_bytes(content)
    assert_bad_input(certreplay("capture", tmp_path / "x.pcap"), "x.pcap", words)


def test_a_capture_that_is_cut_off_still_gives_what_is_before_the_cut(finished_run: Path, tmp_path: Path) -> None:
    capture = Path(shutil.copy(finished_run / "attacker" / "capture.pcapng", tmp_path))
    whole = json.loads(certreplay("capture", capture, "--json").stdout)["certificates"]
    capture.write_bytes(capture.read_bytes()[:-10])
    done = certreplay("capture", capture, "--json")
    assert_bad_input(done, "breaks off")
    assert json.loads(done.stdout)["certificates"] == whole


def test_captured_certificates_are_listed_and_written(finished_run: Path, tmp_path: Path) -> None:
    done = certreplay("capture", finished_run / "attacker" / "capture.pcapng", "--pem", tmp_path / "pem", "--json")
    seen = json.loads(done.stdout)["certificates"]
    assert {one["subject"] for one in seen} == {"O=Bank of Example,CN=alice"}
    assert {one["proof"] for one in seen} == {True}
    assert {tuple(one["names"]) for one in seen} == {("alice@bank.example",)}
    written = [
        output_of("openssl", "x509", "-in", pem, "-noout", "-fingerprint", "-sha256")
        for pem in (tmp_path / "pem").iterdir()
    ]
    fingerprints = [one.strip().partition("=")[2].replace(":", "").lower() for one in written]
    assert sorted(fingerprints) == sorted({one["sha256"] for one in seen})
    assert len(fingerprints) == 2, "alice's self-signed certificate, and the one from the authority"


@pytest.mark.parametrize(("verb", "ids"), [("moves", "replay-proof"), ("schemes", "certificate-only")])
def test_the_tables_are_listed(verb: str, ids: str) -> None:
    assert ids in certreplay(verb).stdout
    assert ids in [row["id"] for row in json.loads(certreplay(verb, "--json").stdout)]


def test_the_attacker_refuses_a_target_outside_the_lab(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "attacker", "relay", "--folder", str(tmp_path)]
    forward = "--forward=127.0.0.1:0=192.0.2.1:443"
    done = subprocess.run([*command, forward], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "192.0.2.1 is out of scope" in done.stderr


def test_a_name_in_a_certificate_cannot_command_the_terminal(tmp_path: Path, authority: pki.Identity) -> None:
    flights, _ = wirecraft.handshake(wirecraft.parties(authority, name="\x1bc\x07mallory"))
    done = certreplay("capture", wirecraft.write(tmp_path / "x.pcap", wirecraft.alice_to_bank(flights)))
    assert done.returncode == 0, done.stderr
    assert "mallory" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout


def test_a_command_takes_the_newest_run_where_none_is_given(tmp_path: Path) -> None:
    for _ in range(2):
        assert certreplay("demo", "--runs", tmp_path, "--json").returncode == 0
    older, newest = sorted(tmp_path.iterdir())
    (tmp_path / "9999-empty").mkdir()
    explained = certreplay("explain", "--move", "replay-proof", "--scheme", "mtls", "--runs", tmp_path)
    assert (explained.returncode, explained.stderr) == (0, f"certreplay: taking the newest run, {newest}\n")
    assert "replay-proof at mtls@" in explained.stdout
    assert json.loads(certreplay("verdicts", "--json", "--runs", tmp_path).stdout)["run"] == newest.name
    assert json.loads(certreplay("verdicts", older.name, "--json", "--runs", tmp_path).stdout)["run"] == older.name


@pytest.mark.parametrize("verb", ["story", "verdicts", "claims"])
def test_where_there_is_no_run_a_command_says_which_one_makes_one(verb: str, tmp_path: Path) -> None:
    done = certreplay(verb, "--runs", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "`certreplay demo` makes one" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("story", "/nowhere/at.all", "--json"),
        ("capture", "/nowhere/at.all", "--json"),
        ("demo", "--json", "--no-such-option"),
        ("demo", "--json", "--port", "70000"),
        ("claims", "somewhere", "--new", "--json"),
        ("no-such-verb", "--json"),
    ],
)
def test_under_json_a_refusal_is_json_too(arguments: tuple[str, ...]) -> None:
    done = certreplay(*arguments)
    assert done.returncode == 2
    assert done.stderr == f"certreplay: {json.loads(done.stdout)['error']}\n"


def test_under_json_a_refusal_reaches_a_pipe() -> None:
    """Python buffers what goes into a pipe; a command that ended without a flush would lose it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [CERTREPLAY, "story", "/nowhere/at.all", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == f"certreplay: {json.loads(done.stdout)['error']}\n"


def test_a_pipe_that_is_closed_is_no_verdict(finished_run: Path) -> None:
    for verb in ("story", "claims", "verdicts"):
        reading, writing = os.pipe()
        os.close(reading)
        command = [CERTREPLAY, verb, "--runs", str(finished_run.parent)]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        os.close(writing)
        assert done.returncode == 141
        assert done.stderr.count("\n") == 1


def handles(status: str, number: signal.Signals) -> bool:
    """Whether a process catches a signal (proc_pid_status(5))."""
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> number - 1 & 1)


def events_in(runs: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in runs.glob("*/*/events.jsonl"))


@pytest.mark.parametrize(("delay_ms", "events"), [(0, 0), (60, 0), (150, 0), (0, 1), (0, 10), (0, 100)])
def test_ctrl_c_at_any_moment_ends_a_run_in_one_line(delay_ms: int, events: int, tmp_path: Path) -> None:
    """While it starts, and once the run has this number of events. A matrix has many more."""
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [CERTREPLAY, "matrix", "--runs", tmp_path / "runs"],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    status = Path(f"/proc/{process.pid}/status")
    wait_until(lambda: handles(status.read_text(), signal.SIGTERM), "the command")  # until then it is Python, starting
    time.sleep(delay_ms / 1000)
    wait_until(lambda: events_in(tmp_path / "runs") >= events, f"{events} events")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "certreplay: stopped\n")
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("moves", "--json")])
def test_a_command_imports_only_what_it_needs(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "lab", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "lab.cli" in imported
    assert not imported & {"asyncio", "cryptography", "rich", "scapy", "lab.staging.pki"}
