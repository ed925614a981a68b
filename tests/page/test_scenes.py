"""The page's scenes: what they say is what the run shows, in every kind of run."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from doctoring import doctored_run
from lab.catalogue.exhibits import EXHIBITS
from lab.catalogue.moves import OMIT_PROOF
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE
from lab.document import plain
from lab.events.run import Run, open_run
from lab.events.types import (
    BundleIssued,
    CaptureSearched,
    CertificateCaptured,
    ClientAuthenticated,
    ClientRefused,
    Event,
    GatewayListening,
    MoneyMoved,
    MoveTried,
    ProofRelayed,
)
from lab.judging.facts import port_of
from lab.judging.verdicts import JudgedRun
from lab.page.director import Director, tell_page
from lab.page.model import VERSION, Gateways, Matrix, Network, Scene, ShippedReleases, TwoTranscripts, as_data
from lab.page.schema import schema_document
from lab.tls.alerts import AlertDescription
from lab.views import markdown
from programs import certreplay

PROOF = ProofRelayed(
    *("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", "1.2", "ECDHE", "alice", "00", False, (), (), "00"),
    *(ACCEPTED, None, None, 200, None, 0, None, 1.0),
)
"""A relayed login of which nothing but the transfer matters."""


def scenes_of(run: Run) -> dict[str, Scene]:
    return {scene.id: scene for scene in tell_page(JudgedRun(run)).page.scenes}


@pytest.fixture(scope="module")
def scenes(finished_run: Path) -> dict[str, Scene]:
    return scenes_of(open_run(finished_run))


def narration(scene: Scene) -> str:
    return " ".join(f"{moment.question}{plain(moment.text)}" for moment in scene.steps)


def test_a_demo_has_the_scenes_of_the_story_in_order(scenes: dict[str, Scene]) -> None:
    assert list(scenes) == [
        *("why", "between", "login", "certificate", "blind", "no-proof", "old-proof", "why-not", "gateways"),
        *("with-the-key", "tls13", "matrix", "claims", "ever-real", "answer", "connections", "ledger"),
    ]
    assert all(len(scene.title) <= 52 for scene in scenes.values()), "a headline is one line"
    assert scenes["matrix"].title == "Where the proof is checked, no move gets in."


def test_a_gateway_is_asked_about_before_it_answers(scenes: dict[str, Scene]) -> None:
    for name, outcome in (("blind", "accepted"), ("no-proof", "refused"), ("old-proof", "refused")):
        first, then = scenes[name].steps
        assert first.question
        assert first.outcome is None
        assert then.outcome == outcome
    assert "100 are gone" in narration(scenes["blind"])
    assert "decrypt_error" in narration(scenes["old-proof"])


def test_the_heart_has_every_message_and_opens_the_first_difference(
    scenes: dict[str, Scene], finished_run: Path
) -> None:
    drawn = scenes["why-not"].drawing
    assert isinstance(drawn, TwoTranscripts)
    names = [pair.left.name for pair in drawn.pairs if pair.left]
    assert names[:2] == ["ClientHello", "ServerHello"]
    assert names[-2:] == ["Certificate", "ClientKeyExchange"]
    (opened,) = [pair for pair in drawn.pairs if pair.opened]
    assert opened.opened
    assert opened.opened.field == "ServerHello, random"
    assert not opened.same
    assert (drawn.fits, drawn.left_hash != drawn.right_hash) == ((True, False), True)
    judged = JudgedRun(open_run(finished_run))
    proof = next(
        one.evidence.proof
        for one in judged.judgement.verdicts
        if (one.gateway, one.move) == ("pinned-mtls@instrument", "replay-proof")
    )
    assert proof
    assert (drawn.left_hash, drawn.right_hash) == (proof.captured_hash, proof.server_hash)


def test_every_release_that_shipped_so_is_told_whole(scenes: dict[str, Scene]) -> None:
    drawn = scenes["ever-real"].drawing
    assert isinstance(drawn, ShippedReleases)
    assert len(drawn.releases) == len(EXHIBITS)
    assert all(one.title and one.story and one.moves and one.mended for one in drawn.releases)


def test_every_link_opens_something(finished_run: Path) -> None:
    director = tell_page(JudgedRun(open_run(finished_run)))
    drawn = next(scene.drawing for scene in director.page.scenes if scene.id == "matrix")
    assert isinstance(drawn, Matrix)
    cells = [cell.evidence for table in drawn.tables for _, _, row in table.rows for cell in row if cell]
    assert len(cells) == 15
    for name in (*cells, *(name for scene in director.page.scenes for name, _ in scene.links)):
        closeup = director.closeup(name)
        assert closeup, name
        assert closeup.ladders or closeup.blocks, name
        for ladder in closeup.ladders:
            for row in ladder.rows:
                assert not row.evidence or director.closeup(row.evidence), row


def test_every_message_of_a_login_in_tls13_is_there_byte_by_byte(finished_run: Path) -> None:
    judged = JudgedRun(open_run(finished_run))
    director = tell_page(judged)
    tls13 = next(scene for scene in director.page.scenes if scene.id == "tls13")
    opened = director.closeup(tls13.links[0][0])
    assert opened
    wire, hers = opened.ladders
    assert not any(row.evidence for row in wire.rows)
    assert [row.name for row in hers.rows if row.mark] == ["Certificate", "CertificateVerify"]
    for row in hers.rows:
        shown = director.closeup(row.evidence)
        assert shown
        assert shown.message
        assert len(shown.message.octets) == row.octets
        assert shown.message.encrypted == row.encrypted
        assert all(field.meaning or field.name for field in shown.message.fields)


def test_what_was_told_stays_as_it_was(finished_run: Path, tmp_path: Path) -> None:
    """The events come in one by one; in the end the page tells the same as from the whole run."""
    whole = open_run(finished_run)
    growing = Run(tmp_path)
    director = Director()
    told: list[Scene] = []
    for recorded in whole.events:
        growing.events.append(recorded)
        told += director.update(JudgedRun(growing), over=False)
        assert list(director.page.scenes) == told
    assert {"why", "between", "login", "certificate", "blind", "old-proof"} <= {scene.id for scene in told}
    assert "matrix" in director.page.pending
    told += director.update(JudgedRun(whole), over=True)
    assert [scene.id for scene in told] == [scene.id for scene in tell_page(JudgedRun(whole)).page.scenes]
    assert not director.update(JudgedRun(whole), over=True)


def test_no_headline_promises_what_the_run_refutes(finished_run: Path) -> None:
    alice = next(open_run(finished_run).all(BundleIssued))

    def let_in(event: Event) -> Event:
        if isinstance(event, MoveTried) and event.move == "replay-proof" and event.alert is not None:
            body = '{"customer":"alice","balance":1000}'
            steps = tuple(step for step in event.steps if not step[1].startswith("alert"))
            return replace(event, outcome=ACCEPTED, alert=None, alert_by=None, status=200, body=body, steps=steps)
        if isinstance(event, ClientRefused) and event.alert == AlertDescription.DECRYPT_ERROR:
            hers = (event.gateway, event.peer, event.tls, alice.subject, alice.sha256)
            return ClientAuthenticated(*hers, "received, valid", event.connection)
        return event

    found = scenes_of(doctored_run(finished_run, let_in))
    assert found["matrix"].title == "Finding: 1 move got in where the proof is checked."
    assert found["answer"].title == "This run has findings: look into them."
    assert found["old-proof"].steps[1].outcome == "accepted"
    assert found["old-proof"].steps[1].finding == "refused, by alert decrypt_error (51)"


def test_no_headline_trusts_witnesses_that_disagree(finished_run: Path) -> None:
    def richer(event: Event) -> Event:
        return replace(event, balance=event.balance + 1) if isinstance(event, MoneyMoved) else event

    found = scenes_of(doctored_run(finished_run, richer))
    assert found["matrix"].title == "The witnesses disagree, so this decides nothing."


def test_a_key_that_was_on_the_wire_is_said_so(finished_run: Path) -> None:
    def found_key(event: Event) -> Event:
        return replace(event, key_at=("somewhere",)) if isinstance(event, CaptureSearched) else event

    found = scenes_of(doctored_run(finished_run, found_key))
    assert "FOUND" in narration(found["with-the-key"])


def test_a_run_that_broke_off_is_told_as_far_as_it_got(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    (tmp_path / "run" / "verdicts.json").unlink()
    log = tmp_path / "run" / "attacker" / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    tried = [at for at, line in enumerate(lines) if '"move-tried"' in line]
    log.write_text("".join(lines[: tried[2] + 1]))  # all at the first gateway
    found = scenes_of(open_run(tmp_path / "run"))
    assert list(found)[:2] == ["why", "between"]
    assert found["answer"].title == "This run broke off, and decides nothing."
    assert "refused" not in narration(found["gateways"]), "what was not tried refused nothing"
    assert "matrix" not in found


def test_gateways_are_compared_by_the_moves_that_both_have(finished_run: Path) -> None:
    """A move that cannot be made at one of them leaves its place empty, and is no difference."""
    ports = {one.gateway: one.port for one in open_run(finished_run).all(GatewayListening)}

    def not_there(event: Event) -> Event:
        here = isinstance(event, MoveTried) and port_of(event.server) == ports["pinned-mtls@openssl"]
        if here and isinstance(event, MoveTried) and event.move == OMIT_PROOF and event.leak:
            return replace(event, outcome=NOT_APPLICABLE)
        return event

    scene = scenes_of(doctored_run(finished_run, not_there))["gateways"]
    drawn = scene.drawing
    assert isinstance(drawn, Gateways)
    assert [[bool(cell) for cell in side.cells] for side in drawn.sides] == [[True] * 3] * 2 + [[False, True, True]]
    assert narration(scene).endswith("other code, and it does the same.")


def test_the_ledger_tells_who_ordered_its_transfers(finished_run: Path, scenes: dict[str, Scene]) -> None:
    assert narration(scenes["ledger"]) == "The bank moved 600 in 6 transfers, each by a move of Mallory's."
    tried = [one for one in open_run(finished_run).all(MoveTried) if one.stolen]

    def relayed(event: Event) -> Event | None:
        if event == tried[0]:
            hers = {field.name: getattr(event, field.name) for field in fields(event) if hasattr(PROOF, field.name)}
            return replace(PROOF, **hers)
        return None if event == tried[1] else event

    assert narration(scenes_of(doctored_run(finished_run, relayed))["ledger"]) == (
        "The bank moved 600 in 6 transfers: 1 by Mallory in a login of Alice's that she relayed, 1 in a connection "
        "that nobody reports and 4 by a move of Mallory's."
    )


def test_another_customers_certificate_is_not_alices(finished_run: Path) -> None:
    first = next(open_run(finished_run).all(CertificateCaptured))

    def bobs(event: Event) -> Event:
        return replace(event, subject="CN=bob") if event == first else event

    said = narration(scenes_of(doctored_run(finished_run, bobs))["connections"])
    assert "Alice's certificate could be read, and in 1 another customer's." in said


def test_the_network_has_room_for_three_gateways_and_counts_the_others(scenes: dict[str, Scene]) -> None:
    drawn = scenes["between"].drawing
    assert isinstance(drawn, Network)
    assert (len(drawn.gateways), drawn.more) == (3, 2)
    assert drawn.balance == 1000


def test_the_document_has_the_model_as_it_is() -> None:
    fresh = markdown.text(schema_document())
    assert markdown.MODEL_FILE.read_text() == fresh, "docs/page-model.md is stale: python -m lab.views.markdown"
    assert f"version {VERSION} of" in fresh
    for name in ("Page", "Scene", "TwoTranscripts", "Closeup"):
        assert f"## {name}\n" in fresh


def test_the_model_is_data_with_a_version(finished_run: Path) -> None:
    data = as_data(tell_page(JudgedRun(open_run(finished_run))).page)
    assert data["version"] == VERSION
    assert data["kind"] == "Page"
    printed = certreplay("show", finished_run, "--json")
    assert printed.returncode == 0, printed.stderr
    assert f'"version": {VERSION}' in printed.stdout
