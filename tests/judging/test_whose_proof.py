"""Gateways that check a proof, but not that it belongs to the name that they let in, beside those that do."""

import asyncio
import dataclasses
import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from doctoring import doctored_run
from lab.catalogue.gateways import GATEWAYS
from lab.catalogue.outcomes import ACCEPTED, REFUSED
from lab.catalogue.plan import full_matrix
from lab.catalogue.schemes import ProofOf
from lab.events.run import open_run
from lab.events.types import ClientAuthenticated, Event
from lab.judging.judgement import Judgement, Verdict
from lab.judging.shapes import proof_fits
from lab.judging.verdicts import JudgedRun
from lab.judging.whose_proof import sent_chain
from lab.page.director import tell_page
from lab.page.model import Closing, Matrix
from lab.staging import embedded
from lab.story.acts import answer
from lab.story.explain import explain
from lab.story.matrix import tell_lessons, tell_matrix
from lab.tls.server import ProofSeen
from lab.tls.versions import VERSION_NAMES
from lab.views import markdown as docs
from programs import certreplay

OPENED_BY = {
    "any-certificate-of-the-chain@instrument": "own-leaf-first",
    "names-only@instrument": "look-alike",
}
"""Each gateway of the group, and the one move that opens it."""
CHECKING = ("mtls@instrument", "mtls@openssl")
TITLE = "gateways that check a proof, but not that it belongs to the name that they let in"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    plan = full_matrix(gateways=(*CHECKING, *OPENED_BY))
    judgement = asyncio.run(embedded.run_embedded(runs, plan, None, lambda run: None))
    return runs / judgement.run


@pytest.fixture(scope="module")
def judged(folder: Path) -> JudgedRun:
    return JudgedRun(open_run(folder))


@pytest.fixture(scope="module")
def judgement(judged: JudgedRun) -> Judgement:
    return judged.judgement


def cell(judgement: Judgement, move: str, gateway: str, version: str) -> Verdict:
    (found,) = [v for v in judgement.verdicts if (v.move, v.gateway, v.tls) == (move, gateway, version)]
    return found


def in_words(verdict: Verdict) -> str:
    return " ".join(docs.text(explain(verdict)).split())


def test_every_gateway_of_the_group_is_tried_here() -> None:
    group = {gateway.id for gateway in GATEWAYS if gateway.scheme.proof_of is ProofOf.SOMEBODY}
    assert set(OPENED_BY) == group


def test_it_all_goes_as_the_tables_predict(judgement: Judgement) -> None:
    assert judgement.as_expected, (judgement.errors, judgement.contradictions)
    assert {(one.gateway, one.control, one.outcome) for one in judgement.controls} == {
        (gateway, control, ACCEPTED) for gateway in (*CHECKING, *OPENED_BY) for control in ("client", "stolen-key")
    }


@pytest.mark.parametrize("version", VERSION_NAMES)
@pytest.mark.parametrize("gateway", OPENED_BY)
def test_one_move_opens_each_and_gateways_that_hold_proof_and_name_together_refuse_it(
    judgement: Judgement, gateway: str, version: str
) -> None:
    there = [v for v in judgement.verdicts if (v.gateway, v.tls) == (gateway, version)]
    assert [v.move for v in there if v.outcome == ACCEPTED] == [OPENED_BY[gateway]]
    opened = cell(judgement, OPENED_BY[gateway], gateway, version)
    assert opened.evidence.http
    assert json.loads(opened.evidence.http.body or "")["customer"] == "alice"
    assert opened.evidence.stolen > 0
    for control in CHECKING:
        assert cell(judgement, OPENED_BY[gateway], control, version).outcome == REFUSED


def test_the_proof_that_opened_them_was_checked_and_is_valid(judged: JudgedRun) -> None:
    opened = [tried for tried in judged.attempts.all if tried.event.leak and tried.accepted]
    assert len(opened) == 2 * len(OPENED_BY)
    for tried in opened:
        assert isinstance(tried.report, ClientAuthenticated)
        assert tried.report.proof == ProofSeen.VALID
        assert proof_fits(tried.event)


@pytest.mark.parametrize(
    ("gateway", "told"),
    [
        (
            "any-certificate-of-the-chain@instrument",
            "the proof is by the key of certificate 1, O=Bank of Example,CN=mallory; the name is that of certificate "
            "2, O=Bank of Example,CN=alice",
        ),
        (
            "names-only@instrument",
            "the proof is by the key of certificate 1, O=Bank of Example,CN=alice; no authority signed it: that very "
            "key did; CN=certreplay lab authority is only a name in it",
        ),
    ],
)
def test_the_evidence_says_whose_key_made_the_proof_and_whose_name_was_taken(
    judgement: Judgement, gateway: str, told: str
) -> None:
    for version in VERSION_NAMES:
        verdict = cell(judgement, OPENED_BY[gateway], gateway, version)
        assert verdict.evidence.whose == told
        assert told in in_words(verdict)
        assert cell(judgement, OPENED_BY[gateway], "mtls@instrument", version).evidence.whose == ""


def test_they_are_a_group_of_their_own_in_the_matrix_and_on_the_page(judged: JudgedRun, judgement: Judgement) -> None:
    told = " ".join(docs.text([*tell_matrix(judgement), *tell_lessons(judgement)]).split())
    for version in VERSION_NAMES:
        assert f"TLS {version}, gateways that check the proof" in told
        assert f"TLS {version}, {TITLE}" in told
    assert "None of 18 moves opened a gateway that checks the proof. " in told
    assert (
        "2 of 18 moves opened a gateway that checks a proof, but not that it belongs to the name that it lets" in told
    )
    scenes = {scene.id: scene.drawing for scene in tell_page(judged).page.scenes}
    matrix, closing = scenes["matrix"], scenes["answer"]
    assert isinstance(matrix, Matrix)
    for table in matrix.tables:
        assert [head.id for head in table.not_whose] == list(OPENED_BY)
        assert {head.id for head in table.checking} == set(CHECKING)
        assert table.others == ()
    assert isinstance(closing, Closing)
    assert any("by Mallory's own key opened" in str(text) for _, text in closing.points)


def test_the_page_heads_each_group_and_leaves_a_gap_between_them(folder: Path) -> None:
    drawn = certreplay("report", folder, "-o", folder / "x.html")
    assert drawn.returncode == 0, drawn.stderr
    text = (folder / "x.html").read_text()
    heads = re.findall(r'<th scope="colgroup" colspan="(\d+)"><span>([^<]*)</span>', text)
    assert heads == [(str(len(CHECKING)), "checks the proof"), (str(len(OPENED_BY)), "checks a proof, not whose")] * 2
    rows = re.findall(r'<tr><th scope="row" title="[^"]*">own-leaf-first</th>(.*?)</tr>', text, re.DOTALL)
    for row in rows[-len(VERSION_NAMES) :]:  # before them stands the comparison of a few gateways
        assert [place for place, one in enumerate(re.findall(r"<td(?: class=\"(\w+)\")?>", row)) if one == "gap"] == [2]


def test_the_answer_does_not_say_that_the_certificate_opened_them(judgement: Judgement) -> None:
    told = answer(judgement)
    assert "opened nothing here" in told
    assert "one by mallory's own key opened any-certificate-of-the-chain@instrument and names-only@instrument" in told
    assert "mtls@openssl and mtls@instrument refused" in told


@pytest.mark.parametrize("gateway", OPENED_BY)
def test_a_gateway_that_reports_another_certificate_than_the_one_with_the_name_is_found(
    folder: Path, judged: JudgedRun, gateway: str
) -> None:
    """Where the name comes from another certificate, the first is the wrong one; where it is the first, the last is."""
    chains = {
        tried.event.connection: sent_chain(tried.event)
        for tried in judged.attempts.all
        if tried.gateway.id == gateway and tried.accepted
    }

    def report_another(event: Event) -> Event:
        if isinstance(event, ClientAuthenticated) and (chain := chains.get(event.connection)):
            others = [sha256(der).hexdigest() for der in chain if sha256(der).hexdigest() != event.sha256]
            return dataclasses.replace(event, sha256=(others or ["00" * 32])[0])
        return event

    told = JudgedRun(doctored_run(folder, report_another)).judgement.contradictions
    assert any(
        f"{OPENED_BY[gateway]} at {gateway}" in one and "the gateway log has the certificate" in one for one in told
    )
