"""The triple handshake between curl and Apache: open where nothing shuts it, and shut by each cure alone."""

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from attacker.triple.first import downgraded
from attacker.triple.reports import ConnectionReport
from lab.catalogue.outcomes import ACCEPTED, INCONCLUSIVE, REFUSED
from lab.catalogue.triple import PEERS, find_peers
from lab.events.run import Folders, open_run
from lab.judging.claims import CLAIMS, Holding, settle
from lab.judging.claims.claim import Settled
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun
from lab.probing.call import note
from lab.probing.triple import Served, TripleTried, try_peers
from lab.probing.triple_blocks import document
from lab.staging import pki
from lab.tls import extensions as ext
from lab.tls import keys
from lab.tls.client import Client
from lab.tls.messages import CertificateVerify, ClientHello, parse
from lab.tls.versions import TLS12, TLS13
from lab.views import markdown
from programs import certreplay, program

AT_ONCE = 3


@pytest.fixture(scope="module")
def tried() -> dict[str, TripleTried]:
    """Each pair of peers, tried for real."""
    for name in ("apache2", "curl"):
        program(name)

    async def all_of_them() -> list[TripleTried]:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(peers_id: str) -> TripleTried:
            peers = find_peers(peers_id)
            assert peers
            async with places:
                return await try_peers(peers)

        return await asyncio.gather(*(one(peers.id) for peers in PEERS))

    return {one.peers.id: one for one in asyncio.run(all_of_them())}


@pytest.mark.parametrize("peers_id", [one.id for one in PEERS])
def test_it_is_open_or_shut_as_the_rfcs_say(tried: dict[str, TripleTried], peers_id: str) -> None:
    one = tried[peers_id]
    assert not one.missing, one.missing
    assert one.outcome is one.peers.expected, (one.request, one.reports, one.log)
    assert one.control
    assert one.control.subject == "O=Bank of Example,CN=alice"


def test_where_it_is_open_the_two_connections_have_the_same_finished_messages(tried: dict[str, TripleTried]) -> None:
    for one in tried.values():
        if one.peers.is_a_cure:
            continue
        first, last = one.reports
        assert first.shared["master_secret"][0] == first.shared["master_secret"][1]
        assert first.shared["client verify_data"][0] != first.shared["client verify_data"][1]
        client, server = (last.shared[f"{party} verify_data"] for party in ("client", "server"))
        assert client[0] == client[1]
        assert server[0] == server[1]
        assert last.shared["ServerHello renegotiation_info"][0] == client[0] + server[0]
        assert isinstance(parse(bytes.fromhex(last.proof)), CertificateVerify)
        assert last.passed_on
        assert one.request
        assert one.request.path == last.request
        assert one.alice_got == "The bank has transferred the money."


def test_each_cure_stops_her_in_its_own_place(tried: dict[str, TripleTried]) -> None:
    ends = {name: one.last and (one.last.resumed, one.last.alert, one.last.alert_by) for name, one in tried.items()}
    assert {name: ends[name] for name in ends if tried[name].peers.is_a_cure} == {
        "extended-master-secret": (True, "handshake_failure", "server"),
        "no-renegotiation": (False, "decrypt_error", "server"),
        "ecdhe": (False, "handshake_failure", "server"),
        "tls-1.3": (False, "illegal_parameter", "client"),
        "name-checked-again": (True, "bad_certificate", "client"),
    }
    extended = tried["extended-master-secret"].last
    assert extended
    assert extended.replaced
    assert extended.shared["client verify_data"][0] != extended.shared["client verify_data"][1]
    assert "renegotiation mismatch" in " ".join(tried["extended-master-secret"].log)
    assert "inappropriate fallback" in tried["tls-1.3"].alice_said
    assert "Hostname mismatch" in tried["name-checked-again"].alice_said


def test_the_page_tells_all_of_it(tried: dict[str, TripleTried]) -> None:
    page = markdown.text(document(list(tried.values())))
    for one in PEERS:
        assert f"## {one.id}\n" in page
    _, last = tried["no-cure"].reports
    assert last.request in page.replace("\\", "")
    assert "FINDING" not in page


def test_a_verdict_needs_both_controls(tried: dict[str, TripleTried]) -> None:
    one = tried["no-cure"]
    assert one.outcome is ACCEPTED
    assert replace(one, control=None).outcome is INCONCLUSIVE
    assert replace(one, stranger=Served("", 200, "/private/transfer")).outcome is INCONCLUSIVE
    assert one.request
    assert replace(one, request=replace(one.request, subject="")).outcome is INCONCLUSIVE
    assert not replace(one, request=None).as_written


def test_a_refusal_takes_an_alert(tried: dict[str, TripleTried]) -> None:
    one = tried["ecdhe"]
    assert one.outcome is REFUSED
    assert replace(one, reports=()).outcome is INCONCLUSIVE
    assert replace(one, reports=tuple(replace(report, alert="") for report in one.reports)).outcome is INCONCLUSIVE


def test_mallory_leaves_out_what_keeps_the_connections_apart() -> None:
    suites = (keys.CIPHER_SUITES[0].id, *(suite.id for suite in keys.RSA_TRANSPORT_SUITES))
    client = Client(entropy=bytes, versions=(TLS13, TLS12), tickets=True, suites=keys.ALL_SUITES)
    (entry,) = client.transcript.entries
    hello = parse(entry.raw)
    assert isinstance(hello, ClientHello)
    sent = downgraded(hello)
    assert sent.random == hello.random
    assert sent.cipher_suites == suites[1:]
    for kind in (ext.EXTENDED_MASTER_SECRET, ext.SESSION_TICKET, ext.SUPPORTED_VERSIONS, ext.KEY_SHARE):
        assert ext.find(hello.extensions, kind) is not None
        assert ext.find(sent.extensions, kind) is None


def test_a_report_is_read_back_as_it_was() -> None:
    report = ConnectionReport(True, {"session_id": ("00", "01")}, request="/", renegotiated=["HelloRequest"])
    assert ConnectionReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        ({"address": ["192.0.2.1", 443]}, "192.0.2.1 is out of scope"),
        ({"bundle": "none"}, "mallory's own bundle"),
        ({"address": "here"}, "the order on standard input is not readable"),
    ],
)
def test_a_wrong_order_is_refused_in_one_line(order: dict[str, object], complaint: str) -> None:
    bundle = pki.new_shop(pki.new_authority(), "rsa").bundle_pem().decode()
    line = json.dumps({"address": ["127.0.0.1", 443], "host": "bank.example", "bundle": bundle} | order)
    done = subprocess.run(
        [sys.executable, "-m", "attacker.triple"], input=f"{line}\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_peers_that_are_not_there_are_named() -> None:
    done = certreplay("triple-handshake", "nobody")
    assert done.returncode == 2
    assert "give one of no-cure" in done.stderr


def settled_in(run: Path) -> Settled:
    """The claim that a fresh proof can be passed on, in that run."""
    judged = JudgedRun(open_run(run))
    assert not judged.run.refused
    assert judged.judgement.as_expected
    return next(said for claim, said in settle(CLAIMS, RunQueries(judged)) if claim.id == "proof-can-be-passed-on")


def test_a_run_in_which_it_is_noted_rests_its_claim_on_it(
    tried: dict[str, TripleTried], finished_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / finished_run.name
    shutil.copytree(finished_run, run)
    assert settled_in(run).holding is Holding.NO_EVIDENCE
    note(Folders(run), [one for one in tried.values() if one.peers.is_a_cure])
    assert settled_in(run).holding is Holding.FAILS
    note(Folders(run), list(tried.values()))
    said = settled_in(run)
    assert said.holding is Holding.CONDITIONAL
    assert "by the triple handshake 3 of 13 got in" in said.because
    assert "triple-handshake#7" in said.evidence
    assert certreplay("story", run).returncode == 0


def test_it_is_noted_in_no_run_that_is_not_there(tmp_path: Path) -> None:
    done = certreplay("triple-handshake", "--run", tmp_path / "none")
    assert done.returncode == 2
    assert "no such run directory" in done.stderr
