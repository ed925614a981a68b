"""The whole matrix, really run: every move at every gateway in both versions, each with its evidence."""

import asyncio
import contextlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from attacker.moves.make import MAKERS
from doctoring import doctored_run
from lab.catalogue.gateways import BY_CHOICE, find_gateway
from lab.catalogue.gateways import GATEWAYS as ALL_GATEWAYS
from lab.catalogue.leaks import ARCHIVE
from lab.catalogue.moves import MOVES, REAL_MOVES, WITH_THE_KEY, find_move
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, NOT_ASKED, REFUSED
from lab.catalogue.plan import PlanError, full_matrix
from lab.catalogue.schemes import ProofOf
from lab.document import Paragraph
from lab.events.run import Run, open_run
from lab.events.types import CertificateCaptured, Event, HandshakeSeen, LoggedIn, MoveTried
from lab.judging.expectations import expectation
from lab.judging.judgement import Judgement, Verdict
from lab.judging.proof_comparison import message_fields, proof_reason
from lab.judging.verdicts import JudgedRun, judge
from lab.staging import embedded
from lab.story.acts import tell
from lab.story.evidence import NOTE_ON_NOT_APPLICABLE
from lab.story.explain import explain
from lab.story.matrix import expected_document, tell_lessons, tell_matrix
from lab.tls.messages13 import parse
from lab.tls.versions import TLS12, TLS13, VERSION_NAMES, VERSIONS
from lab.views import markdown as docs
from lab.views import terminal
from programs import certreplay

ROUNDS = 2
MOVES_TRIED = len(MOVES) - 1
"""All but the one that takes the key."""
GATEWAYS = tuple(one for one in ALL_GATEWAYS if one not in BY_CHOICE)
CHECKING = ("mtls@openssl", "mtls@instrument", "pinned-mtls@openssl", "pinned-mtls@instrument")
"""The gateways that check the proof."""
REPLAYED = ("replay-proof", "relabelled-proof", "flipped-proof")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Judgement]:
    runs = tmp_path_factory.mktemp("runs")
    judgement = asyncio.run(embedded.run_embedded(runs, full_matrix(rounds=ROUNDS), None, lambda run: None))
    return open_run(runs / judgement.run), judgement


def cell(judged: tuple[Run, Judgement], move: str, gateway_id: str, version: str) -> Verdict:
    (found,) = [v for v in judged[1].verdicts if (v.move, v.gateway, v.tls) == (move, gateway_id, version)]
    return found


def test_every_move_has_a_verdict_at_every_gateway(judged: tuple[Run, Judgement]) -> None:
    tried = {(v.move, v.gateway, v.tls) for v in judged[1].verdicts}
    assert tried == {(m.id, g.id, version) for m in MOVES for g in GATEWAYS for version in VERSION_NAMES}


def test_the_matrix_is_as_theory_expects(judged: tuple[Run, Judgement]) -> None:
    assert judged[1].errors == ()
    assert [v for v in judged[1].verdicts if not v.as_expected] == []
    assert {v.evidence.attempts for v in judged[1].verdicts if v.outcome != NOT_APPLICABLE} == {ROUNDS}


@pytest.mark.parametrize("version", VERSION_NAMES)
@pytest.mark.parametrize("gateway_id", CHECKING)
def test_nothing_gets_in_where_the_proof_is_checked(
    judged: tuple[Run, Judgement], gateway_id: str, version: str
) -> None:
    outcomes = {v.move: v.outcome for v in judged[1].verdicts if (v.gateway, v.tls) == (gateway_id, version)}
    assert ACCEPTED not in outcomes.values()
    assert outcomes.pop("stolen-key") == NOT_APPLICABLE  # the wire yields no key
    resumed = version == "1.2" or gateway_id.endswith("@openssl")  # the instrument gives no tickets in TLS 1.3
    assert outcomes.pop("resume-session") == (REFUSED if resumed else NOT_APPLICABLE)
    assert set(outcomes.values()) == {REFUSED}


@pytest.mark.parametrize("version", VERSION_NAMES)
@pytest.mark.parametrize(
    "gateway_id", ["certificate-only@instrument", "pinned-certificate-only@instrument", "forwarded-header@openssl"]
)
def test_a_certificate_alone_opens_the_gateways_that_ask_for_nothing_else(
    judged: tuple[Run, Judgement], gateway_id: str, version: str
) -> None:
    verdict = cell(judged, "omit-proof", gateway_id, version)
    assert verdict.outcome == ACCEPTED
    assert verdict.evidence.http
    assert json.loads(verdict.evidence.http.body or "")["customer"] == "alice"
    assert verdict.evidence.stolen > 0


@pytest.mark.parametrize("version", VERSION_NAMES)
def test_an_ignored_proof_has_to_be_there_and_nothing_more(judged: tuple[Run, Judgement], version: str) -> None:
    assert cell(judged, "omit-proof", "ignored-proof@instrument", version).outcome == REFUSED
    assert cell(judged, "zero-proof", "ignored-proof@instrument", version).outcome == ACCEPTED


@pytest.mark.parametrize("version", VERSION_NAMES)
def test_mallory_may_come_in_as_herself(judged: tuple[Run, Judgement], version: str) -> None:
    verdict = cell(judged, "own-leaf-first", "mtls@openssl", version)
    assert verdict.outcome == REFUSED
    assert verdict.evidence.http
    assert json.loads(verdict.evidence.http.body or "")["customer"] == "mallory"
    assert verdict.evidence.stolen == 0


@pytest.mark.parametrize("gateway_id", CHECKING)
@pytest.mark.parametrize("move", REPLAYED)
def test_a_replayed_proof_fits_all_but_the_servers_random(
    judged: tuple[Run, Judgement], move: str, gateway_id: str
) -> None:
    reason = cell(judged, move, gateway_id, "1.2").evidence.proof
    assert reason
    assert reason.difference
    assert (reason.difference.message, reason.difference.field) == ("ServerHello", "random")
    assert reason.difference.captured != reason.difference.server
    assert reason.captured_hash != reason.server_hash
    assert reason.fits_captured == (move == "replay-proof")
    assert not reason.fits_server


def test_the_reason_is_computed_and_not_asserted(judged: tuple[Run, Judgement]) -> None:
    """With the captured transcript in the server's place, the same code finds no difference, and the proof fits."""
    run, _ = judged
    captured = next(one for one in run.all(CertificateCaptured) if one.proof)
    tried = next(one for one in run.all(MoveTried) if one.move == "replay-proof" and one.seen_at == captured.server)
    steps = tuple(("client", "a message", raw) for raw in (*captured.transcript, captured.proof or ""))
    reason = proof_reason(captured, replace(tried, tls="1.2", steps=steps))
    assert reason
    assert reason.difference is None
    assert reason.fits_captured
    assert reason.fits_server


def test_every_tried_cell_has_its_messages_with_their_bytes(judged: tuple[Run, Judgement]) -> None:
    for verdict in judged[1].verdicts:
        if verdict.outcome != NOT_APPLICABLE:
            assert verdict.evidence.messages[0].name == "ClientHello", verdict
            assert bytes.fromhex(verdict.evidence.messages[0].hex)[0] == 1
            assert verdict.evidence.reason
            assert verdict.evidence.clause


def test_what_is_not_applicable_has_a_reason(judged: tuple[Run, Judgement]) -> None:
    passed_over = [v for v in judged[1].verdicts if v.outcome == NOT_APPLICABLE]
    assert passed_over
    assert all(v.evidence.reason for v in passed_over)


def test_tls13_attempts_use_what_tls12_showed(judged: tuple[Run, Judgement]) -> None:
    run, _ = judged
    assert {one.tls for one in run.all(CertificateCaptured)} == {"1.2"}
    hidden = [one for one in run.all(HandshakeSeen) if one.tls == "1.3"]
    assert len([one for one in hidden if not one.session]) == len(GATEWAYS)
    for one in hidden:
        types = [record.split()[0] for record in one.client_records]
        assert types[:1] == ["handshake"]
        assert set(types[1:]) <= {"change_cipher_spec", "application_data"}


def test_a_ticket_of_alices_is_used_where_she_showed_it(judged: tuple[Run, Judgement]) -> None:
    """She resumed her sessions herself; the verdict rests on the event in which mallory saw the ticket."""
    run, judgement = judged
    giving = {gateway.id for gateway in GATEWAYS if TLS13 in gateway.implementation.resumes}
    assert {one.gateway for one in run.all(LoggedIn) if one.resumed} == giving
    assert {one.tls for one in run.all(LoggedIn) if one.resumed} == {"1.3"}
    shown = {one.number: one.event for one in run.events if isinstance(one.event, HandshakeSeen) and one.event.session}
    assert len(shown) == len(giving)
    tried = [v for v in judgement.verdicts if (v.move, v.tls, v.outcome) == ("resume-session", "1.3", REFUSED)]
    assert {v.gateway for v in tried} == giving & set(CHECKING)
    for verdict in tried:
        (seen,) = [shown[number] for number in verdict.evidence.events if number in shown]
        assert seen.session in verdict.evidence.messages[0].hex


def test_an_earlier_run_resumed_no_session_of_tls_13(judged: tuple[Run, Judgement]) -> None:
    run = Run(judged[0].folders.path)
    run.events = [
        replace(one, version=2)
        for one in judged[0].events
        if not (isinstance(tried := one.event, MoveTried) and (tried.move, tried.tls) == ("resume-session", "1.3"))
    ]
    earlier = JudgedRun(run)
    assert earlier.missing == ()
    cells = {(v.move, v.tls) for v in earlier.judgement.verdicts}
    assert ("resume-session", "1.2") in cells
    assert ("resume-session", "1.3") not in cells
    assert all(v.as_expected for v in earlier.judgement.verdicts)
    assert list(tell_matrix(earlier.judgement))


def test_a_move_that_came_to_nothing_is_a_finding(judged: tuple[Run, Judgement]) -> None:
    def come_to_nothing(event: Event) -> Event:
        if isinstance(event, MoveTried) and event.move == "resume-session":
            return replace(event, outcome=NOT_APPLICABLE)
        return event

    judgement = judge(doctored_run(judged[0].folders.path, come_to_nothing))
    assert judgement
    assert {v.move for v in judgement.verdicts if not v.as_expected} == {"resume-session"}


def test_a_proof_is_compared_only_where_it_decides(judged: tuple[Run, Judgement]) -> None:
    """What a server refuses for its chain or its order, or lets in as mallory, says nothing of the proof."""
    refused = {v.move for v in judged[1].verdicts if v.outcome == REFUSED and v.evidence.proof}
    forged = {"foreign-key", "empty-proof", "zero-proof", "stolen-leaf-first"}
    assert refused == {*REPLAYED, *forged, "replay-flight"}
    unchecked = {v.scheme for v in judged[1].verdicts if v.outcome == ACCEPTED and v.evidence.proof}
    assert unchecked == {"certificate-only", "pinned-certificate-only", "ignored-proof"}


def test_every_extension_of_openssls_hello_has_its_registered_name(judged: tuple[Run, Judgement]) -> None:
    captured = next(one for one in judged[0].all(CertificateCaptured) if one.transcript)
    names = message_fields(parse(bytes.fromhex(captured.transcript[0]), TLS12))
    assert {"server_name", "encrypt_then_mac", "extended_master_secret"} <= set(names)
    assert [name for name in names if name.startswith(("extension ", "_"))] == []


def explained(verdict: Verdict) -> str:
    return " ".join(docs.text(explain(verdict)).split())


@pytest.mark.parametrize("version", VERSION_NAMES)
def test_what_a_gateway_did_with_a_wrong_proof_is_what_it_reports(judged: tuple[Run, Judgement], version: str) -> None:
    for gateway, did in (
        ("ignored-proof@instrument", "checked it and ignored the result:"),
        ("certificate-only@instrument", "did not look at it:"),
    ):
        for verdict in (one for one in judged[1].verdicts if (one.gateway, one.tls) == (gateway, version)):
            if verdict.outcome == ACCEPTED and verdict.evidence.proof:
                assert f"and the gateway {did}" in explained(verdict)


def test_alices_hash_is_the_one_that_she_signed(judged: tuple[Run, Judgement]) -> None:
    """The scheme that a move claims is not hers: she signed with SHA-256, and the capture has that very hash."""
    relabelled = cell(judged, "relabelled-proof", "mtls@openssl", "1.2").evidence.proof
    replayed = cell(judged, "replay-proof", "mtls@openssl", "1.2").evidence.proof
    assert relabelled
    assert replayed
    assert (relabelled.signed_by, relabelled.hash) == ("sha256", "sha384")
    assert relabelled.captured_hash == replayed.captured_hash
    told = explained(cell(judged, "relabelled-proof", "mtls@openssl", "1.2"))
    assert "Under this scheme the signature fits neither handshake: it is the captured signature" in told
    assert "Under the one that alice signed with, ecdsa with sha256, it fits hers." in told
    flipped = explained(cell(judged, "flipped-proof", "mtls@openssl", "1.2"))
    assert "With this key the signature fits neither handshake: it is the captured proof with" in flipped


def test_a_proof_of_another_version_signs_content_of_another_form(judged: tuple[Run, Judgement]) -> None:
    old, new = (explained(cell(judged, "replay-proof", "mtls@openssl", version)) for version in VERSION_NAMES)
    assert "The first field that differs is ServerHello, random." in old
    assert "What is signed has another form in each version" in new
    assert "What is signed has another form in each version" not in old
    assert "it has no key share" in new
    assert "the secret of its key share" not in new


def test_messages_are_called_decrypted_where_some_were(judged: tuple[Run, Judgement]) -> None:
    for move, decrypted in (("replay-proof", True), ("replay-flight", False)):
        told = explained(cell(judged, move, "mtls@openssl", "1.3"))
        assert ("Messages (decrypted):" in told) == decrypted
        assert ("Messages:" in told) != decrypted


def test_where_there_was_nothing_to_resume_it_says_what_came_back(judged: tuple[Run, Judgement]) -> None:
    told = explained(cell(judged, "resume-session", "forwarded-header@openssl", "1.2"))
    assert "came back: a complete handshake; no request was sent" in told


@pytest.mark.parametrize("gateway_id", CHECKING)
def test_a_proof_that_was_refused_for_its_scheme_says_nothing_of_its_validity(
    judged: tuple[Run, Judgement], gateway_id: str
) -> None:
    verdict = cell(judged, "relabelled-proof", gateway_id, "1.3")
    assert verdict.evidence.alert
    assert verdict.evidence.alert.name == "illegal_parameter"
    assert verdict.evidence.proof is None


@pytest.mark.parametrize("gateway_id", ["forwarded-header@openssl", "password@openssl"])
def test_a_certificate_in_a_header_is_shown(judged: tuple[Run, Judgement], gateway_id: str) -> None:
    captured = {one.sha256 for one in judged[0].all(CertificateCaptured)}
    for version in VERSION_NAMES:
        told = explained(cell(judged, "omit-proof", gateway_id, version))
        assert "here alice's certificate in the Client-Cert header" in told
        assert "no CertificateVerify" not in told
        assert any(f"sha256 {one}" in told for one in captured)
        assert "no such header was sent" in explained(cell(judged, "no-certificate", gateway_id, version))


@pytest.mark.parametrize("gateway_id", ["forwarded-header@openssl", "password@openssl"])
def test_a_connection_on_which_there_was_nothing_to_test_is_shown(
    judged: tuple[Run, Judgement], gateway_id: str
) -> None:
    verdict = cell(judged, "early-finished", gateway_id, "1.2")
    assert (verdict.outcome, verdict.as_expected) == (NOT_APPLICABLE, True)
    told = explained(verdict)
    assert "is no verdict:" in told
    assert "unexpected_message" in told
    assert NOT_ASKED in told


def test_no_proof_fits_the_handshake_that_it_was_sent_in(judged: tuple[Run, Judgement]) -> None:
    proofs = [(v.move, v.evidence.proof) for v in judged[1].verdicts if v.evidence.proof]
    assert not any(proof.fits_server for _, proof in proofs if proof)
    replayed = {move for move, proof in proofs if proof and proof.fits_captured}
    assert replayed == {"replay-proof", "replay-flight"}


@pytest.mark.parametrize("gateway_id", ["mtls@openssl", "mtls@instrument"])
def test_a_replayed_flight_is_compared_in_the_order_in_which_the_server_saw_it(
    judged: tuple[Run, Judgement], gateway_id: str
) -> None:
    proof = cell(judged, "replay-flight", gateway_id, "1.2").evidence.proof
    assert proof
    assert proof.difference
    assert (proof.difference.message, proof.difference.field) == ("ServerHello", "random")


def test_what_not_applicable_means_is_said_where_it_occurs(judged: tuple[Run, Judgement]) -> None:
    legend = Paragraph(NOTE_ON_NOT_APPLICABLE)
    assert list(tell_matrix(judged[1]))[-1] == legend
    decided = tuple(verdict for verdict in judged[1].verdicts if verdict.outcome != NOT_APPLICABLE)
    assert legend not in list(tell_matrix(replace(judged[1], verdicts=decided)))


def test_a_plan_that_cannot_be_carried_out_is_refused() -> None:
    with pytest.raises(PlanError, match="no move 'nonsense'"):
        full_matrix(moves=["nonsense"])
    with pytest.raises(PlanError, match="choose one of mtls"):
        full_matrix(schemes=["forwarded-header", "pinned-mtls"])


def test_a_look_alike_is_expected_to_get_in_only_where_names_alone_are_compared() -> None:
    look_alike = find_move("look-alike")
    assert look_alike
    for gateway in GATEWAYS:
        for version in VERSIONS:
            expected = expectation(gateway, version, look_alike).outcome
            assert expected == (ACCEPTED if gateway.scheme.id == "names-only" else REFUSED)


def test_what_is_expected_follows_from_the_schemes_own_fault() -> None:
    omit, gateway = find_move("omit-proof"), find_gateway("certificate-only@instrument")
    assert omit
    assert gateway
    assert expectation(gateway, TLS12, omit).reason == gateway.scheme.fault


def test_a_key_is_the_reason_only_where_a_proof_is_sent() -> None:
    with_key = find_move("stolen-key")
    assert with_key
    for gateway in GATEWAYS:
        scheme = gateway.scheme
        if not scheme.takes_password:
            expected = expectation(gateway, TLS12, with_key, ARCHIVE)
            assert expected.outcome == ACCEPTED
            assert (expected.reason == WITH_THE_KEY) == (
                "proof" in scheme.asks_for and "not look" not in scheme.asks_for
            )


def test_a_look_alike_is_refused_by_an_alert_for_certificates(judged: tuple[Run, Judgement]) -> None:
    """RFC 5246 section 7.2.2: decrypt_error is for the signatures of the handshake. OpenSSL sends it here too."""
    for verdict in judged[1].verdicts:
        if verdict.move == "look-alike" and verdict.evidence.alert:
            assert verdict.conforms == (verdict.evidence.alert.name != "decrypt_error")
    look_alike = find_move("look-alike")
    assert look_alike
    for failures in look_alike.fails.values():
        assert {alert.label for one in failures for alert in one.alerts} == {
            "unknown_ca",
            "bad_certificate",
            "certificate_unknown",
        }


def test_who_comes_in_as_herself_is_not_told_as_a_refusal_by_200(judged: tuple[Run, Judgement]) -> None:
    for gateway_id in ("mtls@openssl", "certificate-only@instrument"):
        told = explained(cell(judged, "own-leaf-first", gateway_id, "1.2"))
        assert "not authenticated as alice: let in as mallory (HTTP 200)" in told
        assert ("the proof is by its key" in told) == (gateway_id == "mtls@openssl")


def test_what_a_server_without_certificates_refuses_for_is_what_was_missing(judged: tuple[Run, Judgement]) -> None:
    for move in ("no-certificate", "omit-proof"):
        told = explained(cell(judged, move, "password@openssl", "1.2"))
        assert "this server wants a name and a password" in told
        assert "the attempt sent none" in told
    told = explained(cell(judged, "no-certificate", "forwarded-header@openssl", "1.2"))
    assert "wants a certificate in the Client-Cert header" in told


def lessons(judgement: Judgement) -> str:
    return " ".join(docs.text(tell_lessons(judgement)).split())


def test_a_matrix_ends_with_what_can_be_learned_from_it(judged: tuple[Run, Judgement]) -> None:
    _, judgement = judged
    told = lessons(judgement)
    tried = sum(ROUNDS for v in judgement.verdicts if v.gateway in CHECKING and v.outcome != NOT_APPLICABLE)
    assert (
        f"None of {MOVES_TRIED} moves opened a gateway that checks the proof. There were {tried} attempts at 4 such"
        in told
    )
    blind = {gateway.id for gateway in GATEWAYS if gateway.scheme.proof_of is ProofOf.NOBODY}
    opened = {v.move for v in judgement.verdicts if v.outcome == ACCEPTED and v.gateway in blind}
    assert f"{len(opened)} of {MOVES_TRIED} moves opened a gateway that does not check the proof: " in told
    assert all(move in told for move in opened)
    asking = [gateway for gateway in GATEWAYS if gateway.scheme.asks_in_tls]
    assert f"alice's key got in {2 * len(asking)} of {2 * len(asking)} times" in told
    assert "With alice's password it got in 2 of 2 times at password@openssl." in told
    assert "in the Client-Cert header it got in 2 of 2 times at forwarded-header@openssl; no key is used" in told


def test_the_readmes_excerpt_of_the_matrix_is_what_is_printed(
    judged: tuple[Run, Judgement], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for how often each move was tried, and for what it leaves out."""
    monkeypatch.setenv("COLUMNS", "110")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        terminal.show([*tell_matrix(judged[1]), *tell_lessons(judged[1])])
    _, _, readme = (Path(__file__).parents[2] / "README.md").read_text().partition("## The whole matrix")
    lines = [line for line in readme.partition("\nWhy a proof")[0].splitlines() if line.startswith("    ") or not line]

    def words(text: str) -> str:
        return " ".join(re.sub(r"\d+(?=\s+attempts)", "N", text).split())

    pieces = list(filter(None, map(words, re.split(r"\.\.\.(?:\n|$)|\n\n", "\n".join(lines)))))
    assert len(pieces) > 4
    rest = words(printed.getvalue())
    for piece in pieces:
        _, found, rest = rest.partition(piece)
        assert found, f"not printed, or not in this place: {piece}"


def test_what_is_learned_changes_with_the_verdicts(judged: tuple[Run, Judgement]) -> None:
    _, judgement = judged
    fell = [
        replace(v, outcome=ACCEPTED) if (v.move, v.gateway) == ("zero-proof", "mtls@openssl") else v
        for v in judgement.verdicts
    ]
    failed = [replace(one, outcome=REFUSED) if one.gateway == "mtls@openssl" else one for one in judgement.controls]
    told = lessons(replace(judgement, verdicts=tuple(fell), controls=tuple(failed)))
    assert f"1 of {MOVES_TRIED} moves opened a gateway that checks the proof: zero-proof. " in told
    assert "alice's key got in 16 of 18 times" in told


def test_a_matrix_says_why_the_versions_differ(judged: tuple[Run, Judgement]) -> None:
    _, judgement = judged
    old, new = ({(v.move, v.gateway): v for v in judgement.verdicts if v.tls == version} for version in VERSION_NAMES)
    differing = {cell for cell in old if old[cell].outcome != new[cell].outcome}
    assert {move for move, _ in differing} == {"resume-session", "early-finished"}
    told = lessons(judgement)
    _, _, told = told.partition("Where TLS 1.2 and TLS 1.3 differ")
    for move, gateway in differing:
        assert move in told
        assert gateway in told
        assert old[move, gateway].evidence.clause in told
        assert new[move, gateway].evidence.clause in told
    assert "replay-proof" not in told
    alone = replace(judgement, verdicts=tuple(v for v in judgement.verdicts if v.tls == "1.2"))
    assert "differ" not in lessons(alone)


def test_the_story_of_a_matrix_says_that_the_kind_of_certificate_makes_no_difference(
    judged: tuple[Run, Judgement],
) -> None:
    run, judgement = judged
    told = " ".join(docs.text(tell(JudgedRun(run))).split())
    pinned = [v for v in judgement.verdicts if v.gateway.startswith("pinned-")]
    assert (
        f"With self-signed certificates that the server pins it is the same: all {len(pinned)} outcomes are those of "
        "certificate-only@instrument, mtls@openssl and mtls@instrument." in told
    )
    assert told.count("Why the proof does not fit:") == 1


def test_every_move_has_one_maker() -> None:
    assert list(MAKERS) == [move.id for move in (*MOVES, *REAL_MOVES)]


def test_the_documented_tables_are_those_that_the_lab_runs_on() -> None:
    fresh = docs.text(expected_document())
    assert docs.FILE.read_text() == fresh, "docs/matrix.md is stale: python -m lab.views.markdown"


@pytest.mark.parametrize(
    ("gateway_id", "move", "closing"),
    [
        (
            "certificate-only@instrument",
            "omit-proof",
            "opened certificate-only@instrument; no gateway that checks whose proof it is was tried.",
        ),
        ("mtls@openssl", "omit-proof", "That is why mtls@openssl refused 2 times."),
        ("mtls@openssl", "own-leaf-first", "opened nothing here; no refusal was for want of her key."),
    ],
)
def test_the_closing_sentence_says_what_was_measured(tmp_path: Path, gateway_id: str, move: str, closing: str) -> None:
    tried = certreplay("matrix", "--gateway", gateway_id, "--move", move, "--runs", tmp_path)
    assert tried.returncode == 0
    assert tried.stdout.startswith("p256 keys, ")
    (run,) = tmp_path.iterdir()
    told = certreplay("story", run).stdout
    assert closing in " ".join(told.split())
    assert f"1.3  {gateway_id}" in told
