"""Gateways that check a proof, but not that it belongs to the name that they let in, beside those that do."""

import asyncio
import dataclasses
import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from doctoring import doctored_run
from lab.catalogue.gateways import BY_CHOICE, GATEWAYS, find_gateway
from lab.catalogue.leaks import WIRE
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED
from lab.catalogue.plan import full_matrix
from lab.catalogue.schemes import ProofOf
from lab.document import Heading, plain
from lab.events.run import open_run
from lab.events.types import ClientAuthenticated, ClientRefused, Event, MoveTried
from lab.judging.judgement import Judgement, Verdict
from lab.judging.shapes import proof_fits
from lab.judging.verdicts import JudgedRun
from lab.judging.whose_proof import sent_chain
from lab.page.director import tell_page
from lab.page.model import Closing, Matrix
from lab.staging import embedded
from lab.story import short
from lab.story.acts import answer, refused_for_want_of_the_key
from lab.story.explain import explain
from lab.story.matrix import tell_lessons, tell_matrix
from lab.tls.server import ProofSeen
from lab.tls.versions import TLS12, VERSION_NAMES
from lab.views import markdown as docs
from lab.words import listed
from programs import certreplay
from victim_server.gateway import NO_ACCOUNT

OPENED_BY = {
    "any-certificate-of-the-chain@instrument": "own-leaf-first",
    "names-only@instrument": "look-alike",
    "resumed-elsewhere@instrument": "other-door",
}
"""Each gateway of the group, and the one move that opens it."""
CHECKING = ("mtls@instrument", "mtls@openssl")
OPENED = [
    (gateway, version)
    for gateway in OPENED_BY
    for version in VERSION_NAMES
    if (gateway, version) != ("resumed-elsewhere@instrument", "1.3")
]
"""The instrument gives no sessions to resume in TLS 1.3."""
Steps = tuple[tuple[str, str, str], ...]
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


@pytest.mark.parametrize(("gateway", "version"), OPENED)
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
        nowhere_else = (opened.move, control) == ("other-door", "mtls@openssl")
        expected = NOT_APPLICABLE if nowhere_else else REFUSED
        assert cell(judgement, OPENED_BY[gateway], control, version).outcome == expected


def test_the_proof_that_opened_them_was_checked_and_is_valid(judged: JudgedRun) -> None:
    opened = [tried for tried in judged.attempts.all if tried.event.leak and tried.accepted]
    assert len(opened) == len(OPENED)
    for tried in opened:
        assert isinstance(tried.report, ClientAuthenticated)
        if tried.event.move == "other-door":
            assert tried.report.proof == ProofSeen.NONE
            assert proof_fits(tried.event) is None
            assert proof_fits(dataclasses.replace(tried.event, steps=tried.event.elsewhere))
        else:
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
        (
            "resumed-elsewhere@instrument",
            "the session began under another name of the server, where the proof is by the key of certificate 1, "
            "O=Bank of Example,CN=alice; no authority signed it: that very key did; CN=certreplay lab authority is "
            "only a name in it",
        ),
    ],
)
def test_the_evidence_says_whose_key_made_the_proof_and_whose_name_was_taken(
    judgement: Judgement, gateway: str, told: str
) -> None:
    for version in [version for opened, version in OPENED if opened == gateway]:
        verdict = cell(judgement, OPENED_BY[gateway], gateway, version)
        assert verdict.evidence.whose == told
        assert told in in_words(verdict)
        assert cell(judgement, OPENED_BY[gateway], "mtls@instrument", version).evidence.whose == ""


def test_they_are_a_group_of_their_own_in_the_matrix_and_on_the_page(judged: JudgedRun, judgement: Judgement) -> None:
    told = " ".join(docs.text([*tell_matrix(judgement), *tell_lessons(judgement)]).split())
    for version in VERSION_NAMES:
        assert f"TLS {version}, gateways that check the proof" in told
        assert f"TLS {version}, {TITLE}" in told
    assert "None of 19 moves opened a gateway that checks the proof. " in told
    assert (
        "3 of 19 moves opened a gateway that checks a proof, but not that it belongs to the name that it lets" in told
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
    begun = "A session that Mallory began under another name of the server opened resumed-elsewhere@instrument."
    assert begun in [text for _, text in closing.points]


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
    by_proof = [gateway for gateway, move in OPENED_BY.items() if move != "other-door"]
    assert f"one by mallory's own key opened {listed(by_proof)}, " in told
    assert "with a proof by her own key, opened resumed-elsewhere@instrument, where no new proof was asked" in told
    assert "mtls@openssl and mtls@instrument refused" in told


def test_only_what_was_refused_for_its_proof_shows_that_the_key_is_needed(judgement: Judgement) -> None:
    counted = refused_for_want_of_the_key(judgement)
    assert {v.gateway for v in counted} == set(CHECKING)
    assert {"omit-proof", "replay-proof", "foreign-key"} <= {v.move for v in counted}
    others = {"no-certificate", "look-alike", "own-leaf-first", "second-certificate", "resume-session", "other-door"}
    assert not others & {v.move for v in counted}
    assert {v.tls for v in counted if v.move == "early-finished"} == {"1.3"}  # in TLS 1.2 its order is wrong


def test_in_short_an_attempt_that_was_let_in_as_mallory_is_no_refusal(judged: JudgedRun) -> None:
    gateway = find_gateway("mtls@openssl")
    assert gateway
    words = plain(short.gateway(gateway, TLS12)(judged, ()))
    assert "let in as mallory: 1 move" in words
    refused = [v for v in judged.verdicts_at(WIRE, gateway, TLS12) if v.outcome == REFUSED]
    assert f"refused {len(refused) - 1} moves" in words


def test_certificates_that_cannot_be_read_are_told_and_break_nothing(folder: Path) -> None:
    def garble(event: Event) -> Event:
        if not isinstance(event, MoveTried):
            return event
        cut = (raw[:20] + "0" * len(raw[20:]) if name == "Certificate" else raw for _, name, raw in event.steps)
        steps = tuple((sender, name, raw) for (sender, name, _), raw in zip(event.steps, cut, strict=True))
        return dataclasses.replace(event, steps=steps)

    judgement = JudgedRun(doctored_run(folder, garble)).judgement
    assert any("own-leaf-first at any-certificate-of-the-chain@instrument" in one for one in judgement.errors)


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


def test_a_gateway_whose_names_share_no_sessions_goes_on_with_a_full_handshake(judgement: Judgement) -> None:
    """The control: mallory has a session there, too, under the other name."""
    refused = cell(judgement, "other-door", "mtls@instrument", "1.2").evidence
    names = [(one.sender, one.name) for one in refused.began]
    assert ("client", "CertificateVerify") in names
    assert ("server", "NewSessionTicket") in names
    assert ("server", "CertificateRequest") in [(one.sender, one.name) for one in refused.messages]
    assert refused.alert
    assert refused.alert.name == "handshake_failure"
    assert refused.reason == "the client presented no certificate"


def test_the_page_draws_the_login_under_the_other_name_too(judged: JudgedRun) -> None:
    told = tell_page(judged).closeup("cell/wire/resumed-elsewhere@instrument/1.2/other-door")
    assert told
    assert [ladder.middle for ladder in told.ladders] == ["under the server's other name", "on the wire"]
    assert [len(ladder.rows) > 4 for ladder in told.ladders] == [True, True]
    assert not [block for block in told.after if isinstance(block, Heading)]


def test_a_session_that_the_gateway_did_not_see_begin_is_found(folder: Path) -> None:
    def change(elsewhere: Callable[[MoveTried], Steps]) -> Judgement:
        def changed(event: Event) -> Event:
            if isinstance(event, MoveTried) and event.elsewhere:
                return dataclasses.replace(event, elsewhere=elsewhere(event))
            return event

        return JudgedRun(doctored_run(folder, changed)).judgement

    def unseen(event: MoveTried) -> Steps:
        return tuple(
            (sender, name, f"{raw[:12]}{'00' * 32}{raw[76:]}" if name == "ServerHello" else raw)
            for sender, name, raw in event.elsewhere
        )

    def without_ticket(event: MoveTried) -> Steps:
        return tuple(one for one in event.elsewhere if one[1] != "NewSessionTicket")

    def unreadable(event: MoveTried) -> Steps:
        return (("client", "Certificate", "0b000003000001"),)

    assert any("its messages are not readable" in one for one in change(unreadable).errors)
    told = change(without_ticket).errors
    assert any("did not offer the session that began under the server's other name" in one for one in told)
    assert any("its proof is not a signature over this handshake" in one for one in change(unseen).errors)

    def forget(event: Event) -> Event | None:
        return None if isinstance(event, ClientRefused) and NO_ACCOUNT in event.reason else event

    told = JudgedRun(doctored_run(folder, forget)).judgement.contradictions
    assert any("the gateway log does not have the login in which the session of" in one for one in told)


def test_a_run_has_such_a_gateway_and_its_move_only_if_it_is_chosen() -> None:
    everything = full_matrix()
    assert not {one.id for one in BY_CHOICE} & set(everything.gateways)
    assert "other-door" not in everything.moves
    for chosen in (full_matrix(schemes=["resumed-elsewhere"]), full_matrix(gateways=["resumed-elsewhere@instrument"])):
        assert chosen.gateways == ("resumed-elsewhere@instrument",)
        assert chosen.moves == (*everything.moves, "other-door")
    assert full_matrix(gateways=["mtls@instrument"], moves=["other-door"]).moves == ("other-door",)


def test_the_other_door_is_tried_everywhere_and_opens_one_gateway(tmp_path: Path) -> None:
    """Also where nothing is asked in TLS: there no certificate of mallory's begins a session."""
    plan = full_matrix(gateways=[gateway.id for gateway in GATEWAYS], moves=["other-door"])
    judgement = asyncio.run(embedded.run_embedded(tmp_path, plan, None, lambda run: None))
    assert judgement.as_expected, (judgement.errors, judgement.contradictions)
    assert {one.gateway for one in judgement.verdicts} == {gateway.id for gateway in GATEWAYS}
    opened = {(one.gateway, one.tls) for one in judgement.verdicts if one.outcome == ACCEPTED}
    assert opened == {("resumed-elsewhere@instrument", "1.2")}
