"""Records: framing, the joining of handshake messages, and protection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.tls import records
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort, DecodeError
from lab.tls.keys import CIPHER_SUITES, DEFAULT_SUITES, CipherSuite, TrafficKey
from lab.tls.messages import Certificate, ServerHelloDone, serialize
from lab.tls.records import (
    ContentType,
    MessageJoiner,
    Protection,
    Protection12,
    Protection13,
    Record,
    RecordReader,
    write_record,
)
from lab.tls.versions import TLS12, TLS13
from tls_peers import pieces

HANDSHAKE, DATA = ContentType.HANDSHAKE, ContentType.APPLICATION_DATA
FRAGMENTS = st.lists(st.tuples(st.sampled_from(list(ContentType)), st.binary(max_size=60)), max_size=6)


def both_ends(suite: CipherSuite) -> tuple[Protection, Protection]:
    """A writer and its reader."""
    key = TrafficKey(bytes(range(suite.key_length)), bytes(range(suite.salt_length)))
    protection = Protection12 if suite.version == TLS12 else Protection13
    return protection(suite, key), protection(suite, key)


def refused(data: bytes) -> Abort:
    with pytest.raises(Abort) as caught:
        list(RecordReader().feed(data))
    return caught.value


@given(FRAGMENTS, st.integers(1, 80))
def test_records_are_read_back_however_the_bytes_come(content: list[tuple[ContentType, bytes]], cut: int) -> None:
    reader = RecordReader()
    stream = b"".join(write_record(kind, fragment) for kind, fragment in content)
    found = [record for piece in pieces(stream, cut) for record in reader.feed(piece)]
    assert [(record.type, record.fragment) for record in found] == content


def test_a_record_may_have_any_minor_version() -> None:
    """RFC 5246 appendix E.1: a ClientHello comes in records of version {3, XX}."""
    (record,) = RecordReader().feed(write_record(HANDSHAKE, b"hello", 0x0301))
    assert record.version == 0x0301


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\x16\x02\x00\x00\x01a", b"\x00" * 5, b"\x18\x03\x03\0\0"])
def test_what_is_no_tls_is_an_unexpected_message(garbage: bytes) -> None:
    assert refused(garbage).alert == AlertDescription.UNEXPECTED_MESSAGE


def test_a_record_longer_than_any_protected_one_overflows_before_it_has_come() -> None:
    header = bytes((DATA, 3, 3)) + (records.MAX_PROTECTED + 1).to_bytes(2, "big")
    assert refused(header).alert == AlertDescription.RECORD_OVERFLOW


def test_the_longest_records_are_those_of_the_rfcs() -> None:
    """RFC 5246 sections 6.2.1 and 6.2.3, RFC 8446 section 5.2."""
    assert (records.MAX_PLAINTEXT, records.MAX_PROTECTED, records.MAX_PROTECTED_13) == (16384, 18432, 16640)
    longest = write_record(DATA, bytes(18432))
    assert [len(record.fragment) for record in RecordReader().feed(longest)] == [18432]


def test_the_longest_message_is_read() -> None:
    message = bytes((11,)) + records.MAX_MESSAGE.to_bytes(3, "big") + bytes(records.MAX_MESSAGE)
    assert list(MessageJoiner().feed(message)) == [message]


def test_what_there_is_of_a_record_is_told_once_its_header_has_come() -> None:
    reader = RecordReader()
    record = write_record(HANDSHAKE, b"hello", 0x0301)
    for octet in record[:4]:
        assert not list(reader.feed(bytes((octet,))))
        assert reader.incomplete is None
    assert not list(reader.feed(record[4:5]))
    assert reader.incomplete == Record(HANDSHAKE, 0x0301, b"")
    assert not list(reader.feed(record[5:8]))
    assert reader.incomplete == Record(HANDSHAKE, 0x0301, b"hel")
    assert list(reader.feed(record[8:])) == [Record(HANDSHAKE, 0x0301, b"hello")]
    assert reader.incomplete is None


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_are_refused(data: bytes) -> None:
    reader = RecordReader()
    try:
        found = list(reader.feed(data))
    except Abort:
        return
    framed = b"".join(write_record(record.type, record.fragment, record.version) for record in found)
    assert data.startswith(framed)


def test_long_content_is_cut_into_full_records() -> None:
    content = bytes(2 * records.MAX_PLAINTEXT + 1)
    assert [len(fragment) for fragment in records.fragments(content)] == [1 << 14, 1 << 14, 1]


@given(st.lists(st.binary(max_size=50), max_size=5), st.integers(1, 60))
def test_handshake_messages_are_joined_however_they_are_cut(certificates: list[bytes], cut: int) -> None:
    wanted = [serialize(Certificate((certificate,))) for certificate in certificates] + [serialize(ServerHelloDone())]
    joiner = MessageJoiner()
    assert [raw for piece in pieces(b"".join(wanted), cut) for raw in joiner.feed(piece)] == wanted
    assert not joiner.pending


def test_a_message_that_has_begun_is_pending() -> None:
    joiner = MessageJoiner()
    assert joiner.begun is None
    assert list(joiner.feed(serialize(ServerHelloDone()) + b"\x0b")) == [serialize(ServerHelloDone())]
    assert joiner.pending
    assert joiner.begun == 11
    assert list(joiner.feed(b"\0\0\0")) == [b"\x0b\0\0\0"]
    assert joiner.begun is None


def test_a_huge_message_is_refused_by_its_header() -> None:
    header = bytes((11,)) + (records.MAX_MESSAGE + 1).to_bytes(3, "big")
    with pytest.raises(DecodeError, match=f"{records.MAX_MESSAGE} at most"):
        list(MessageJoiner().feed(header))


@pytest.mark.parametrize("suite", DEFAULT_SUITES, ids=lambda suite: suite.name)
@given(plaintexts=st.lists(st.binary(max_size=40), min_size=1, max_size=4))
def test_protected_records_are_opened_in_their_order(suite: CipherSuite, plaintexts: list[bytes]) -> None:
    writer, reader = both_ends(suite)
    assert [reader.open(DATA, writer.seal(DATA, plaintext)[1]) for plaintext in plaintexts] == [
        (DATA, plaintext) for plaintext in plaintexts
    ]


@pytest.mark.parametrize("suite", DEFAULT_SUITES, ids=lambda suite: suite.name)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_protected_record_with_any_bit_changed_has_a_bad_mac(suite: CipherSuite, at: int, bit: int) -> None:
    writer, reader = both_ends(suite)
    sealed = bytearray(writer.seal(DATA, b"pay mallory 100")[1])
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(Abort) as caught:
        reader.open(DATA, bytes(sealed))
    assert caught.value.alert == AlertDescription.BAD_RECORD_MAC


@pytest.mark.parametrize("suite", CIPHER_SUITES, ids=lambda suite: suite.name)
def test_a_protected_record_of_another_type_has_a_bad_mac(suite: CipherSuite) -> None:
    writer, reader = both_ends(suite)
    with pytest.raises(Abort) as caught:
        reader.open(HANDSHAKE, writer.seal(DATA, b"data")[1])
    assert caught.value.alert == AlertDescription.BAD_RECORD_MAC


@pytest.mark.parametrize("suite", DEFAULT_SUITES, ids=lambda suite: suite.name)
def test_a_protected_record_that_comes_again_has_a_bad_mac(suite: CipherSuite) -> None:
    writer, reader = both_ends(suite)
    _, sealed = writer.seal(DATA, b"data")
    reader.open(DATA, sealed)
    with pytest.raises(Abort) as caught:
        reader.open(DATA, sealed)
    assert caught.value.alert == AlertDescription.BAD_RECORD_MAC


@pytest.mark.parametrize("suite", DEFAULT_SUITES, ids=lambda suite: suite.name)
def test_a_protected_record_too_short_for_its_tag_has_a_bad_mac(suite: CipherSuite) -> None:
    _, reader = both_ends(suite)
    with pytest.raises(Abort) as caught:
        reader.open(DATA, bytes(15))
    assert caught.value.alert == AlertDescription.BAD_RECORD_MAC


@pytest.mark.parametrize(
    "suite", [suite for suite in DEFAULT_SUITES if suite.version == TLS13], ids=lambda suite: suite.name
)
@pytest.mark.parametrize(
    ("more", "alert"), [(0, AlertDescription.BAD_RECORD_MAC), (1, AlertDescription.RECORD_OVERFLOW)]
)
def test_a_protected_record_has_256_bytes_more_than_plaintext_at_most(
    suite: CipherSuite, more: int, alert: AlertDescription
) -> None:
    """RFC 8446 section 5.2. Up to there it is opened, and only then refused."""
    _, reader = both_ends(suite)
    with pytest.raises(Abort) as caught:
        reader.open(DATA, bytes(records.MAX_PLAINTEXT + 256 + more))
    assert caught.value.alert == alert


@pytest.mark.parametrize("suite", DEFAULT_SUITES, ids=lambda suite: suite.name)
def test_a_protected_record_with_too_much_plaintext_overflows(suite: CipherSuite) -> None:
    writer, reader = both_ends(suite)
    assert reader.open(DATA, writer.seal(DATA, bytes(records.MAX_PLAINTEXT))[1])
    with pytest.raises(Abort) as caught:
        reader.open(DATA, writer.seal(DATA, bytes(records.MAX_PLAINTEXT + 1))[1])
    assert caught.value.alert == AlertDescription.RECORD_OVERFLOW


@pytest.mark.parametrize("suite", CIPHER_SUITES, ids=lambda suite: suite.name)
def test_a_protected_record_carries_its_tag_and_the_nonce_that_its_suite_shows(suite: CipherSuite) -> None:
    """RFC 5288 section 3: 8 bytes of nonce with AES-GCM; RFC 7905 section 2: none with ChaCha20-Poly1305."""
    writer, _ = both_ends(suite)
    shown = 0 if "CHACHA20" in suite.name else 8
    assert len(writer.seal(DATA, b"data")[1]) == shown + len(b"data") + 16
