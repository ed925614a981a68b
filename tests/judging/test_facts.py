"""What the judge knows of a run besides its attempts, from a few events made by hand."""

from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from handmade import CLIENT, LISTENING, NAME, SEEN, SERVER, STARTED, TRIED, run_of, with_fields
from lab.catalogue.plan import everything, full_matrix, short_story
from lab.events.types import BundleIssued, CaptureSearched, CertificateCaptured, Event, HandshakeSeen, LeakSought
from lab.judging.facts import (
    captured,
    captured_certificates,
    certificate_in_tls13,
    common_name,
    has_seen_tls13,
    listening_gateways,
    plan_of,
    port_of,
    read_certificate,
    run_started,
    student_in,
    tried_everywhere,
    unknown_names,
)
from lab.tls.messages import Certificate, serialize
from lab.tls.messages13 import Certificate13, CertificateEntry
from lab.tls.versions import TLS12
from made_up import certificate, certificate_of

ALICE, BOB, AUTHORITY = (certificate_of(name) for name in ("alice", "bob", "ca"))
HIDDEN = HandshakeSeen(CLIENT, SERVER, "1.3", "", "", NAME, (), (), asked=False)
FIRST, SECOND = (BundleIssued("CN=alice", "CN=ca", sha, "", "", ()) for sha in ("01" * 32, "02" * 32))

NOBODYS = with_fields(SEEN, proof="0f")


def of(issued: BundleIssued, **fields: object) -> CertificateCaptured:
    """A certificate that was issued, captured with its proof."""
    return with_fields(SEEN, sha256=issued.sha256, **{"proof": "0f", **fields})


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("127.0.0.1:8441", 8441),
        ("[::1]:8441", 8441),
        ("https://localhost:8441/", 8441),
        ("access.log", 0),
        ("localhost:99999", 0),
    ],
)
def test_the_port_of_an_address_or_a_url(address: str, port: int) -> None:
    assert port_of(address) == port


@pytest.mark.parametrize(
    "plan",
    [
        short_story(),
        short_story("p384"),
        everything("rsa"),
        full_matrix(rounds=3, leaks=("log", "wire"), versions=("1.3",)).of("s12"),
    ],
)
def test_a_plan_is_read_back_as_it_was_stated(plan: object) -> None:
    started = run_started("embedded", "a run", plan, "a lab")  # type: ignore[arg-type]
    assert plan_of(run_of(started)) == plan
    assert (started.mode, started.run, started.lab) == ("embedded", "a run", "a lab")


def test_a_run_without_a_plan_is_a_short_story() -> None:
    assert plan_of(run_of(LISTENING)) == short_story()


def test_leaks_join_a_plan_in_their_own_order_and_strange_words_leave_it() -> None:
    started = with_fields(STARTED, versions=("1.2", "9.9"), leaks=("wire", "rumour"), key_type="p255")
    plan = plan_of(run_of(started, LeakSought("log"), LeakSought("interception"), LeakSought("rumour")))
    assert plan.leaks == ("wire", "interception", "log")
    assert plan.versions == (TLS12,)
    assert plan.key_type == "p256"


@pytest.mark.parametrize(
    ("events", "leak", "found"),
    [
        ((SEEN,), "wire", None),
        ((NOBODYS,), "wire", NOBODYS),
        ((NOBODYS,), "log", None),
        ((with_fields(SEEN, leak="log"),), "log", with_fields(SEEN, leak="log")),
        ((FIRST, NOBODYS), "wire", None),
        ((FIRST, SECOND, of(SECOND), of(FIRST)), "wire", of(FIRST)),
        ((FIRST, SECOND, of(SECOND), of(FIRST, proof=None)), "wire", of(SECOND)),
        ((FIRST, of(FIRST, note="first"), of(FIRST, note="second")), "wire", of(FIRST, note="first")),
        ((FIRST, of(FIRST), of(FIRST, leak="log", proof=None)), "log", of(FIRST, leak="log", proof=None)),
        ((NOBODYS, with_fields(NOBODYS, note="again")), "wire", NOBODYS),
    ],
)
def test_the_attacker_works_with_alices_main_certificate_as_it_was_first_seen(
    events: tuple[Event, ...], leak: str, found: CertificateCaptured | None
) -> None:
    """From the wire with its proof. Where nobody says which ones are alice's, it is the first."""
    assert captured(run_of(*events), leak) == found


def test_captured_messages_hold_certificates() -> None:
    in_12 = with_fields(SEEN, message=serialize(Certificate((ALICE, AUTHORITY))).hex())
    entries = (CertificateEntry(BOB),)
    in_13 = with_fields(SEEN, tls="1.3", message=serialize(Certificate13(entries)).hex())
    empty = with_fields(SEEN, message=serialize(Certificate(())).hex())
    garbled, strange = with_fields(SEEN, message="0b"), with_fields(in_12, tls="9.9")
    file = with_fields(in_13, tls="", message="")
    assert captured_certificates(run_of(garbled, strange, file, empty)) == {}
    assert captured_certificates(run_of(garbled, empty, in_12, in_13)) == {
        sha256(one).hexdigest(): one for one in (ALICE, BOB)
    }


def test_a_certificate_of_an_unknown_version_is_none() -> None:
    assert read_certificate(ALICE).subject.rfc4514_string() == "CN=alice"
    for damaged in (ALICE.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020104")), ALICE[:-1], b""):
        with pytest.raises(ValueError, match=r"."):
            read_certificate(damaged)


def test_gateways_are_known_by_their_ports() -> None:
    run = run_of(LISTENING, with_fields(LISTENING, gateway="mtls@nobody", port=8442))
    assert {port: gateway.id for port, gateway in listening_gateways(run).items()} == {8441: "mtls@instrument"}


def test_names_of_tomorrow_are_told() -> None:
    started = with_fields(
        STARTED,
        gateways=("mtls@instrument", "mtls@tomorrow"),
        moves=("omit-proof", "time-travel"),
        versions=("1.2", "1.4"),
        leaks=("wire", "rumour"),
    )
    assert unknown_names(run_of(started, LISTENING, with_fields(LISTENING, gateway="mtls@nobody"))) == [
        ("gateway", "mtls@nobody"),
        ("gateway", "mtls@tomorrow"),
        ("leak", "rumour"),
        ("move", "time-travel"),
        ("version", "1.4"),
    ]
    assert unknown_names(run_of(STARTED, LISTENING)) == unknown_names(run_of(LISTENING)) == []


def test_all_is_tried_once_each_gateway_met_each_move_and_tls13_was_seen() -> None:
    tried = [
        with_fields(TRIED, server=f"127.0.0.1:{port}", move=move) for port in (1, 2) for move in short_story().moves
    ]
    assert tried_everywhere(run_of(HIDDEN, *tried), (1, 2))
    assert not tried_everywhere(run_of(HIDDEN, *tried), (1, 2, 3))
    assert not tried_everywhere(run_of(HIDDEN, *tried[:-1]), (1, 2))
    assert not tried_everywhere(run_of(with_fields(HIDDEN, tls="1.2"), *tried), (1, 2))
    assert not has_seen_tls13(run_of(*tried))


def test_a_certificate_in_tls13_is_told_by_its_connection() -> None:
    places = (f"{CLIENT} to {SERVER}, byte 7", f"{CLIENT} to {SERVER}1, byte 7", "the file itself, byte 9")
    searched = CaptureSearched(1, 1, 0, 0, 0, places, (), ())
    assert certificate_in_tls13(run_of(HIDDEN), searched) == [places[0]]
    assert certificate_in_tls13(run_of(with_fields(HIDDEN, tls="1.2")), searched) == []


@pytest.mark.parametrize(
    ("subject", "name"),
    [("O=Bank of Example,CN=alice", "alice"), ("O=Bank of Example", ""), ("alice", ""), ("", "")],
)
def test_the_common_name_in_a_subject(subject: str, name: str) -> None:
    assert common_name(subject) == name


def test_the_student_in_a_certificate_is_its_organizational_unit() -> None:
    named = certificate([(NameOID.COMMON_NAME, "alice"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "s12")])
    assert student_in(x509.load_der_x509_certificate(named)) == "s12"
    assert student_in(x509.load_der_x509_certificate(ALICE)) == ""
