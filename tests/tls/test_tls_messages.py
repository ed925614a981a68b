"""Handshake messages, extensions and alerts: parse and serialize are each other's inverse, whatever the bytes."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lab.tls import extensions as ext
from lab.tls import messages, wire
from lab.tls.alerts import Alert, AlertDescription, alert_name, parse_alert
from lab.tls.errors import Abort, DecodeError
from lab.tls.extensions import Extension
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    HelloRequest,
    Message,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
    UnknownMessage,
    parse,
    serialize,
)
from lab.tls.versions import (
    TLS12,
    TLS13,
    Version,
    find_version,
    is_tls13,
    names_scheme,
    protocol_name,
    version_name,
    versions_named,
)

EIGHT, SIXTEEN = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
RANDOM = st.binary(min_size=32, max_size=32)
SESSION_ID = st.binary(max_size=32)
SMALL, FILLED = st.binary(max_size=40), st.binary(min_size=1, max_size=40)
NUMBERS = st.lists(SIXTEEN, min_size=1, max_size=9).map(tuple)
EXTENSIONS = st.none() | st.lists(st.builds(Extension, SIXTEEN, SMALL), max_size=5).map(tuple)
KNOWN_TYPES = {kind.type for kind in messages.KNOWN}

MESSAGES: dict[type, SearchStrategy[Message]] = {
    HelloRequest: st.just(HelloRequest()),
    ClientHello: st.builds(ClientHello, RANDOM, SESSION_ID, NUMBERS, EXTENSIONS, SIXTEEN, FILLED),
    ServerHello: st.builds(ServerHello, RANDOM, SESSION_ID, SIXTEEN, EXTENSIONS, SIXTEEN, EIGHT),
    NewSessionTicket: st.builds(NewSessionTicket, st.integers(0, 0xFFFFFFFF), SMALL),
    Certificate: st.builds(Certificate, st.lists(FILLED, max_size=4).map(tuple)),
    ServerKeyExchange: st.builds(ServerKeyExchange, SIXTEEN, FILLED, SIXTEEN, SMALL),
    CertificateRequest: st.builds(
        CertificateRequest,
        st.lists(EIGHT, min_size=1, max_size=5).map(tuple),
        NUMBERS,
        st.lists(FILLED, max_size=3).map(tuple),
    ),
    ServerHelloDone: st.just(ServerHelloDone()),
    CertificateVerify: st.builds(CertificateVerify, SIXTEEN, SMALL),
    ClientKeyExchange: st.builds(ClientKeyExchange, SMALL),
    Finished: st.builds(Finished, SMALL),
    UnknownMessage: st.builds(UnknownMessage, EIGHT.filter(lambda kind: kind not in KNOWN_TYPES), SMALL),
}

ANY_MESSAGE = st.one_of(*MESSAGES.values())


def test_every_message_that_is_read_is_tried_here() -> None:
    assert set(MESSAGES) == {*messages.KNOWN, UnknownMessage}


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_message_is_read_back_as_it_was_written(kind: type, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[kind])
    assert parse(serialize(message)) == message


@given(st.sampled_from([*sorted(KNOWN_TYPES), 99]), st.binary(max_size=120))
def test_any_body_is_a_message_that_writes_the_same_bytes_or_a_decode_error(kind: int, body: bytes) -> None:
    raw = bytes([kind]) + len(body).to_bytes(3, "big") + body
    try:
        message = parse(raw)
    except DecodeError:
        return
    assert serialize(message) == raw


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x0e\x00\x00\x00\x00")
def test_any_bytes_are_a_message_that_writes_the_same_bytes_or_a_decode_error(raw: bytes) -> None:
    try:
        message = parse(raw)
    except DecodeError:
        return
    assert serialize(message) == raw


@given(ANY_MESSAGE, st.data())
def test_a_message_with_one_byte_changed_is_read_exactly_or_is_a_decode_error(
    message: Message, data: st.DataObject
) -> None:
    raw = bytearray(serialize(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(EIGHT)
    try:
        changed = parse(bytes(raw))
    except DecodeError:
        return
    assert serialize(changed) == bytes(raw)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data(), more=st.binary(min_size=1, max_size=3))
def test_what_follows_a_messages_last_field_is_not_passed_over(kind: type, data: st.DataObject, more: bytes) -> None:
    raw = serialize(data.draw(MESSAGES[kind]))
    longer = raw[:1] + (len(raw) - 4 + len(more)).to_bytes(3, "big") + raw[4:] + more
    try:
        message = parse(longer)
    except DecodeError:
        return
    assert serialize(message) == longer


@given(ANY_MESSAGE, st.data())
def test_a_message_that_is_cut_off_is_a_decode_error(message: Message, data: st.DataObject) -> None:
    raw = serialize(message)
    with pytest.raises(DecodeError, match="cut off"):
        parse(raw[: data.draw(st.integers(0, len(raw) - 1))])


def test_a_decode_error_names_the_message_the_field_and_the_offset() -> None:
    body = serialize(ClientHello(bytes(32), b"", (1, 2), None))[4:]
    cut = body[:37]
    with pytest.raises(DecodeError, match="ClientHello: cipher_suites at byte 37 is cut off, 4 bytes short"):
        parse(b"\x01" + len(cut).to_bytes(3, "big") + cut)


def test_bytes_after_a_message_are_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="1 bytes too many from byte 4 on"):
        parse(serialize(ServerHelloDone()) + b"\0")


@pytest.mark.parametrize("kind", [HelloRequest, ServerHelloDone], ids=lambda kind: kind.__name__)
def test_a_message_without_a_body_may_have_none(kind: type[Message]) -> None:
    with pytest.raises(DecodeError, match="too many"):
        parse(bytes([int(str(kind.type)), 0, 0, 1, 0]))


def test_a_list_of_numbers_that_does_not_come_out_even_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="supported_signature_algorithms has 3 bytes, not a multiple of 2"):
        parse(b"\x0d\x00\x00\x08" + b"\x01\x40" + b"\x00\x03abc" + b"\x00")


def test_a_session_id_has_32_bytes_at_most() -> None:
    with pytest.raises(DecodeError, match="session_id of 33 bytes"):
        parse(serialize(ServerHello(bytes(32), bytes(33), 1, None)))


def test_a_missing_extension_block_is_not_an_empty_one() -> None:
    without, empty = (serialize(ServerHello(bytes(32), b"", 1, block)) for block in (None, ()))
    assert empty == without[:3] + bytes([without[3] + 2]) + without[4:] + b"\0\0"


def test_a_key_exchange_that_is_not_on_a_named_curve_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="curve_type is 1, not named_curve"):
        parse(b"\x0c\x00\x00\x01\x01")


def test_the_point_in_a_client_key_exchange_is_the_whole_message() -> None:
    assert ClientKeyExchange.ecdhe(b"point").point() == b"point"
    with pytest.raises(DecodeError, match="too many"):
        ClientKeyExchange(b"\x01ab").point()


EMPTY = {
    "a hello's suites": serialize(ClientHello(bytes(32), b"", (), None)),
    "a hello's compression methods": serialize(ClientHello(bytes(32), b"", (1,), None, compression_methods=b"")),
    "a certificate": serialize(Certificate((b"",))),
    "a certificate after another": serialize(Certificate((b"leaf", b""))),
    "a point": serialize(ServerKeyExchange(23, b"", 0x0403, b"signature")),
    "certificate types": serialize(CertificateRequest((), (0x0403,))),
    "signature schemes": serialize(CertificateRequest((64,), ())),
    "an authority": serialize(CertificateRequest((64,), (0x0403,), (b"",))),
}


@pytest.mark.parametrize("raw", EMPTY.values(), ids=EMPTY)
def test_what_may_not_be_empty_is_a_decode_error_if_it_is(raw: bytes) -> None:
    """RFC 5246 sections 7.4.1.2, 7.4.2 and 7.4.4, RFC 8422 section 5.4: vectors with a minimum length."""
    with pytest.raises(DecodeError, match=r"has 0 bytes, [12] at least"):
        parse(raw)


# What the extensions hold.


def block_of(kind: int, data: bytes) -> tuple[Extension, ...]:
    return (Extension(kind, data),)


EMPTY_IN_EXTENSIONS: dict[str, Callable[[], object]] = {
    "signature_algorithms": lambda: ext.read_number_list(block_of(13, b"\0\0"), ext.SIGNATURE_ALGORITHMS),
    "supported_groups": lambda: ext.read_number_list(block_of(10, b"\0\0"), ext.SUPPORTED_GROUPS),
    "supported_versions": lambda: ext.read_versions(block_of(43, b"\0")),
    "ec_point_formats": lambda: ext.check(block_of(11, b"\0")),
    "a client's point": lambda: ext.read_key_shares(block_of(51, b"\0\x04\0\x1d\0\0")),
    "a server's point": lambda: ext.read_key_share(block_of(51, b"\0\x1d\0\0")),
    "the server names": lambda: ext.read_server_name(block_of(0, b"\0\0")),
    "the server name": lambda: ext.read_server_name(block_of(0, b"\0\x04\0\0\0\0")),
}


@pytest.mark.parametrize("read", EMPTY_IN_EXTENSIONS.values(), ids=EMPTY_IN_EXTENSIONS)
def test_what_may_not_be_empty_in_an_extension_is_a_decode_error_if_it_is(read: Callable[[], object]) -> None:
    with pytest.raises(DecodeError, match=r"has 0 bytes, [124] at least"):
        read()


@given(NUMBERS)
def test_a_list_in_an_extension_is_read_back(values: tuple[int, ...]) -> None:
    block = (ext.number_list(ext.SUPPORTED_GROUPS, values),)
    assert ext.read_number_list(block, ext.SUPPORTED_GROUPS) == values


def test_what_follows_a_list_in_an_extension_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="1 bytes too many"):
        ext.read_number_list(block_of(10, b"\0\x02\0\x1d\0"), ext.SUPPORTED_GROUPS)


def test_hellos_offer_and_choose_no_compression_unless_told_to() -> None:
    """RFC 5246 section 6.2.2."""
    assert serialize(ServerHello(bytes(32), b"", 0xC02B, None))[-3:] == b"\xc0\x2b\0"
    assert serialize(ClientHello(bytes(32), b"", (0xC02B,), None))[-4:] == b"\xc0\x2b\x01\0"


def test_a_message_that_is_not_known_here_is_called_by_its_number() -> None:
    assert parse(b"\xfe\0\0\x01?").name == "handshake message 254"


@pytest.mark.parametrize("read", [ClientKeyExchange.encrypted_premaster, ClientKeyExchange.point])
def test_nothing_follows_the_one_field_of_a_key_exchange(read: Callable[[ClientKeyExchange], bytes]) -> None:
    right = {True: ClientKeyExchange.rsa(b"secret"), False: ClientKeyExchange.ecdhe(b"secret")}
    message = right[read == ClientKeyExchange.encrypted_premaster]
    assert read(message) == b"secret"
    with pytest.raises(DecodeError, match="1 bytes too many"):
        read(ClientKeyExchange(message.exchange_keys + b"?"))


def test_the_shortest_names_are_read() -> None:
    assert ext.read_protocols(block_of(16, b"\0\x02\x01a")) == (b"a",)
    assert ext.read_server_name(block_of(0, b"\0\x04\0\0\x01a")) == "a"


def test_a_server_name_is_read_back_in_its_wire_form() -> None:
    assert ext.read_server_name((ext.server_name("bücher.example"),)) == "xn--bcher-kva.example"


def test_names_of_other_types_than_a_host_are_passed_over() -> None:
    other = wire.number(7, 1) + wire.vector(b"other", 2)
    host = wire.number(0, 1) + wire.vector(b"bank.example", 2)
    assert ext.read_server_name((Extension(ext.SERVER_NAME, wire.vector(other + host, 2)),)) == "bank.example"
    assert ext.read_server_name((Extension(ext.SERVER_NAME, wire.vector(other, 2)),)) is None


@pytest.mark.parametrize(
    ("octet", "printable"), [(0x20, False), (0x21, True), (0x7E, True), (0x7F, False), (0x80, False)]
)
def test_a_host_name_has_printable_characters_alone(octet: int, printable: bool) -> None:
    name = bytes((octet,)) + b".example"
    block = (Extension(ext.SERVER_NAME, wire.vector(wire.number(0, 1) + wire.vector(name, 2), 2)),)
    if printable:
        assert ext.read_server_name(block) == name.decode()
        return
    with pytest.raises(Abort, match="is not printable ASCII") as caught:
        ext.read_server_name(block)
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


def test_versions_are_read_from_either_hello() -> None:
    assert ext.read_versions((Extension(ext.SUPPORTED_VERSIONS, b"\x04\x03\x04\x03\x03"),)) == (0x0304, 0x0303)
    assert ext.selected_version((Extension(ext.SUPPORTED_VERSIONS, b"\x03\x04"),)) == 0x0304
    assert ext.read_versions(()) is None
    assert ext.selected_version(None) is None


READERS: list[Callable[[tuple[Extension, ...]], object]] = [
    ext.read_server_name,
    ext.read_versions,
    ext.selected_version,
    ext.check,
    lambda block: ext.read_number_list(block, ext.SUPPORTED_GROUPS),
]


@pytest.mark.parametrize("reader", READERS)
@given(data=SMALL)
def test_any_content_of_an_extension_is_read_or_refused(
    reader: Callable[[tuple[Extension, ...]], object], data: bytes
) -> None:
    kinds = (ext.SERVER_NAME, ext.SUPPORTED_VERSIONS, ext.SUPPORTED_GROUPS, ext.EC_POINT_FORMATS)
    with contextlib.suppress(Abort):
        reader(tuple(Extension(kind, data) for kind in kinds))


def test_an_extension_that_stands_there_twice_is_a_decode_error() -> None:
    twice = (ext.extended_master_secret(), ext.extended_master_secret())
    with pytest.raises(DecodeError, match="extension 23 occurs 2 times"):
        ext.find(twice, ext.EXTENDED_MASTER_SECRET)


# Alerts.


@given(st.integers(1, 2), EIGHT)
def test_an_alert_is_read_back_as_it_was_written(level: int, description: int) -> None:
    assert parse_alert(Alert(level, description).serialize()) == Alert(level, description)


@given(st.binary(max_size=4))
def test_any_bytes_are_an_alert_that_writes_the_same_bytes_or_a_decode_error(raw: bytes) -> None:
    try:
        alert = parse_alert(raw)
    except DecodeError:
        return
    assert alert.serialize() == raw


def test_alerts_have_the_names_of_the_rfcs() -> None:
    assert alert_name(51) == "decrypt_error"
    assert alert_name(10) == "unexpected_message"
    assert alert_name(200) == "alert 200"


@pytest.mark.parametrize(
    ("alert", "ends"),
    [
        (Alert(1, AlertDescription.CLOSE_NOTIFY), True),
        (Alert(1, AlertDescription.USER_CANCELED), False),
        (Alert(1, AlertDescription.NO_RENEGOTIATION), False),
        (Alert(2, AlertDescription.NO_RENEGOTIATION), True),
        (Alert(2, AlertDescription.HANDSHAKE_FAILURE), True),
    ],
    ids=lambda value: str(value),
)
def test_fatal_alerts_and_close_notify_end_a_connection(alert: Alert, ends: bool) -> None:
    assert alert.ends_connection is ends


@pytest.mark.parametrize(("version", "name"), [(TLS12, "1.2"), (TLS13, "1.3")])
def test_a_version_has_a_name_that_leads_back_to_it(version: Version, name: str) -> None:
    assert (str(version), find_version(name), version_name(version)) == (name, version, name)
    assert f"{version:04x}" == f"03{version & 0xFF:02x}"


def test_no_other_name_leads_to_a_version() -> None:
    assert [find_version(name) for name in ("1.1", "1.4", "TLS 1.2", "")] == [None] * 4
    assert [versions_named(names) for names in (None, ["1.3"], ["1.3", "1.2", "9"])] == [
        (TLS12, TLS13),
        (TLS13,),
        (TLS13, TLS12),
    ]


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0x0301, "1.0"),
        (0x0302, "1.1"),
        (0x0300, "SSL 3.0"),
        (0x7F1C, "1.3 draft 28"),
        (0x7FFF, "1.3 draft 255"),
        (0x8000, "0x8000"),
        (0xFEFF, "DTLS 1.0"),
        (0xFEFD, "DTLS 1.2"),
        (0xFEFC, "DTLS 1.3"),
        (0x0305, "0x0305"),
        (None, "unknown"),
    ],
)
def test_versions_that_are_not_ours_are_named_too(number: int | None, name: str) -> None:
    assert version_name(number) == name


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("1.2", "TLS 1.2"), ("1.3 draft 28", "TLS 1.3 draft 28"), ("DTLS 1.2", "DTLS 1.2"), ("SSL 3.0", "SSL 3.0")],
)
def test_a_version_is_told_with_its_protocol(name: str, protocol: str) -> None:
    assert protocol_name(name) == protocol


def test_all_that_encrypts_certificates_is_tls_13() -> None:
    numbers = (None, 0x0300, 0x0303, 0x0304, 0x7F12, 0x7F17, 0x7F1C, 0xFEFD, 0xFEFC)
    assert [is_tls13(number) for number in numbers] == [False, False, False, True, True, True, True, False, True]


def test_a_proof_names_its_scheme_since_tls_12() -> None:
    """RFC 5246 section 4.7; DTLS 1.2 is made of TLS 1.2 (RFC 6347 section 1)."""
    numbers = (0x0302, 0x0303, 0x0304, 0x0305, 0xFEFF, 0xFEFD)
    assert [names_scheme(number) for number in numbers] == [False, True, True, False, False, True]


def test_an_entry_of_a_list_may_have_one_byte_and_not_none() -> None:
    assert wire.Reader(b"\0\4\1a\1b", "names").vectors(2, 1, "list") == (b"a", b"b")
    with pytest.raises(DecodeError):
        wire.Reader(b"\0\3\1a\0", "names").vectors(2, 1, "list")
