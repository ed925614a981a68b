"""What the RFCs predict for a move at a gateway: a cell of the table for each reason."""

import pytest

from lab.catalogue.checks import Check
from lab.catalogue.gateways import find_gateway
from lab.catalogue.leaks import find_leak
from lab.catalogue.moves import HERSELF, HERSELF_UNCHECKED, WITH_THE_KEY, find_move
from lab.catalogue.outcomes import ACCEPTED, NOT_APPLICABLE, REFUSED
from lab.judging.expectations import Expectation, expectation
from lab.tls.alerts import AlertDescription
from lab.tls.versions import TLS13, VERSIONS, find_version

NO_CERTIFICATE = "no certificate that this server accepts leaks this way"
IN_TLS_ONLY = "the server does not ask for a certificate in TLS, so no handshake with it shows who the client is"
NO_SESSIONS = "this server gives no sessions to resume in TLS 1.3"


def expected(cell: str) -> Expectation:
    """By gateway, version, move and leak."""
    gateway_id, version_name, move_id, leak_id = cell.split()
    gateway, version, move, leak = (
        *(find_gateway(gateway_id), find_version(version_name), find_move(move_id)),
        find_leak(leak_id),
    )
    assert gateway
    assert version
    assert move
    assert leak
    return expectation(gateway, version, move, leak)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("mtls@openssl 1.2 omit-proof database", NO_CERTIFICATE),
        ("pinned-mtls@openssl 1.2 omit-proof requests", NO_CERTIFICATE),
        ("forwarded-header@openssl 1.2 replay-proof wire", IN_TLS_ONLY),
        ("mtls@openssl 1.2 replay-proof log", "this leak yields no proof of possession"),
        ("mtls@openssl 1.2 stolen-key wire", "this leak yields no private key"),
        ("mtls@instrument 1.3 resume-session wire", NO_SESSIONS),
        ("resumed-elsewhere@instrument 1.3 other-door wire", NO_SESSIONS),
        ("pinned-mtls@instrument 1.2 other-door wire", "this server has no other name under which it trusts others"),
    ],
)
def test_there_is_nothing_to_try(cell: str, reason: str) -> None:
    assert expected(cell) == Expectation(NOT_APPLICABLE, reason)


@pytest.mark.parametrize(
    ("cell", "check", "alert"),
    [
        ("mtls@openssl 1.2 no-certificate wire", Check.CERTIFICATE_PRESENT, AlertDescription.HANDSHAKE_FAILURE),
        ("mtls@openssl 1.3 no-certificate wire", Check.CERTIFICATE_PRESENT, AlertDescription.CERTIFICATE_REQUIRED),
        ("mtls@openssl 1.2 omit-proof wire", Check.PROOF_PRESENT, AlertDescription.UNEXPECTED_MESSAGE),
        ("mtls@openssl 1.2 replay-proof wire", Check.PROOF_VALID, AlertDescription.DECRYPT_ERROR),
        ("mtls@openssl 1.2 replay-flight wire", Check.PROOF_VALID, AlertDescription.DECRYPT_ERROR),
        ("certificate-only@instrument 1.2 replay-flight wire", Check.KEYS, AlertDescription.BAD_RECORD_MAC),
        ("forwarded-header@openssl 1.2 replay-flight wire", Check.KEYS, AlertDescription.BAD_RECORD_MAC),
        ("mtls@openssl 1.2 resume-session wire", Check.KEYS, AlertDescription.BAD_RECORD_MAC),
        ("mtls@instrument 1.2 other-door wire", Check.SESSION, AlertDescription.HANDSHAKE_FAILURE),
        ("ignored-proof@instrument 1.2 omit-proof wire", Check.PROOF_PRESENT, AlertDescription.UNEXPECTED_MESSAGE),
    ],
)
def test_the_first_check_that_a_move_fails_refuses_it_by_an_alert(
    cell: str, check: Check, alert: AlertDescription
) -> None:
    found = expected(cell)
    assert (found.outcome, found.check, found.alerts[:1], found.statuses) == (REFUSED, check, (alert,), ())
    assert found.reason.startswith("RFC ")


@pytest.mark.parametrize(
    ("cell", "check", "reason", "statuses"),
    [
        (
            "forwarded-header@openssl 1.2 no-certificate wire",
            Check.CERTIFICATE_PRESENT,
            "this server wants a certificate in the Client-Cert header",
            (401, 403),
        ),
        (
            "forwarded-header@openssl 1.2 look-alike wire",
            Check.CHAIN,
            "no issuer that this server trusts signed the certificate in the Client-Cert header",
            (401, 403),
        ),
        ("password@openssl 1.2 omit-proof wire", Check.PASSWORD, "this server wants a name and a password", (401,)),
        ("password@openssl 1.2 no-certificate wire", Check.PASSWORD, "this server wants a name and a password", (401,)),
        ("mtls@openssl 1.2 own-leaf-first wire", None, HERSELF, (200,)),
        ("certificate-only@instrument 1.2 own-leaf-first wire", None, HERSELF_UNCHECKED, (200,)),
    ],
)
def test_what_no_handshake_refuses_is_refused_by_http(
    cell: str, check: Check | None, reason: str, statuses: tuple[int, ...]
) -> None:
    found = expected(cell)
    assert (found.outcome, found.check, found.alerts, found.statuses) == (REFUSED, check, (), statuses)
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("mtls@openssl 1.2 stolen-key archive", WITH_THE_KEY),
        ("ignored-proof@instrument 1.2 stolen-key archive", WITH_THE_KEY),
        ("certificate-only@instrument 1.2 stolen-key archive", "It does not make the client prove possession"),
        ("certificate-only@instrument 1.2 omit-proof wire", "It does not make the client prove possession"),
        ("ignored-proof@instrument 1.2 replay-proof wire", "It checks the proof and accepts a wrong one."),
        ("names-only@instrument 1.2 look-alike wire", "It knows a certificate by its names"),
        ("resumed-elsewhere@instrument 1.2 other-door wire", "It resumes a session that began where others"),
        ("any-certificate-of-the-chain@instrument 1.2 own-leaf-first wire", "It takes the name from another"),
        ("forwarded-header@openssl 1.2 omit-proof wire", "It trusts a header that any client can write"),
        ("forwarded-header@openssl 1.2 verify-header wire", "It trusts a header that any client can write"),
    ],
)
def test_a_move_that_fails_no_check_is_accepted_for_the_fault_or_the_key(cell: str, reason: str) -> None:
    found = expected(cell)
    assert (found.outcome, found.check, found.alerts, found.statuses) == (ACCEPTED, None, (), ())
    assert found.reason.startswith(reason)


def test_if_nothing_else_is_said_the_certificate_was_read_off_the_wire() -> None:
    gateway, move = find_gateway("mtls@openssl"), find_move("replay-proof")
    assert gateway
    assert move
    for version in VERSIONS:
        assert expectation(gateway, version, move) == expected(f"mtls@openssl {version} replay-proof wire")


@pytest.mark.parametrize(
    ("cell", "clause"),
    [
        ("mtls@openssl 1.2 omit-proof wire", "RFC 5246 section 7.3: "),
        ("mtls@openssl 1.2 early-proof wire", "RFC 5246 section 7.4: "),
        ("mtls@openssl 1.2 early-finished wire", "RFC 5246 section 7.4.9: "),
    ],
)
def test_a_refusal_names_the_section_that_says_so(cell: str, clause: str) -> None:
    assert expected(cell).reason.startswith(clause)


@pytest.mark.parametrize("move_id", ["replay-proof", "flipped-proof", "foreign-key"])
def test_in_tls13_a_captured_proof_may_be_in_a_scheme_that_is_not_for_its_key(move_id: str) -> None:
    """As one of TLS 1.2 by ECDSA with SHA-256 and a key on P-384; then illegal_parameter conforms, too."""
    gateway, move = find_gateway("mtls@openssl"), find_move(move_id)
    assert gateway
    assert move
    found = expectation(gateway, TLS13, move, scheme_suits=False)
    invalid = (AlertDescription.DECRYPT_ERROR,)
    assert found.alerts == (invalid if move_id == "foreign-key" else (AlertDescription.ILLEGAL_PARAMETER, *invalid))
    assert found.outcome == REFUSED
