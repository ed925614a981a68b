"""The leaks other than the wire's, each with the whole matrix, really run and with no wire in the plan."""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE
from lab.catalogue.plan import full_matrix
from lab.events.run import Run, open_run
from lab.events.types import CaptureSearched, CertificateCaptured, LoggedIn, LoginFailed, MoveTried
from lab.judging.facts import port_of
from lab.judging.verdicts import JudgedRun, judge
from lab.staging import embedded, pki, stages
from lab.staging.stages import Setting, Stage

CERTREPLAY = Path(sys.executable).parent / "certreplay"
LEAKS = ("rogue-server", "database", "log", "archive", "requests")
VERSIONS = ("1.2", "1.3")

WITHOUT_A_PROOF = {"omit-proof", "foreign-key", "empty-proof", "zero-proof", "stolen-leaf-first"}
WITH_A_PROOF = WITHOUT_A_PROOF | {"replay-proof", "relabelled-proof", "flipped-proof"}
EARLY = {"1.2": set[str](), "1.3": {"early-finished"}}
"""In TLS 1.3 to finish early is to leave the proof out."""


PINNED_BLIND = "pinned-certificate-only"


def opened(leak: str, version: str) -> dict[str, set[str]]:
    """What opens where with what a leak yields, by gateway: written down here, and not taken from the lab's tables."""
    moves = WITH_A_PROOF if leak == "rogue-server" else WITHOUT_A_PROOF
    pinned = {
        "pinned-mtls@openssl": set[str](),
        "pinned-mtls@instrument": set[str](),
        "pinned-certificate-only@instrument": moves | EARLY[version],
    }
    if leak == "database":
        return pinned
    issued = {
        "mtls@openssl": set[str](),
        "mtls@instrument": set[str](),
        "certificate-only@instrument": moves | EARLY[version],
        "ignored-proof@instrument": moves - {"omit-proof"},
    }
    issued["forwarded-header@openssl"] = {"omit-proof", "verify-header"}
    issued["password@openssl"] = set()
    issued["any-certificate-of-the-chain@instrument"] = {"own-leaf-first"}  # with a key of her own
    issued["names-only@instrument"] = {"look-alike"}
    if leak == "requests":
        return issued
    if leak == "archive":  # with the key mallory is alice, wherever her certificate is accepted
        with_key = {gateway: without | {"stolen-key"} for gateway, without in (pinned | issued).items()}
        return with_key | {"password@openssl": set()}
    return pinned | issued


@dataclass(frozen=True)
class Finished:
    """A run of one leak's matrix."""

    leak: str
    run: Run
    status: int
    errors: str
    verdicts: dict[str, Any]


@pytest.fixture(scope="module", params=LEAKS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return matrix(tmp_path_factory.mktemp("runs"), request.param)


def matrix(runs: Path, leak: str) -> Finished:
    done = certreplay("matrix", "--leak", leak, "--runs", runs, "--json")
    (folder,) = runs.iterdir()
    (verdicts,) = json.loads(done.stdout)
    return Finished(leak, open_run(folder), done.returncode, done.stderr, verdicts)


def certreplay(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CERTREPLAY, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def shopped(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return matrix(tmp_path_factory.mktemp("runs"), "rogue-server")


def test_everything_is_as_expected(finished: Finished) -> None:
    assert finished.errors == ""
    assert [v for v in finished.verdicts["verdicts"] if v["expected"] != v["outcome"]] == []
    assert finished.verdicts["as_expected"] is True
    assert finished.status == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_it_opens_what_it_opens(finished: Finished, version: str) -> None:
    rows = [v for v in finished.verdicts["verdicts"] if v["tls"] == version and v["outcome"] != NOT_APPLICABLE]
    assert {v["leak"] for v in rows} == {finished.leak}
    accepted = {gateway: set[str]() for gateway in dict.fromkeys(v["gateway"] for v in rows)}
    for verdict in rows:
        if verdict["outcome"] == ACCEPTED:
            accepted[verdict["gateway"]].add(verdict["move"])
            assert verdict["evidence"]["stolen"] > 0
    assert accepted == opened(finished.leak, version)


def test_mallory_keeps_a_certificate_and_no_key(finished: Finished) -> None:
    stolen = finished.run.folders.part("attacker") / "stolen"
    kept = {path.name for path in stolen.iterdir() if path.name.startswith("alice")}
    names = {"database": {"alice-self-signed.pem"}, "requests": {"alice.pem"}}
    assert kept == names.get(finished.leak, {"alice-self-signed.pem", "alice.pem"})
    for name in kept:
        assert (stolen / name).read_bytes().count(b"-----BEGIN CERTIFICATE-----") == 1
    for path in finished.run.folders.path.rglob("*"):
        assert not path.is_file() or b"PRIVATE KEY-----" not in path.read_bytes(), path


def test_without_the_wire_there_is_no_capture_and_nothing_minds(finished: Finished) -> None:
    assert not finished.run.folders.capture.exists()
    assert finished.run.first(CaptureSearched) is None
    again = certreplay("verdicts", finished.run.folders.path, "--json")
    told, before = json.loads(again.stdout), dict(finished.verdicts)
    del told["events"], before["events"]  # the parts stop later
    assert told == before
    assert (again.returncode, again.stderr) == (0, "")


def test_the_story_tells_the_leak_and_no_wire(finished: Finished) -> None:
    told = certreplay("story", finished.run.folders.path)
    assert (told.returncode, told.stderr) == (0, "")
    assert "2. " in told.stdout
    assert "3. Controls" in told.stdout
    assert "mallory has" in told.stdout
    archive = finished.leak == "archive"
    words = " ".join(told.stdout.split())
    assert ("no key" in words, "and its private key" in words) == (not archive, archive)
    mtls, blind = ("mtls", "certificate-only") if finished.leak == "requests" else ("pinned-mtls", PINNED_BLIND)
    opened_mtls = "opened by stolen-key" if archive else "not opened:"
    assert re.search(rf"^ +{mtls}@openssl, TLS 1.3 +{opened_mtls}", told.stdout, re.MULTILINE)
    assert re.search(rf"^ +{blind}@instrument, TLS 1.3 +opened by omit-proof", told.stdout, re.MULTILINE)
    assert ("is what must not get out: where it did, it opened " in words) == archive
    if archive:  # where no proof is checked, the key decides nothing
        opened = words.partition("where it did, it opened ")[2].partition(". Every")[0]
        assert opened
        assert not re.search("certificate-only|ignored-proof|forwarded-header", opened)
    else:
        assert ", let in as mallory 1 time" in words
    assert "wire" not in told.stdout
    which = "the one" if finished.leak in ("database", "requests") else "those"
    assert f"{which} that got out opened" in told.stdout


def test_a_verdict_is_explained(finished: Finished) -> None:
    folder = finished.run.folders.path
    gateway = "mtls@openssl" if finished.leak == "requests" else "pinned-mtls@openssl"
    told = certreplay("explain", folder, "--leak", finished.leak, "--move", "foreign-key", "--gateway", gateway)
    assert (told.returncode, told.stderr) == (0, "")
    assert f"foreign-key at {gateway}, TLS 1.2: refused" in told.stdout


def test_what_leak_to_explain_has_to_be_said(finished: Finished) -> None:
    told = certreplay("explain", finished.run.folders.path, "--move", "omit-proof", "--gateway", "pinned-mtls@openssl")
    assert told.returncode == 2
    assert f"give --leak: it has {finished.leak}" in told.stderr


def test_what_nobody_listened_to_settles_no_claim_about_the_wire(finished: Finished) -> None:
    told = certreplay("claims", finished.run.folders.path, "--json")
    settled = {claim["id"]: claim["verdict"] for claim in json.loads(told.stdout)["claims"]}
    wire = ("certificate-in-the-clear", "server-tls-protects", "checking-adds-nothing", "tls13-encrypts")
    assert {settled[claim] for claim in wire} == {"no evidence in this run"}
    assert told.stderr == ""


def test_with_the_register_everyone_in_it_falls_at_once(tmp_path: Path) -> None:
    finished = matrix(tmp_path, "database")
    ports = {port: gateway.id for port, gateway in JudgedRun(finished.run).gateways.items()}
    tried = list(finished.run.all(MoveTried))
    fallen = {
        (ports[port_of(one.server)], one.tls, one.customer) for one in tried if one.leak and one.outcome == ACCEPTED
    }
    customers = ("alice", "bob", "carol")
    assert fallen == {("pinned-certificate-only@instrument", version, who) for version in VERSIONS for who in customers}
    assert {one.customer for one in tried} == set(customers)
    assert {seen.subject for seen in finished.run.all(CertificateCaptured)} == {
        f"O=Bank of Example,CN={who}" for who in customers
    }
    story = certreplay("story", finished.run.folders.path).stdout
    assert "The accounts of bob and carol were opened too." in story
    alices = sum(one.stolen for one in tried if one.customer == "alice" and one.leak)
    assert f" before, {alices} gone." in story


def test_a_key_that_leaked_is_tried_even_if_nobody_chose_that_move(tmp_path: Path) -> None:
    """And the bank has money for all of it."""
    chosen = ("--leak", "log", "--leak", "archive", "--move", "omit-proof", "--gateway", "mtls@openssl", "--tls", "1.2")
    done = certreplay("matrix", *chosen, "--repeat", "15", "--runs", tmp_path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    (verdicts,) = json.loads(done.stdout)
    outcomes = {(one["leak"], one["move"]): one["outcome"] for one in verdicts["verdicts"]}
    without = {(leak, "omit-proof"): "refused" for leak in ("log", "archive")}
    assert outcomes == without | {("archive", "stolen-key"): "accepted"}
    (folder,) = tmp_path.iterdir()
    run = open_run(folder)
    with_key = [one for one in run.all(MoveTried) if (one.leak, one.move) == ("archive", "stolen-key")]
    assert [one.stolen for one in with_key] == [100] * 15
    run.events = [recorded for recorded in run.events if recorded.event not in with_key]
    (lacking,) = JudgedRun(run).missing
    assert lacking == "stolen-key at mtls@openssl, TLS 1.2, leak archive: not tried 15 times"


def test_mallory_reads_the_log_that_the_gateways_wrote(tmp_path: Path) -> None:
    finished = matrix(tmp_path, "log")
    lines = (finished.run.folders.part("victim-server") / "access.log").read_text().splitlines()
    assert any('"GET /account" 200 "O=Bank of Example,CN=alice" -----BEGIN%20CERT' in line for line in lines)
    seen = {(one.server, one.issuer) for one in finished.run.all(CertificateCaptured) if "alice" in one.subject}
    assert seen == {("access.log", "CN=certreplay lab authority"), ("access.log", "O=Bank of Example,CN=alice")}


def test_no_log_is_kept_where_none_is_to_leak(shopped: Finished) -> None:
    assert not (shopped.run.folders.part("victim-server") / "access.log").exists()


# --- the shop ---


def test_alice_verified_the_shop_and_was_served(shopped: Finished) -> None:
    logins = {(one.gateway, one.tls) for one in shopped.run.all(LoggedIn) if one.gateway in stages.SHOP_LOGINS}
    assert logins == {(login, version) for login in stages.SHOP_LOGINS for version in VERSIONS}
    by_password = [one.tls for one in shopped.run.all(LoggedIn) if one.gateway == stages.SHOP_PASSWORD]
    assert sorted(by_password) == list(VERSIONS)
    shop = (*stages.SHOP_LOGINS, stages.SHOP_PASSWORD)
    assert not [one for one in shopped.run.all(LoginFailed) if one.gateway in shop]


def test_the_shop_had_every_certificate_with_a_proof_of_each_version(shopped: Finished) -> None:
    seen = list(shopped.run.all(CertificateCaptured))
    assert len(seen) == 4
    assert {(one.tls, one.issuer == one.subject) for one in seen} == {(v, s) for v in VERSIONS for s in (True, False)}
    assert all(one.proof and one.transcript and one.message for one in seen)


@pytest.mark.parametrize("gateway", ["mtls@openssl", "pinned-mtls@openssl"])
@pytest.mark.parametrize(
    ("version", "message", "field"), [("1.2", "ServerHello", "random"), ("1.3", "ClientHello", "random")]
)
def test_a_proof_that_the_shop_was_shown_fits_the_shop_only(
    shopped: Finished, gateway: str, version: str, message: str, field: str
) -> None:
    """In TLS 1.2 mallory sends even alice's ClientHello again; in TLS 1.3 she would lack its key share's secret."""
    judgement = judge(shopped.run)
    assert judgement
    for move in ("replay-proof", "relabelled-proof", "flipped-proof"):
        (verdict,) = [v for v in judgement.verdicts if (v.move, v.gateway, v.tls) == (move, gateway, version)]
        reason = verdict.evidence.proof
        if (move, version) == ("relabelled-proof", "1.3"):  # refused for its scheme, and not as invalid
            assert verdict.evidence.alert
            assert verdict.evidence.alert.name == "illegal_parameter"
            assert reason is None
            continue
        assert reason
        assert reason.fits_captured == (move == "replay-proof")
        assert not reason.fits_server
        assert reason.difference
        assert (reason.difference.message, reason.difference.field) == (message, field)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_reason_can_be_read(shopped: Finished, version: str) -> None:
    call = ("--leak", "rogue-server", "--move", "replay-proof", "--gateway", "mtls@openssl", "--tls", version)
    told = certreplay("explain", shopped.run.folders.path, *call).stdout
    assert "what alice's proof was made over" in told
    assert "this signature" in told
    assert "fits   " in told
    assert "does not fit" in told
    assert ("Alice's own ClientHello would not help" in told) == (version == "1.3")


def test_a_login_at_the_shop_is_no_login_at_the_bank(shopped: Finished) -> None:
    """The control has to fail where alice got in at the shop alone."""
    run = Run(shopped.run.folders.path)
    run.update()
    at_the_bank = {"mtls@openssl", "pinned-mtls@openssl"}
    run.events = [r for r in run.events if not (isinstance(r.event, LoggedIn) and r.event.gateway in at_the_bank)]
    lacking = list(JudgedRun(run).missing)
    assert len(lacking) == 4
    assert all("alice did not log in" in one for one in lacking)


def test_a_shop_that_alice_does_not_get_into_is_said_to_be_what_is_missing(shopped: Finished) -> None:
    run = Run(shopped.run.folders.path)
    run.update()
    failed = LoginFailed("shop", "https://localhost:1", "1.2", "the server's certificate is not right: expired")
    run.events = [
        replace(r, event=failed) if isinstance(r.event, LoggedIn) and r.event.gateway == "shop" else r
        for r in run.events
        if not isinstance(r.event, CertificateCaptured)
    ]
    (lacking,) = list(JudgedRun(run).missing)
    assert (
        "obtained through the leak rogue-server: https://localhost:1: the server's certificate is not right" in lacking
    )


# --- what cannot be carried out ---


def test_a_leak_without_alice_in_it_is_said_to_be_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_alice(setting: Setting) -> Stage:
        with closing(sqlite3.connect(setting.issued.register)) as register, register:
            register.execute("DELETE FROM customers WHERE name = 'alice'")
        return stages.database(setting)

    monkeypatch.setitem(stages.LATER_STAGES, "database", without_alice)
    monkeypatch.setattr(embedded, "SETTLE_SECONDS", 0.5)
    plan = full_matrix(leaks=["database"], moves=["omit-proof"])
    judgement = asyncio.run(embedded.run_embedded(tmp_path, plan, None, lambda run: None))
    assert judgement.errors == ("no client certificate was obtained through the leak database",)
    assert judgement.verdicts == ()


def test_mallory_has_a_shop_only_where_it_is_asked_for(tmp_path: Path) -> None:
    folders = (tmp_path / "public", tmp_path / "server", tmp_path / "client")
    assert pki.issue(*folders, attacker=tmp_path / "attacker").shop_pem is None
    assert not (tmp_path / "attacker" / pki.SHOP_PEM).exists()
