"""TLS 1.3's own messages: parse and serialize are each other's inverse, whatever the bytes."""

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from lab.tls import extensions as ext
from lab.tls import messages, messages13
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort, DecodeError
from lab.tls.extensions import Extension
from lab.tls.messages import CertificateVerify, ClientHello, Finished, Message, ServerHello, UnknownMessage, serialize
from lab.tls.messages13 import (
    KNOWN13,
    RETRY_RANDOM,
    Certificate13,
    CertificateEntry,
    CertificateRequest13,
    CompressedCertificate,
    EncryptedExtensions,
    KeyUpdate,
    NewSessionTicket13,
    is_retry,
)
from lab.tls.versions import TLS12, TLS13

SIXTEEN, THIRTY_TWO = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
SMALL, FILLED = st.binary(max_size=40), st.binary(min_size=1, max_size=40)
RANDOM = st.binary(min_size=32, max_size=32)
BLOCK = st.lists(st.builds(Extension, SIXTEEN, SMALL), max_size=5).map(tuple)
NUMBERS = st.lists(SIXTEEN, min_size=1, max_size=9).map(tuple)
KNOWN_TYPES = {kind.type for kind in KNOWN13}

MESSAGES: dict[type, SearchStrategy[Message]] = {
    ClientHello: st.builds(ClientHello, RANDOM, st.binary(max_size=32), NUMBERS, BLOCK),
    ServerHello: st.builds(ServerHello, RANDOM, st.binary(max_size=32), SIXTEEN, BLOCK),
    NewSessionTicket13: st.builds(NewSessionTicket13, THIRTY_TWO, THIRTY_TWO, SMALL, FILLED, BLOCK),
    EncryptedExtensions: st.builds(EncryptedExtensions, BLOCK),
    Certificate13: st.builds(
        Certificate13, st.lists(st.builds(CertificateEntry, FILLED, BLOCK), max_size=3).map(tuple), SMALL
    ),
    CompressedCertificate: st.builds(CompressedCertificate, SIXTEEN, st.integers(0, 0xFFFFFF), FILLED),
    CertificateRequest13: st.builds(CertificateRequest13, BLOCK.filter(bool), SMALL),
    CertificateVerify: st.builds(CertificateVerify, SIXTEEN, SMALL),
    Finished: st.builds(Finished, SMALL),
    KeyUpdate: st.builds(KeyUpdate, st.booleans()),
    UnknownMessage: st.builds(UnknownMessage, st.integers(0, 255).filter(lambda kind: kind not in KNOWN_TYPES), SMALL),
}
ANY_MESSAGE = st.one_of(*MESSAGES.values())


def parse(raw: bytes) -> Message:
    return messages13.parse(raw, TLS13)


def test_every_message_that_is_read_is_tried_here() -> None:
    assert set(MESSAGES) == {*KNOWN13, UnknownMessage}


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_message_is_read_back_as_it_was_written(kind: type, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[kind])
    assert parse(serialize(message)) == message


@given(st.sampled_from([*sorted(KNOWN_TYPES), 99]), st.binary(max_size=120))
def test_any_body_is_a_message_that_writes_the_same_bytes_or_is_refused(kind: int, body: bytes) -> None:
    raw = bytes([kind]) + len(body).to_bytes(3, "big") + body
    try:
        message = parse(raw)
    except Abort:
        return
    assert serialize(message) == raw


@given(ANY_MESSAGE, st.data())
def test_a_message_with_one_byte_changed_is_read_exactly_or_is_refused(message: Message, data: st.DataObject) -> None:
    raw = bytearray(serialize(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = parse(bytes(raw))
    except Abort:
        return
    assert serialize(changed) == bytes(raw)


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
@given(data=st.data(), more=st.binary(min_size=1, max_size=3))
def test_what_follows_a_messages_last_field_is_not_passed_over(kind: type, data: st.DataObject, more: bytes) -> None:
    raw = serialize(data.draw(MESSAGES[kind]))
    longer = raw[:1] + (len(raw) - 4 + len(more)).to_bytes(3, "big") + raw[4:] + more
    try:
        message = parse(longer)
    except Abort:
        return
    assert serialize(message) == longer


@given(ANY_MESSAGE, st.data())
def test_a_message_that_is_cut_off_is_a_decode_error(message: Message, data: st.DataObject) -> None:
    raw = serialize(message)
    with pytest.raises(DecodeError, match="cut off"):
        parse(raw[: data.draw(st.integers(0, len(raw) - 1))])


def test_what_a_message_is_depends_on_the_version() -> None:
    ticket = NewSessionTicket13(7200, 1, b"nonce", b"ticket")
    assert parse(serialize(ticket)) == ticket
    done = messages.ServerHelloDone()
    assert messages13.parse(serialize(done), TLS12) == done
    assert parse(serialize(done)) == UnknownMessage(14, b"")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x08\0\0\0", "the extensions are missing"),
        (b"\x0d\0\0\x01\0", "the extensions are missing"),
        (b"\x0d\0\0\x03\0\0\0", "the extensions are empty"),
        (b"\x0b\0\0\x09\0\0\0\x05\0\0\0\0\0", "cert_data of entry 1 has 0 bytes, 1 at least"),
        (b"\x0b\0\0\x08\0\0\0\x04\0\0\x01a", "Certificate: extensions's length at byte 4 is cut off"),
        (b"\x04\0\0\x0d" + bytes(13), "ticket has 0 bytes, 1 at least"),
        (b"\x18\0\0\x02\0\0", "1 bytes too many"),
    ],
)
def test_a_decode_error_says_what_is_wrong(raw: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        parse(raw)


def test_a_compressed_certificate_is_read_if_it_is_zlib() -> None:
    """RFC 8879 section 4."""
    plain = Certificate13.of((b"leaf", b"issuer"))
    body = plain.body()
    sent = CompressedCertificate(1, len(body), zlib.compress(body))
    assert sent.certificate() == plain
    assert replace(sent, algorithm=2).certificate() is None
    for wrong in (replace(sent, compressed=b"?"), *(replace(sent, uncompressed_length=len(body) + d) for d in (-1, 1))):
        with pytest.raises(Abort) as caught:
            wrong.certificate()
        assert caught.value.alert == AlertDescription.BAD_CERTIFICATE
    with pytest.raises(Abort, match="CompressedCertificate: Error -3"):
        replace(sent, compressed=b"?" * 20).certificate()


def test_a_key_update_asks_for_nothing_but_keys() -> None:
    """RFC 8446 section 4.6.3."""
    with pytest.raises(Abort) as caught:
        parse(b"\x18\0\0\x01\x02")
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


def test_a_retry_is_told_by_its_random() -> None:
    assert RETRY_RANDOM.hex() == "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
    assert is_retry(ServerHello(RETRY_RANDOM, b"", 0x1301, ()))
    assert not is_retry(ServerHello(bytes(32), b"", 0x1301, ()))


def test_a_request_says_what_it_asks_for_in_extensions() -> None:
    request = CertificateRequest13.of((0x0403, 0x0804), (b"one", b"two"))
    assert request.signature_schemes == (0x0403, 0x0804)
    assert ext.find(request.extensions, ext.CERTIFICATE_AUTHORITIES) == b"\0\x0a\0\x03one\0\x03two"
    assert CertificateRequest13(()).signature_schemes == ()


@given(st.lists(st.tuples(SIXTEEN, FILLED), max_size=4, unique_by=lambda share: share[0]))
def test_key_shares_are_read_back(shares: list[tuple[int, bytes]]) -> None:
    assert ext.read_key_shares((ext.key_shares(shares),)) == dict(shares)
    for group, point in shares:
        assert ext.read_key_share((ext.key_share(group, point),)) == (group, point)
        assert ext.read_retry_group((ext.retry_group(group),)) == group


def test_a_group_has_one_share() -> None:
    """RFC 8446 section 4.2.8."""
    with pytest.raises(Abort, match="two key shares of group 29") as caught:
        ext.read_key_shares((ext.key_shares([(29, b"a"), (30, b"b"), (29, b"c")]),))
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


def test_the_only_mode_of_a_psk_is_with_a_key_exchange() -> None:
    """psk_dhe_ke is 1 (RFC 8446 section 4.2.9)."""
    assert ext.psk_modes() == Extension(45, b"\x01\x01")


def test_an_identity_may_have_one_byte() -> None:
    psk = ext.OfferedPsk(b"a", 7, bytes(32))
    assert ext.read_pre_shared_key((ext.pre_shared_key(psk),)) == psk


@pytest.mark.parametrize(
    ("reader", "right"),
    [
        (ext.read_key_share, ext.key_share(29, b"point")),
        (ext.read_key_shares, ext.key_shares([(29, b"point")])),
        (ext.read_retry_group, ext.retry_group(29)),
        (ext.read_versions, ext.versions((TLS13,))),
        (ext.selected_version, ext.chosen_version(TLS13)),
    ],
)
def test_what_follows_in_an_extension_is_a_decode_error(
    reader: Callable[[tuple[Extension, ...]], object], right: Extension
) -> None:
    assert reader((right,))
    with pytest.raises(DecodeError, match="1 bytes too many"):
        reader((Extension(right.type, right.data + b"\0"),))


READERS: list[Callable[[tuple[Extension, ...]], object]] = [
    ext.read_key_share,
    ext.read_key_shares,
    ext.read_retry_group,
    ext.read_versions,
    ext.selected_version,
    lambda block: CertificateRequest13(block).signature_schemes,
]


@pytest.mark.parametrize("reader", READERS)
@given(data=SMALL)
def test_any_content_of_an_extension_is_read_or_refused(
    reader: Callable[[tuple[Extension, ...]], object], data: bytes
) -> None:
    kinds = (ext.KEY_SHARE, ext.SUPPORTED_VERSIONS, ext.SIGNATURE_ALGORITHMS, ext.CERTIFICATE_AUTHORITIES)
    with contextlib.suppress(Abort):
        reader(tuple(Extension(kind, data) for kind in kinds))
