"""The claims: each is settled by a fresh run of everything, and by what happened in that run and nothing else."""

import asyncio
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from doctoring import doctored_run, recorded_in
from lab.catalogue.cast import BY_REQUEST
from lab.catalogue.gateways import GATEWAYS
from lab.catalogue.moves import STOLEN_KEY, STOLEN_PASSWORD
from lab.catalogue.outcomes import ACCEPTED, REFUSED, Outcome
from lab.catalogue.plan import everything
from lab.catalogue.searches import PASSWORD, TRANSCRIPT_HASHES
from lab.events.run import Run, open_run
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    Event,
    FileSearched,
    GatewayListening,
    HandshakeDecrypted,
    Intercepted,
    LoggedIn,
    LoginFailed,
    MoveTried,
    ProofRelayed,
)
from lab.judging.claims import CLAIMS, Holding, settle
from lab.judging.claims.discussion import DISCUSSION, THE_LAB
from lab.judging.claims.evidence import scheme_of
from lab.judging.facts import port_of
from lab.judging.own_proof import own_proof
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun
from lab.staging import embedded
from lab.story.claims import claims_document
from lab.views import markdown as docs
from programs import certreplay, mitmproxy

EXPECTED = {
    "same-as-a-password": Holding.FAILS,
    "client-sends-a-hash": Holding.FAILS,
    "needed-with-its-own-issuer": Holding.HOLDS,
    "one-connection-is-enough": Holding.CONDITIONAL,
    "key-can-be-passed-on-too": Holding.HOLDS,
    "shown-to-nobody-else": Holding.FAILS,
    "key-never-goes-to-the-server": Holding.HOLDS,
    "issuer-has-the-key": Holding.CONDITIONAL,
    "server-needs-no-keys": Holding.HOLDS,
    "not-encrypted-because-of-rsa": Holding.FAILS,
    "tls13-needs-the-proof": Holding.HOLDS,
    "certificate-in-the-clear": Holding.CONDITIONAL,
    "server-tls-protects": Holding.CONDITIONAL,
    "checking-adds-nothing": Holding.FAILS,
    "only-the-issuer-is-fooled": Holding.CONDITIONAL,
    "every-server-could-impersonate": Holding.CONDITIONAL,
    "privacy-but-not-identity": Holding.CONDITIONAL,
    "database-is-a-liability": Holding.HOLDS,
    "tls13-encrypts": Holding.HOLDS,
    "tls13-is-unauthenticated": Holding.CONDITIONAL,
    "tls13-makes-it-irrelevant": Holding.FAILS,
    "proof-can-be-passed-on": Holding.FAILS,
    "self-signed-is-useless": Holding.FAILS,
    "any-proof-is-enough": Holding.CONDITIONAL,
}

Change = Callable[[Event, dict[int, str]], Event | None]


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh run of everything."""
    mitmproxy()
    runs = tmp_path_factory.mktemp("runs")
    judgement = asyncio.run(embedded.run_embedded(runs, everything(), None, lambda run: None))
    assert not judgement.errors
    assert judgement.as_expected
    return runs / judgement.run


def verdicts(run: Run) -> dict[str, Holding]:
    return {claim.id: settled.holding for claim, settled in settle(CLAIMS, RunQueries(JudgedRun(run)))}


def test_a_fresh_run_settles_every_claim(full_run: Path) -> None:
    assert verdicts(open_run(full_run)) == EXPECTED


def test_the_evidence_are_events_of_the_run(full_run: Path) -> None:
    run = open_run(full_run)
    known = {f"{recorded.part}#{recorded.sequence}" for recorded in run.events}
    for _, settled in settle(CLAIMS, RunQueries(JudgedRun(run))):
        assert settled.evidence
        assert set(settled.evidence) <= known


def doctored(full_run: Path, change: Change) -> Run:
    """The run in which `change` has changed or dropped events."""
    listening = (one.event for one in recorded_in(full_run) if isinstance(one.event, GatewayListening))
    ports = {one.port: scheme_of(one.gateway) for one in listening}
    return doctored_run(full_run, lambda event: change(event, ports))


class Doctoring(NamedTuple):
    """What is changed, and the claim whose verdict follows."""

    claim: str
    change: Change
    verdict: Holding


def _when(kind: type, having: Callable[[Any], bool], **fields: Any) -> Change:
    """Changes the fields of those events, or drops them where there are none."""

    def change(event: Event, ports: dict[int, str]) -> Event | None:
        if isinstance(event, kind) and having(event):
            return dataclasses.replace(event, **fields) if fields else None
        return event

    return change


def _with_key(outcome: Outcome, leak: str) -> Change:
    """Every attempt with the key goes another way where the proof is checked."""
    return _when(MoveTried, lambda one: one.move == STOLEN_KEY and one.leak == leak, outcome=outcome)


def _reordered(seen: CertificateCaptured) -> CertificateCaptured:
    """The client's Certificate after its ClientKeyExchange, as if it had been sent with keys."""
    *before, certificate, exchange = seen.transcript
    return dataclasses.replace(seen, transcript=(*before, exchange, certificate))


def _attempts(schemes: tuple[str, ...], outcome: Outcome, leak: str = "") -> Change:
    """Every attempt of the attacker's at these schemes goes another way."""

    def change(event: Event, ports: dict[int, str]) -> Event | None:
        if not (isinstance(event, MoveTried) and event.leak and leak in ("", event.leak)):
            return event
        if event.move in (STOLEN_KEY, STOLEN_PASSWORD):
            return event
        there = ports.get(port_of(event.server)) in schemes and event.outcome in (ACCEPTED, REFUSED)
        return dataclasses.replace(event, outcome=outcome) if there else event

    return change


BLIND = ("certificate-only", "pinned-certificate-only")
CHECKING = ("mtls", "pinned-mtls")
NOT_WHOSE = ("any-certificate-of-the-chain", "names-only")
ON_THE_WIRE_12 = _when(CertificateCaptured, lambda one: (one.leak, one.tls) == ("wire", "1.2"))
ALL_SENT_IN_13 = (
    *(("server", name) for name in ("Certificate", "CertificateVerify", "Finished")),
    *(("client", name) for name in ("Certificate", "CertificateVerify", "Finished")),
)

COMPRESSED_IN_13 = tuple(
    (sender, "CompressedCertificate, zlib" if name == "Certificate" else name) for sender, name in ALL_SENT_IN_13
)


def _proofs_are_hashes() -> Change:
    """Every captured proof is replaced by the hash of what it signs, in a CertificateVerify."""

    def change(event: Event, ports: dict[int, str]) -> Event | None:
        if not isinstance(event, CertificateCaptured) or not (own := own_proof(event)):
            return event
        message = bytes.fromhex(event.proof or "")[:6]  # type, length and signature scheme
        hash_ = bytes.fromhex(own.captured_hash)
        length = (len(hash_) + 4).to_bytes(3, "big")
        body = message[:1] + length + message[4:6] + len(hash_).to_bytes(2, "big") + hash_
        return dataclasses.replace(event, proof=body.hex())

    return change


FOUND_NOTHING = _when(CaptureSearched, lambda one: True, certificate_at=())


def _for_hashes(searched: FileSearched) -> bool:
    return searched.what == TRANSCRIPT_HASHES


def _for_the_password(searched: FileSearched) -> bool:
    return searched.what == PASSWORD


def _by_request(login: LoggedIn) -> bool:
    return login.gateway.endswith(BY_REQUEST)


def _turned_away(event: Event, ports: dict[int, str]) -> Event | None:
    """Alice is let in nowhere with the certificate that was issued on request."""
    if isinstance(event, LoggedIn) and _by_request(event):
        return LoginFailed(event.gateway, event.url, event.tls, "unknown ca")
    return event


def _later(event: Event, ports: dict[int, str]) -> Event | None:
    seen = isinstance(event, CertificateCaptured) and event.leak == "wire" and event.transcript
    return _reordered(event) if seen and isinstance(event, CertificateCaptured) else event


DOCTORED = (
    Doctoring("client-sends-a-hash", _proofs_are_hashes(), Holding.HOLDS),
    Doctoring("client-sends-a-hash", _when(FileSearched, _for_hashes, found_at=("byte 1",)), Holding.HOLDS),
    Doctoring("client-sends-a-hash", _when(FileSearched, _for_hashes, control_at=()), Holding.NO_EVIDENCE),
    Doctoring("same-as-a-password", _when(FileSearched, _for_the_password, found_at=("byte 1",)), Holding.HOLDS),
    Doctoring("same-as-a-password", _when(FileSearched, _for_the_password), Holding.NO_EVIDENCE),
    Doctoring("same-as-a-password", _when(MoveTried, lambda one: True), Holding.NO_EVIDENCE),
    Doctoring("needed-with-its-own-issuer", _attempts(BLIND[1:], REFUSED), Holding.FAILS),
    Doctoring("needed-with-its-own-issuer", _attempts(CHECKING[1:], ACCEPTED), Holding.FAILS),
    Doctoring("one-connection-is-enough", _attempts(BLIND[1:], REFUSED, "wire"), Holding.FAILS),
    Doctoring("one-connection-is-enough", _attempts(BLIND, REFUSED, "log"), Holding.FAILS),
    Doctoring("one-connection-is-enough", ON_THE_WIRE_12, Holding.FAILS),
    Doctoring("key-can-be-passed-on-too", _with_key(REFUSED, ""), Holding.FAILS),
    Doctoring("shown-to-nobody-else", _when(CertificateCaptured, lambda one: True), Holding.HOLDS),
    Doctoring(
        "key-never-goes-to-the-server",
        _when(CaptureSearched, lambda one: True, key_at=("byte 1",)),
        Holding.FAILS,
    ),
    Doctoring("key-never-goes-to-the-server", FOUND_NOTHING, Holding.NO_EVIDENCE),
    Doctoring("issuer-has-the-key", _with_key(REFUSED, "archive"), Holding.FAILS),
    Doctoring("issuer-has-the-key", _attempts(CHECKING, ACCEPTED, "requests"), Holding.HOLDS),
    Doctoring("issuer-has-the-key", _when(LoggedIn, _by_request), Holding.NO_EVIDENCE),
    Doctoring("server-needs-no-keys", _turned_away, Holding.FAILS),
    Doctoring("server-needs-no-keys", _when(BundleIssued, lambda one: len(one.files) == 1), Holding.NO_EVIDENCE),
    Doctoring("not-encrypted-because-of-rsa", _later, Holding.HOLDS),
    Doctoring("not-encrypted-because-of-rsa", ON_THE_WIRE_12, Holding.NO_EVIDENCE),
    Doctoring("tls13-needs-the-proof", _attempts(BLIND, REFUSED), Holding.FAILS),
    Doctoring("tls13-needs-the-proof", _attempts(CHECKING, ACCEPTED), Holding.FAILS),
    Doctoring("certificate-in-the-clear", ON_THE_WIRE_12, Holding.FAILS),
    Doctoring("server-tls-protects", ON_THE_WIRE_12, Holding.HOLDS),
    Doctoring(
        "server-tls-protects",
        _when(HandshakeDecrypted, lambda one: one.tls == "1.3" and one.of == "victim-client", messages=ALL_SENT_IN_13),
        Holding.FAILS,
    ),
    Doctoring("checking-adds-nothing", _attempts(CHECKING, ACCEPTED), Holding.HOLDS),
    Doctoring("checking-adds-nothing", _when(CaptureSearched, lambda one: True, key_at=("byte 1",)), Holding.HOLDS),
    Doctoring("checking-adds-nothing", FOUND_NOTHING, Holding.NO_EVIDENCE),
    Doctoring("tls13-encrypts", FOUND_NOTHING, Holding.NO_EVIDENCE),
    Doctoring("only-the-issuer-is-fooled", _attempts(BLIND[1:], REFUSED, "rogue-server"), Holding.FAILS),
    Doctoring("only-the-issuer-is-fooled", _attempts(BLIND[:1], REFUSED, "rogue-server"), Holding.HOLDS),
    Doctoring("every-server-could-impersonate", _attempts(CHECKING, ACCEPTED, "rogue-server"), Holding.HOLDS),
    Doctoring("every-server-could-impersonate", _attempts(BLIND, REFUSED, "rogue-server"), Holding.FAILS),
    Doctoring("privacy-but-not-identity", _attempts(CHECKING, ACCEPTED, "log"), Holding.FAILS),
    Doctoring("privacy-but-not-identity", _attempts(BLIND, REFUSED), Holding.HOLDS),
    Doctoring("database-is-a-liability", _attempts(BLIND, REFUSED, "database"), Holding.FAILS),
    Doctoring(
        "tls13-is-unauthenticated",
        _when(Intercepted, lambda one: one.tls == "1.3", sha256=""),
        Holding.FAILS,
    ),
    Doctoring(
        "tls13-is-unauthenticated",
        _when(HandshakeDecrypted, lambda one: one.tls == "1.3" and one.of == "victim-client", messages=ALL_SENT_IN_13),
        Holding.HOLDS,
    ),
    Doctoring(
        "tls13-is-unauthenticated",
        _when(
            HandshakeDecrypted, lambda one: one.tls == "1.3" and one.of == "victim-client", messages=COMPRESSED_IN_13
        ),
        Holding.HOLDS,
    ),
    Doctoring("tls13-makes-it-irrelevant", _attempts(BLIND, REFUSED), Holding.HOLDS),
    Doctoring("proof-can-be-passed-on", _when(ProofRelayed, lambda one: True, outcome=ACCEPTED), Holding.HOLDS),
    Doctoring("self-signed-is-useless", _attempts(CHECKING, ACCEPTED), Holding.HOLDS),
    Doctoring("any-proof-is-enough", _attempts(NOT_WHOSE, REFUSED), Holding.HOLDS),
    Doctoring("any-proof-is-enough", _attempts(CHECKING, ACCEPTED), Holding.FAILS),
    Doctoring("tls13-is-unauthenticated", _when(HandshakeDecrypted, lambda one: True), Holding.NO_EVIDENCE),
    Doctoring("proof-can-be-passed-on", _when(ProofRelayed, lambda one: True), Holding.NO_EVIDENCE),
    Doctoring(
        "self-signed-is-useless",
        _when(LoggedIn, lambda one: scheme_of(one.gateway) == "pinned-mtls"),
        Holding.NO_EVIDENCE,
    ),
    Doctoring("tls13-encrypts", _when(LoggedIn, lambda one: one.tls == "1.3"), Holding.NO_EVIDENCE),
    Doctoring("certificate-in-the-clear", _when(LoggedIn, lambda one: one.tls == "1.2"), Holding.NO_EVIDENCE),
)


@pytest.mark.parametrize("doctoring", DOCTORED, ids=lambda one: f"{one.claim} {one.verdict.name}")
def test_a_run_that_went_otherwise_settles_a_claim_otherwise(full_run: Path, doctoring: Doctoring) -> None:
    run = doctored(full_run, doctoring.change)
    assert verdicts(run)[doctoring.claim] == doctoring.verdict != EXPECTED[doctoring.claim]


def test_a_certificate_in_sight_in_tls13_settles_that_claim_otherwise(full_run: Path) -> None:
    def move_into_13(event: Event, ports: dict[int, str]) -> Event | None:
        if isinstance(event, CertificateCaptured) and (event.leak, event.tls) == ("wire", "1.2"):
            return dataclasses.replace(event, tls="1.3")
        return event

    assert verdicts(doctored(full_run, move_into_13))["tls13-encrypts"] == Holding.FAILS


SAID = {
    "proof-can-be-passed-on": (
        "with ECDHE the private half of either side's key share, with RSA the server's private key",
        "without any such key, the proof fitted",
    ),
    "any-proof-is-enough": ("(look-alike at names-only, own-leaf-first at any-certificate-of-the-chain)",),
    "one-connection-is-enough": ("over TLS 1.3, heard as well, showed none",),
    "key-never-goes-to-the-server": (
        "2 keys of hers in 8 forms each",
        "logins came after that capture",
        "It cannot see into encrypted records",
    ),
}
"""What these claims must say beside their verdict, or they say too much."""


def test_a_claim_says_how_far_it_reaches(full_run: Path) -> None:
    settled = {claim.id: settled for claim, settled in settle(CLAIMS, RunQueries(JudgedRun(open_run(full_run))))}
    for claim, words in SAID.items():
        assert all(one in settled[claim].because for one in words), settled[claim].because
    assert settled["one-connection-is-enough"].condition.startswith("TLS 1.2, in a connection's first handshake")
    assert settled["every-server-could-impersonate"].condition == "the server does not check the proof of possession"


def test_gateways_that_differ_in_one_thing_have_one_implementation(full_run: Path) -> None:
    """As many attempts where the proof is checked as where it is not."""
    settled = {claim.id: settled for claim, settled in settle(CLAIMS, RunQueries(JudgedRun(open_run(full_run))))}
    counts = re.findall(r"of (\d+) attempts", settled["needed-with-its-own-issuer"].because)
    assert len(counts) == 2
    assert len(set(counts)) == 1


def test_every_point_of_the_discussion_is_settled_or_says_why_not() -> None:
    settled = {point for claim in CLAIMS for point in claim.points}
    assert [point.number for point in DISCUSSION] == list(range(1, 24))
    assert settled <= {point.number for point in DISCUSSION}
    assert [point.number for point in DISCUSSION if not point.unsettled and point.number not in settled] == []


def test_a_claim_is_said_by_who_says_it_in_the_discussion() -> None:
    by = {claim.id: claim.by for claim in CLAIMS}
    assert {by[name] for name in by if name.startswith("tls13")} == {"the third answer"}
    assert by["only-the-issuer-is-fooled"] == "the questioner, in a comment"
    assert by["every-server-could-impersonate"] == "the first answer"
    assert [name for name in by if by[name] == THE_LAB] == ["proof-can-be-passed-on", "any-proof-is-enough"]


def test_the_register_has_the_customers_that_it_leaked_and_no_others(full_run: Path) -> None:
    """The other leaks yield one customer less here."""

    def forget_bob(event: Event, ports: dict[int, str]) -> Event | None:
        if isinstance(event, CertificateCaptured) and event.leak != "database" and "CN=bob" in event.subject:
            return None
        return event

    customers = {one.subject for one in open_run(full_run).all(CertificateCaptured) if one.leak == "database"}
    run = doctored(full_run, forget_bob)
    settled = {claim.id: one for claim, one in settle(CLAIMS, RunQueries(JudgedRun(run)))}
    assert f"the leaked register has {len(customers)} customers," in settled["database-is-a-liability"].because


def test_attempts_are_narrowed_down_by_all_that_is_asked_for(full_run: Path) -> None:
    queries = RunQueries(JudgedRun(open_run(full_run)))
    everywhere, here = queries.attempts(move="replay-proof"), queries.attempts(move="replay-proof", scheme="mtls")
    assert {tried.event.move for tried in everywhere} == {"replay-proof"}
    assert len({tried.gateway.scheme.id for tried in everywhere}) > 1
    assert here == [tried for tried in everywhere if tried.gateway.scheme.id == "mtls"] != []


def test_every_scheme_that_a_claim_is_about_is_there() -> None:
    assert {*BLIND, *CHECKING} <= {gateway.scheme.id for gateway in GATEWAYS}


def test_the_document_says_what_a_fresh_run_says(full_run: Path) -> None:
    """All but what is different in every run: numbers, addresses, and whom of several the counts are about."""

    def steady(text: str) -> list[str]:
        lines = [line for line in text.splitlines() if not line.startswith("- evidence: ")]
        return [re.sub(r"(?<!TLS )\b(?!0 )\d[\dTZ:.,-]*", "N", line) for line in lines]

    fresh = docs.text(claims_document(full_run))
    assert steady(docs.CLAIMS_FILE.read_text()) == steady(fresh), "stale: python -m lab.views.markdown --claims RUN"


def test_the_command_prints_them(full_run: Path) -> None:
    told = certreplay("claims", full_run)
    assert told.returncode == 0, told.stderr
    for claim in CLAIMS:
        assert claim.claim in " ".join(told.stdout.split())
    said = json.loads(certreplay("claims", full_run, "--json").stdout)
    assert {claim["id"]: claim["verdict"] for claim in said["claims"]} == {
        name: verdict.value for name, verdict in EXPECTED.items()
    }


def test_a_run_that_tried_little_settles_little_and_says_so(finished_run: Path) -> None:
    told = certreplay("claims", finished_run)
    assert told.returncode == 1
    assert "no evidence in this run" in told.stdout
    assert "not tried: the leak rogue-server\n" in told.stdout
    assert "not tried: the leak log\n" in told.stdout
    assert "not tried: the leak database\n" in told.stdout
    assert "not tried: the leak interception or rogue-server\n" in told.stdout


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"key_at": ("scalar: byte 1",)}, "alice's key was on the wire: scalar: byte 1"),
        ({"certificate_at": ()}, "the key search proves nothing"),
        ({}, "was not searched"),
    ],
)
def test_a_search_that_found_the_key_or_nothing_at_all_leaves_no_verdicts(
    full_run: Path, fields: dict[str, Any], word: str
) -> None:
    judgement = JudgedRun(doctored(full_run, _when(CaptureSearched, lambda one: True, **fields))).judgement
    assert not judgement.as_expected
    assert any(word in error for error in judgement.errors)
