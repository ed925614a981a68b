"""A password beside a certificate: which leaks have it, what it opens, and that nobody writes it down."""

import asyncio
import base64
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from attacker.passwords import basic_password
from lab.catalogue.moves import STOLEN_PASSWORD
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.plan import full_matrix
from lab.catalogue.searches import PASSWORD
from lab.events.run import Run, open_run
from lab.events.types import FileSearched, LoggedIn, MoveTried, PasswordFound
from lab.staging import embedded, pki
from programs import certreplay, mitmproxy, output_of

LEAKS = ("wire", "interception", "rogue-server", "database", "log", "archive")


@dataclass(frozen=True)
class PasswordRun:
    """A run, and the password that alice had in it."""

    run: Run
    password: str

    @property
    def forms(self) -> dict[str, bytes]:
        secret = self.password.encode()
        basic = base64.b64encode(f"alice:{self.password}".encode())
        return {"itself": secret, "hex": secret.hex().encode(), "base64": base64.b64encode(secret), "basic": basic}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> PasswordRun:
    mitmproxy()
    runs = tmp_path_factory.mktemp("runs")
    passwords: list[str] = []
    issue = pki.issue

    def overheard(*folders: Path, **options: object) -> pki.Issued:
        issued = issue(*folders, **options)  # type: ignore[arg-type]
        assert issued.password
        passwords.append(issued.password.read_text().strip())
        return issued

    gateways = ["password@openssl", "certificate-only@instrument", "pinned-certificate-only@instrument"]
    plan = full_matrix(gateways=gateways, moves=["no-certificate", "omit-proof", "replay-proof"], leaks=LEAKS)
    with mock.patch.object(pki, "issue", lambda *folders, **options: overheard(*folders, **options)):
        judgement = asyncio.run(embedded.run_embedded(runs, plan, None, lambda run: None))
    assert not judgement.errors
    assert judgement.as_expected
    return PasswordRun(open_run(runs / judgement.run), passwords[0])


def test_the_password_crossed_the_wire_encrypted(finished: PasswordRun) -> None:
    """The control for all searches: with alice's session keys tshark finds this very needle in the capture."""
    folders = finished.run.folders
    keys = f"tls.keylog_file:{folders.part('victim-client') / 'keys.log'}"
    fields = ("-Y", "http.authorization", "-T", "fields", "-e", "http.authorization")
    seen = output_of("tshark", "-r", folders.capture, "-o", keys, *fields).split("\n")
    assert f"Basic {finished.forms['basic'].decode()}" in seen
    assert output_of("tshark", "-r", folders.capture, *fields) == ""


def test_the_password_is_nowhere_in_the_run(finished: PasswordRun) -> None:
    for path in finished.run.folders.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [name for name, form in finished.forms.items() if form in content] == [], path


def test_the_lab_searches_every_file_that_leaks_and_finds_the_certificate_in_each(finished: PasswordRun) -> None:
    searched = {one.file: one for one in finished.run.all(FileSearched) if one.what == PASSWORD}
    assert set(searched) == {"capture.pcapng", "access.log", "customers.sqlite", "handed-out.pem"}
    assert all(one.control_at and not one.found_at for one in searched.values())


@pytest.mark.parametrize(
    ("leak", "form", "outcome"),
    [
        ("interception", "the password itself", ACCEPTED),
        ("rogue-server", "the password itself", ACCEPTED),
        ("database", "a salted hash", REFUSED),
    ],
)
def test_a_password_opens_what_a_hash_of_it_does_not(finished: PasswordRun, leak: str, form: str, outcome: str) -> None:
    found = [one for one in finished.run.all(PasswordFound) if (one.leak, one.customer) == (leak, "alice")]
    assert {one.form for one in found} == {form}
    tried = [
        one
        for one in finished.run.all(MoveTried)
        if (one.leak, one.move, one.customer) == (leak, STOLEN_PASSWORD, "alice")
    ]
    assert {one.tls for one in tried} == {"1.2", "1.3"}
    assert {one.outcome for one in tried} == {outcome}
    assert all(bool(one.stolen) == (outcome == ACCEPTED) for one in tried)
    story = " ".join(certreplay("story", finished.run.folders.path).stdout.split())
    opened = "opened by" if outcome == ACCEPTED else "not opened by"
    assert f"password@openssl, TLS 1.2 {opened} {form}" in story


def test_no_other_leak_has_it(finished: PasswordRun) -> None:
    assert {one.leak for one in finished.run.all(PasswordFound)} == {"interception", "rogue-server", "database"}


def test_a_certificate_is_refused_where_a_password_is_asked_for(finished: PasswordRun) -> None:
    told = certreplay(
        "explain", finished.run.folders.path, "--gateway", "password@openssl", "--move", "omit-proof", "--leak", "wire"
    )
    assert told.returncode == 0, told.stderr
    assert "HTTP 401" in told.stdout
    assert "this server wants a name and a password" in " ".join(told.stdout.split())


def test_alice_logs_in_with_it_and_her_certificate_is_not_in_that(finished: PasswordRun) -> None:
    logins = [one for one in finished.run.all(LoggedIn) if one.gateway == "password@openssl"]
    assert {(one.tls, one.subject, one.sha256) for one in logins} == {
        (version, "CN=alice", "") for version in ("1.2", "1.3")
    }


@pytest.mark.parametrize("value", ["", "Basic", "Basic !", "Basic YWxpY2U=", "Bearer YWxpY2U6eA==", "Basic /w=="])
def test_what_is_no_name_and_password_is_left(value: str) -> None:
    assert basic_password(value, "shop", "1.2") is None


def test_a_password_may_have_colons_and_is_not_shown() -> None:
    found = basic_password("basic " + base64.b64encode(b"alice:a:b").decode(), "shop", "1.2")
    assert found
    assert (found.name, found.password) == ("alice", "a:b")
    assert "a:b" not in repr(found)
