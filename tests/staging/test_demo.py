"""The embedded lab as its user runs it: real processes on loopback, read back with tools that we did not write."""

import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from doctoring import doctored_run
from lab.catalogue.outcomes import ACCEPTED
from lab.catalogue.plan import short_story
from lab.document import Comparison, Section, plain
from lab.events.run import Run, open_run
from lab.events.types import (
    CaptureSearched,
    ClientAuthenticated,
    Event,
    HandshakeSeen,
    LoggedIn,
    LoginDecrypted,
    MoneyMoved,
    MoveTried,
)
from lab.judging.facts import port_of
from lab.judging.verdicts import JudgedRun
from lab.story.acts import tell
from lab.story.explain import compare_proof
from lab.views import markdown as docs
from programs import CERTREPLAY, PATIENCE_SECONDS, certreplay, certreplay_process, tshark, wait_until

CHECKING = ("pinned-mtls@instrument", "pinned-mtls@openssl", "mtls@openssl")
GATEWAYS = ("pinned-certificate-only@instrument", *CHECKING[:2], "certificate-only@instrument", CHECKING[2])
"""The gateways of the demo, in the order in which they are tried."""
REPETITIONS = 5


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


@pytest.mark.parametrize("gateway", ["pinned-certificate-only@instrument", "certificate-only@instrument"])
def test_the_captured_certificate_opens_the_gateways_that_want_no_more(finished: Demo, gateway: str) -> None:
    opened = [v for v in finished.verdicts["verdicts"] if v["gateway"] == gateway]
    assert {v["move"] for v in opened} == {"omit-proof", "replay-proof", "foreign-key"}
    for verdict in opened:
        assert verdict["outcome"] == "accepted"
        assert verdict["evidence"]["http"]["status"] == 200
        assert json.loads(verdict["evidence"]["http"]["body"])["customer"] == "alice"
        assert verdict["evidence"]["stolen"] == 100


@pytest.mark.parametrize("gateway", CHECKING)
@pytest.mark.parametrize(
    ("move", "alert"),
    [
        ("omit-proof", {"name": "unexpected_message", "number": 10, "sent_by": "server"}),
        ("replay-proof", {"name": "decrypt_error", "number": 51, "sent_by": "server"}),
        ("foreign-key", {"name": "decrypt_error", "number": 51, "sent_by": "server"}),
    ],
)
def test_the_mutual_tls_gateway_refuses_with_the_alert_that_the_rfc_names(
    finished: Demo, move: str, alert: dict[str, Any], gateway: str
) -> None:
    (verdict,) = [v for v in finished.verdicts["verdicts"] if (v["gateway"], v["move"]) == (gateway, move)]
    assert verdict["outcome"] == "refused"
    assert verdict["evidence"]["alert"] == alert
    assert verdict["evidence"]["http"] is None
    assert verdict["evidence"]["reason"]
    assert verdict["evidence"]["ms"] > 0


def test_both_controls_succeed_at_every_gateway(finished: Demo) -> None:
    controls = {(c["gateway"], c["control"]): c["outcome"] for c in finished.verdicts["controls"]}
    assert controls == dict.fromkeys(
        [(gateway, control) for gateway in GATEWAYS for control in ("client", "stolen-key")],
        "accepted",
    )


def test_the_money_is_gone_at_the_bank_itself(finished: Demo) -> None:
    moved = list(finished.run.all(MoneyMoved))
    assert [(transfer.customer, transfer.to, transfer.amount) for transfer in moved] == [("alice", "mallory", 100)] * 6
    assert [transfer.balance for transfer in moved] == [900, 800, 700, 600, 500, 400]


def test_verdicts_json_has_the_documented_fields(finished: Demo) -> None:
    verdicts = finished.verdicts
    assert set(verdicts) == {"version", "run", "lab", "capture", "controls", "verdicts", "as_expected", "events"}
    assert verdicts["version"] == 3
    assert verdicts["run"] == finished.run.name
    assert verdicts["lab"] == str(finished.run.folders.path.parent)
    assert set(verdicts["events"]) == {recorded.part for recorded in finished.run.events}
    assert all(count > 0 for count in verdicts["events"].values())
    assert set(verdicts["capture"]) == {"subject", "sha256", "tls", "source"}
    assert {"leak", "gateway", "scheme", "implementation", "tls", "move", "expected", "outcome", "evidence"} == set(
        verdicts["verdicts"][0]
    )
    assert {"gateway", "tls", "control", "outcome"} == set(verdicts["controls"][0])


def test_tshark_sees_the_very_certificate_that_mallory_kept(finished: Demo) -> None:
    stolen = (finished.run.folders.path / "attacker" / "stolen" / "alice-self-signed.pem").read_text()
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
        if not {("client", "Finished"), ("client", "protected record")} & {row[:2] for row in login.messages}:
            continue  # alice was in the middle of it when the lab read the capture
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
    assert searched.file_octets == finished.run.folders.capture.stat().st_size  # mallory had stopped by then
    found = set(searched.key_in_bundle or ())
    assert found > {f"{key}, {form}" for key in ("key 1", "key 2") for form in ("PKCS#8 in DER", "PKCS#8 in PEM")}
    assert "all that mallory had captured by then: " in finished.output
    assert re.search(r"2 keys of hers, in 8 encodings each +not found", finished.output)
    assert re.search(r"blind spots +what is in encrypted records", finished.output)


def test_no_private_key_stays_in_the_run(finished: Demo) -> None:
    files = [path for path in finished.run.folders.path.rglob("*") if path.is_file()]
    assert any(b"-----BEGIN CERTIFICATE-----" in path.read_bytes() for path in files)
    assert not [path for path in files if re.search(rb"-----BEGIN ([A-Z]+ )*PRIVATE KEY-----", path.read_bytes())]
    assert not [path for path in files if path.suffix == ".p12"]


def test_the_story_says_what_the_verdicts_say(finished: Demo) -> None:
    assert finished.verdicts["capture"]["sha256"] in finished.output
    assert "600 gone" in finished.output
    assert "Alice logs in at `pinned-mtls@instrument`, TLS 1.2: " in finished.output
    assert "Alice logs in at `pinned-mtls@instrument`, TLS 1.3: " in finished.output
    for gateway in short_story().gateways:
        assert f" ({gateway})\n" in finished.output
    assert "alert decrypt_error (51), sent by the server" in finished.output
    assert "\x1b" not in finished.output
    assert not any(line.endswith(" ") for line in finished.output.splitlines())


def act(story: str, title: str) -> str:
    """One act of a story."""
    _, _, rest = story.partition(title)
    assert rest, f"no act {title}"
    return re.split(r"\n\d+\. ", rest)[0]


def test_everything_happened_in_the_order_in_which_it_is_told(finished: Demo) -> None:
    """The question's own case comes first, and each attempt begins when the one before has ended."""
    tried = [one for one in finished.run.events if isinstance(one.event, MoveTried) and one.event.leak]
    ports = {port_of(one.event.server): None for one in tried if isinstance(one.event, MoveTried)}
    gateways = JudgedRun(finished.run).gateways
    assert [gateways[port].id for port in ports] == list(GATEWAYS)
    ended = None
    for one in tried:
        assert isinstance(one.event, MoveTried)
        assert ended is None or one.time - timedelta(milliseconds=one.event.milliseconds) >= ended
        ended = one.time
    balances = re.findall(r'(?:"balance":|alice has )(\d+)', finished.output[: finished.output.index("Controls")])
    assert balances == ["1000", "900", "800", "700", "600", "500"]


def test_the_comparison_of_the_proof_stands_where_a_replayed_proof_is_refused(finished: Demo) -> None:
    """The same one that `explain` shows, once, at the first gateway that checks the proof."""
    judged = JudgedRun(finished.run)
    (refused,) = [one for one in judged.judgement.verdicts if (one.gateway, one.move) == (CHECKING[0], "replay-proof")]
    (told,) = [one for one in tell(judged) if isinstance(one, Section) and CHECKING[0] in plain(one.title)]
    by_move = {plain(one.title).partition(":")[0]: one.blocks[1:] for one in told.blocks if isinstance(one, Section)}
    compared = tuple(compare_proof(refused))
    assert by_move == {"omit-proof": (), "replay-proof": compared, "foreign-key": ()}
    (comparison,) = [block for block in compared if isinstance(block, Comparison)]
    assert [row.differs for row in comparison.rows] == [True] * 3
    assert finished.output.count("Why the proof does not fit:") == 1


def test_with_certificates_from_an_authority_it_is_the_same(finished: Demo) -> None:
    told = " ".join(act(finished.output, "With certificates from an authority").split())
    assert "whose certificate was issued by CN=certreplay lab authority" in told
    assert f"it is the same: all 6 outcomes are those of {', '.join(GATEWAYS[:2])} and {GATEWAYS[2]}." in told


def test_it_would_be_told_if_it_were_not_the_same(finished: Demo) -> None:
    ports = {gateway.id: port for port, gateway in JudgedRun(finished.run).gateways.items()}

    def get_in(event: Event) -> Event:
        if isinstance(event, MoveTried) and event.leak and port_of(event.server) == ports["mtls@openssl"]:
            body = '{"customer":"alice","balance":1000}'
            came = {"outcome": ACCEPTED, "alert": None, "alert_by": None, "status": 200, "body": body}
            return replace(event, steps=event.steps[:-1], **came)  # type: ignore[arg-type]
        return event

    told = docs.text(tell(JudgedRun(doctored_run(finished.run.folders.path, get_in))))
    assert "With certificates from an authority it is not the same: omit-proof at mtls@openssl, TLS 1.2" in told


def masked(story: str) -> str:
    """A story without what is random in it: times, ports, keys, and what depends on when alice's logins end."""
    for pattern, put in (
        (r"\S*\d{4}-\d\d-\d\dT[\d.-]+Z\S*", "RUN"),
        (r"(?m)^ *([0-9a-f]{2}( [0-9a-f]{2})+)( .*)?$", r"OCTETS\3"),
        (r"\b[0-9a-f]{16,}\b", "HEX"),
        (r"127\.0\.0\.\d+:\d+", "ADDRESS"),
        (r"(application_data \d+[,\s]*)+", "RECORDS "),
        (r"((?:client|server)  \w+ +)\d+", r"\1OCTETS"),
        (r"[\d,]+ (bytes?|connections|times)\b|(handshake|byte) \d+", r"\1\2"),
    ):
        story = re.sub(pattern, put, story)
    return " ".join(story.split())


def test_the_same_plan_tells_the_same_story(finished: Demo, tmp_path: Path) -> None:
    told = [masked(demo(tmp_path / str(number)).output) for number in range(REPETITIONS)]
    assert set(told) == {masked(finished.output)}


def test_the_readmes_excerpt_is_what_the_demo_prints(finished: Demo) -> None:
    """But for what is random, and for what it leaves out."""
    _, _, excerpt = (Path(__file__).parents[2] / "README.md").read_text().partition("## What you will see")
    lines = excerpt.partition("\n## ")[0].splitlines()
    pieces = re.split(r"\.\.\.\n|\n\n", "\n".join(line for line in lines if line.startswith("    ") or not line))
    rest = masked(finished.output)
    assert len(pieces) > 10
    for piece in filter(None, map(masked, pieces)):
        _, found, rest = rest.partition(piece)
        assert found, f"not printed, or not in this place: {piece}"


@pytest.mark.parametrize(
    ("name", "content", "kept"),
    [
        ("alice.key", "-----BEGIN PRIVATE KEY-----", "alice.key: 0 certificates, 1 private key"),
        ("alice.pem", "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----", ""),
    ],
)
def test_a_key_among_the_stolen_files_would_be_told(
    finished: Demo, tmp_path: Path, name: str, content: str, kept: str
) -> None:
    """And a file that does not hold the certificate is not told for it, damaged as it may be."""
    run = shutil.copytree(finished.run.folders.path, tmp_path / finished.run.name)
    (run / "attacker" / "stolen" / name).write_text(content)
    told = act(docs.text(tell(JudgedRun(open_run(run)))), "On the wire")
    assert re.findall(rf"stolen/({re.escape(name)}: \d.*)", told) == ([kept] if kept else [])


def test_what_is_said_of_a_connection_is_of_that_connection(finished: Demo) -> None:
    """Alice's, the gateway's and the attacker's reports have one name for it."""
    told = " ".join(act(finished.output, "Over TLS 1.3").split())
    client, peer = re.findall(r"TLS 1.3: (\S+) to|client (127\S+),", told)
    run = finished.run
    (seen,) = [one for one in run.all(HandshakeSeen) if one.client == client[0]]
    (login,) = [one for one in run.all(LoggedIn) if one.connection == seen.server_random]
    assert (login.tls, login.gateway) == ("1.3", "pinned-mtls@instrument")
    (report,) = [one for one in run.all(ClientAuthenticated) if one.peer == peer[1]]
    assert (report.tls, report.gateway, report.sha256) == ("1.3", login.gateway, login.sha256)
    assert report.connection == seen.server_random


def test_another_connections_evidence_is_not_told(finished: Demo) -> None:
    """Without the report on the connection that was seen, none is told, though there are others of that version."""
    seen = next(
        one
        for one in finished.run.all(HandshakeSeen)
        if one.tls == "1.3"
        and any(
            login.connection == one.server_random and login.gateway == CHECKING[0]
            for login in finished.run.all(LoggedIn)
        )
    )

    def forget(event: Event) -> Event | None:
        return None if isinstance(event, ClientAuthenticated) and event.connection == seen.server_random else event

    doctored = doctored_run(finished.run.folders.path, forget)
    assert any(one.tls == "1.3" for one in doctored.all(ClientAuthenticated))
    told = act(docs.text(tell(JudgedRun(doctored))), "Over TLS 1.3")
    assert seen.client_random in told
    assert "gateway log" not in told


def test_an_older_run_which_lacks_these_names_can_still_be_told(finished: Demo) -> None:
    """A login at the same server names the gateway; what cannot be known of the connection is not told."""

    def as_it_was(event: Event) -> Event | None:
        return replace(event, connection="") if isinstance(event, LoggedIn | ClientAuthenticated) else event

    told = docs.text(tell(JudgedRun(doctored_run(finished.run.folders.path, as_it_was))))
    assert "Alice logs in at `pinned-mtls@instrument`, TLS 1.2: " in act(told, "On the wire")
    tls13 = act(told, "Over TLS 1.3")
    assert "Alice logs in at `pinned-mtls@instrument`, TLS 1.3: " in tls13
    assert "gateway log" not in tls13


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
        told = json.loads(again.stdout)
        counts = told.pop("events")
        assert all(counts[part] >= count for part, count in finished.verdicts["events"].items())  # the parts stop later
        assert told == {name: value for name, value in finished.verdicts.items() if name != "events"}


def test_every_certificate_was_seen_where_alice_logged_in(finished: Demo) -> None:
    assert {login.gateway for login in finished.run.all(LoggedIn)} == set(short_story().gateways)
    assert len(list(finished.run.all(MoveTried))) == 4 * len(GATEWAYS)


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
