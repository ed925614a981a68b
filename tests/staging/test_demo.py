"""The embedded lab as its user runs it: real processes on loopback, read back with tools that we did not write."""

import hashlib
import json
import os
import re
import signal
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.catalogue.plan import short_story
from lab.events.run import Run, open_run
from lab.events.types import CaptureSearched, LoggedIn, LoginDecrypted, MoneyMoved, MoveTried
from programs import CERTREPLAY, PATIENCE_SECONDS, certreplay, certreplay_process, tshark, wait_until


@dataclass(frozen=True)
class Demo:
    """One finished demo: its exit status, what it printed, and its run."""

    status: int
    output: str
    errors: str
    run: Run

    @property
    def verdicts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run.folders.verdicts.read_text())
        return found


def demo(folder: Path, *arguments: str) -> Demo:
    done = certreplay_process("demo", "--runs", folder / "runs", *arguments)
    return Demo(done.returncode, done.stdout, done.stderr, open_run(next((folder / "runs").iterdir())))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return demo(tmp_path_factory.mktemp("demo"))


def left_over(mark: str) -> list[str]:
    """The command lines of processes that mention `mark`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if mark in words and process.name != str(os.getpid()):
            found.append(words)
    return found


def wait_until_nothing_is_left(mark: str) -> None:
    wait_until(lambda: not left_over(mark), "the end of every process")


def test_it_ends_with_every_verdict_as_expected(finished: Demo) -> None:
    assert finished.status == 0
    assert finished.errors == ""
    assert finished.verdicts["as_expected"] is True


def test_the_captured_certificate_opens_the_certificate_only_gateway(finished: Demo) -> None:
    opened = [v for v in finished.verdicts["verdicts"] if v["gateway"] == "certificate-only@instrument"]
    assert {v["move"] for v in opened} == {"omit-proof", "replay-proof", "foreign-key"}
    for verdict in opened:
        assert verdict["outcome"] == "accepted"
        assert verdict["evidence"]["http"]["status"] == 200
        assert json.loads(verdict["evidence"]["http"]["body"])["customer"] == "alice"
        assert verdict["evidence"]["stolen"] == 100


@pytest.mark.parametrize(
    ("move", "alert"),
    [
        ("omit-proof", {"name": "unexpected_message", "number": 10, "sent_by": "server"}),
        ("replay-proof", {"name": "decrypt_error", "number": 51, "sent_by": "server"}),
        ("foreign-key", {"name": "decrypt_error", "number": 51, "sent_by": "server"}),
    ],
)
def test_the_mutual_tls_gateway_refuses_with_the_alert_that_the_rfc_names(
    finished: Demo, move: str, alert: dict[str, Any]
) -> None:
    (verdict,) = [v for v in finished.verdicts["verdicts"] if (v["gateway"], v["move"]) == ("mtls@openssl", move)]
    assert verdict["outcome"] == "refused"
    assert verdict["evidence"]["alert"] == alert
    assert verdict["evidence"]["http"] is None
    assert verdict["evidence"]["reason"]
    assert verdict["evidence"]["ms"] > 0


def test_both_controls_succeed_at_every_gateway(finished: Demo) -> None:
    controls = {(c["gateway"], c["control"]): c["outcome"] for c in finished.verdicts["controls"]}
    assert controls == dict.fromkeys(
        [
            (gateway, control)
            for gateway in ("certificate-only@instrument", "mtls@instrument", "mtls@openssl")
            for control in ("client", "stolen-key")
        ],
        "accepted",
    )


def test_the_money_is_gone_at_the_bank_itself(finished: Demo) -> None:
    moved = list(finished.run.all(MoneyMoved))
    assert [(transfer.customer, transfer.to, transfer.amount) for transfer in moved] == [("alice", "mallory", 100)] * 3
    assert moved[-1].balance == 700


def test_verdicts_json_has_the_documented_fields(finished: Demo) -> None:
    verdicts = finished.verdicts
    assert set(verdicts) == {"version", "run", "capture", "controls", "verdicts", "as_expected"}
    assert verdicts["version"] == 3
    assert verdicts["run"] == finished.run.name
    assert set(verdicts["capture"]) == {"subject", "sha256", "tls", "source"}
    assert {"leak", "gateway", "scheme", "implementation", "tls", "move", "expected", "outcome", "evidence"} == set(
        verdicts["verdicts"][0]
    )
    assert {"gateway", "tls", "control", "outcome"} == set(verdicts["controls"][0])


def test_tshark_sees_the_very_certificate_that_mallory_kept(finished: Demo) -> None:
    stolen = (finished.run.folders.path / "attacker" / "stolen" / "alice.pem").read_text()
    seen = tshark(
        finished.run.folders.capture,
        *("-Y", "tls.handshake.type == 15", "-T", "fields", "-E", "occurrence=f", "-e", "tls.handshake.certificate"),
    )
    assert ssl.PEM_cert_to_DER_cert(stolen).hex() in seen
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(stolen)).hexdigest() == finished.verdicts["capture"]["sha256"]


def test_tshark_finds_nothing_malformed_in_the_capture(finished: Demo) -> None:
    options = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
    assert tshark(finished.run.folders.capture, *options, "-Y", "_ws.malformed || _ws.expert.severity >= error") == []
    assert tshark(finished.run.folders.capture, *options, "-Y", "tcp.analysis.flags") == []


@pytest.mark.parametrize("part", ["victim-client", "victim-server"])
def test_tshark_decrypts_the_capture_with_the_victims_keys(finished: Demo, part: str) -> None:
    keys = finished.run.folders.part(part) / "keys.log"
    requests = tshark(
        finished.run.folders.capture, "-o", f"tls.keylog_file:{keys}", "-Y", 'http.request.uri == "/account"'
    )
    assert requests


def test_alices_logins_are_there_message_by_message_as_tshark_decrypts_them(finished: Demo) -> None:
    keys = finished.run.folders.part("victim-client") / "keys.log"
    seen = {login.connection for login in finished.run.all(LoggedIn)}
    logins = list(finished.run.all(LoginDecrypted))
    assert {login.tls for login in logins} == {"1.2", "1.3"}
    for login in logins:
        assert login.connection in seen
        port = login.client.rpartition(":")[2]
        lines = tshark(
            finished.run.folders.capture,
            *("-o", f"tls.keylog_file:{keys}", "-Y", f"tcp.port == {port} && tls.handshake"),
            *("-T", "fields", "-e", "tls.handshake.type", "-e", "tls.handshake.length"),
        )
        there = Counter(
            (int(kind), 4 + int(octets))
            for line in lines
            for kind, octets in zip(*(field.split(",") for field in line.split("\t")), strict=True)
        )
        own = [(name, octets, encrypted) for _, name, octets, encrypted, _ in login.messages if name in TYPES]
        assert Counter((TYPES[name], octets) for name, octets, _ in own) <= there
        hidden = {name for name, _, encrypted in own if encrypted}
        assert ("CertificateVerify" in hidden) == (login.tls == "1.3")
        assert login.messages[-1][4] >= login.messages[0][4] >= 0


TYPES = {
    "ClientHello": 1,
    "ServerHello": 2,
    "EncryptedExtensions": 8,
    "Certificate": 11,
    "ServerKeyExchange": 12,
    "CertificateRequest": 13,
    "ServerHelloDone": 14,
    "CertificateVerify": 15,
    "ClientKeyExchange": 16,
    "Finished": 20,
}
"""RFC 5246 section 7.4, RFC 8446 section 4."""


def test_the_certificate_is_found_in_the_capture_and_the_key_is_not(finished: Demo) -> None:
    searched = finished.run.first(CaptureSearched)
    assert searched
    assert searched.certificate_at
    assert searched.key_forms
    assert searched.key_at == ()
    assert searched.keys == 2
    found = set(searched.key_in_bundle or ())
    assert found > {f"{key}, {form}" for key in ("key 1", "key 2") for form in ("PKCS#8 in DER", "PKCS#8 in PEM")}


def test_no_private_key_stays_in_the_run(finished: Demo) -> None:
    files = [path for path in finished.run.folders.path.rglob("*") if path.is_file()]
    assert any(b"-----BEGIN CERTIFICATE-----" in path.read_bytes() for path in files)
    assert not [path for path in files if re.search(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----", path.read_bytes())]
    assert not [path for path in files if path.suffix == ".p12"]


def test_the_story_says_what_the_verdicts_say(finished: Demo) -> None:
    assert finished.verdicts["capture"]["sha256"] in finished.output
    assert "300 gone" in finished.output
    assert "Alice logs in at `mtls@instrument`, TLS 1.2: " in finished.output
    for gateway in short_story().gateways:
        assert f" ({gateway})\n" in finished.output
    assert "alert decrypt_error (51), sent by the server" in finished.output
    assert "\x1b" not in finished.output
    assert not any(line.endswith(" ") for line in finished.output.splitlines())


@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_it_goes_the_same_way_with_other_keys_and_json_prints_the_verdicts_alone(tmp_path: Path, key_type: str) -> None:
    done = demo(tmp_path, "--key-type", key_type, "--json")
    assert (done.status, done.errors) == (0, "")
    assert json.loads(done.output) == done.verdicts
    assert done.verdicts["as_expected"] is True


def test_the_run_can_be_judged_and_told_again(finished: Demo) -> None:
    for verb in ("verdicts", "story"):
        again = certreplay(verb, finished.run.folders.path, "--json")
        assert again.returncode == 0
        assert json.loads(again.stdout) == finished.verdicts


def test_every_certificate_was_seen_where_alice_logged_in(finished: Demo) -> None:
    assert {login.gateway for login in finished.run.all(LoggedIn)} == set(short_story().gateways)
    assert len(list(finished.run.all(MoveTried))) == 12


@pytest.fixture
def running(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A demo in the middle of its run: the attacker is in between."""
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [CERTREPLAY, "demo", "--runs", tmp_path / "runs"],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: any(Run(folder).update() for folder in (tmp_path / "runs").glob("*")), "the first event")
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_it_midway_leaves_nothing_behind(
    running: "subprocess.Popen[str]", tmp_path: Path, number: signal.Signals, status: int
) -> None:
    running.send_signal(number)
    _, errors = running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == status
    assert errors == "certreplay: stopped\n"
    assert left_over(str(tmp_path)) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_parts_do_not_outlive_a_lab_that_is_killed_outright(
    running: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    running.kill()
    running.wait()
    wait_until_nothing_is_left(str(tmp_path))


def test_a_run_that_was_cut_off_can_still_be_told(running: "subprocess.Popen[str]", tmp_path: Path) -> None:
    running.kill()
    running.wait()
    wait_until_nothing_is_left(str(tmp_path))
    (folder,) = (tmp_path / "runs").iterdir()
    told = certreplay("story", folder)
    assert told.returncode == 1
    assert "There are no verdicts" in told.stdout
    assert told.stderr == ""
