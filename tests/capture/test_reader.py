"""Whatever a capture looks like, the client's certificate and its proof are read from it, or the reason why not."""

import random
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP

import wirecraft
from attacker.errors import AttackerError
from attacker.position.sniffer import Sniffer
from lab.capture import packets
from lab.capture import tracker as capture_module
from lab.capture.fragments import Fragments
from lab.capture.handshake import (
    BEGAN_EARLIER,
    GARBLED_PROOF,
    MISSING,
    NO_PROOF,
    NO_PROOF_YET,
    NO_SERVER,
    OLD_PROOF,
    Capture,
    Contact,
)
from lab.capture.packets import ACK, FIN, RST, SYN, Segment
from lab.capture.pcap import Passed, read_packets
from lab.capture.reader import Reading, Tracker, read_file, scan_file
from lab.catalogue import plan
from lab.staging import pki
from lab.tls import proof
from lab.tls.extensions import PRE_SHARED_KEY, SERVER_NAME, Extension
from lab.tls.messages import CertificateVerify, ClientHello, parse, serialize
from lab.tls.records import ContentType, MessageJoiner, RecordReader, write_record
from lab.tls.versions import TLS13
from programs import tshark
from wirecraft import ETHERNET, LINKS, MSS, RAW_IP, Flight, Link, alice_to_bank

BANK = "10.9.0.4:8443"


@dataclass(frozen=True)
class Login:
    """A login as it went over the wire, and what is to be read from it."""

    flights: Sequence[Flight]
    certificate: bytes

    def segments(self, size: int = MSS) -> list[Segment]:
        return alice_to_bank(self.flights, size=size)

    def flight(self, number: int) -> bytes:
        return self.flights[number].data


def login(
    authority: pki.Identity, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, asks: bool = True, presents: bool = True
) -> Login:
    who = wirecraft.parties(authority, version=version, asks=asks, presents=presents)
    return Login(wirecraft.handshake(who)[0], who.certificate)


@pytest.fixture(scope="module")
def alice(authority: pki.Identity) -> Login:
    """TLS 1.2, with a client certificate."""
    return login(authority)


@pytest.fixture(scope="module")
def resumed(authority: pki.Identity) -> Login:
    who = wirecraft.parties(authority)
    session = wirecraft.handshake(who)[1]
    return Login(wirecraft.handshake(who, session=session)[0], who.certificate)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wire.pcap"


def see(segments: Iterable[Segment]) -> list[Capture]:
    """What a tracker tells, all at the same time of day."""
    tracker = Tracker()
    found = [one for segment in segments for one in tracker.feed(7, segment)]
    return [one for one in found + tracker.finish() if isinstance(one, Capture)]


def only(captures: Sequence[Capture]) -> Capture:
    assert len(captures) == 1
    return captures[0]


def told_at(segments: Sequence[Segment]) -> int | None:
    """The number of the segment with which the first capture is told, before the end of everything is known."""
    tracker = Tracker()
    return next((number for number, segment in enumerate(segments) if tracker.feed(7, segment)), None)


def problem(path: Path, segments: Sequence[Segment]) -> str:
    """Why there is nothing, without the file's name in front."""
    return reason(path, read_file(wirecraft.write(path, segments)))


def reason(path: Path, reading: Reading) -> str:
    assert reading.captures == ()
    if not reading.problem:
        assert "\n" not in reading.reason
        return reading.reason
    name, _, text = str(reading.problem).partition(": ")
    assert name == str(path)
    assert "\n" not in text
    return text


def assert_proves(found: Capture, certificate: bytes) -> None:
    """The certificate is the one, and its proof is right over the messages that were captured."""
    assert found.chain[0] == certificate
    assert found.certificate_verify
    client = [entry.raw for entry in found.messages if entry.sender == "client"]
    server = [entry.raw for entry in found.messages if entry.sender == "server"]
    hello, presented, exchange, verify = client
    assert verify == serialize(found.certificate_verify)
    key = x509.load_der_x509_certificate(certificate).public_key()
    content = b"".join([hello, *server, presented, exchange])
    proof.check_signature(key, found.certificate_verify.scheme, content, found.certificate_verify.signature)  # type: ignore[arg-type]


def on_ethernet(segments: Iterable[Segment]) -> list[bytes]:
    return [ETHERNET.wrap(wirecraft.packet(segment)) for segment in segments]


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def change(
    flight: Flight, edit: Callable[[list[bytes]], list[bytes]], *, size: int = 1 << 14, then: bytes | None = None
) -> Flight:
    """A flight with other handshake messages in plaintext, in records of at most `size` bytes.

    `then` takes the place of what follows them, beginning with ChangeCipherSpec.
    """
    joiner = MessageJoiner()
    messages: list[bytes] = []
    rest = flight.data
    for record in RecordReader().feed(flight.data):
        if record.type != ContentType.HANDSHAKE:
            break
        messages += joiner.feed(record.fragment)
        rest = rest[5 + len(record.fragment) :]
    content = b"".join(edit(messages))
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    records = b"".join(write_record(ContentType.HANDSHAKE, piece) for piece in pieces)
    return Flight(flight.from_client, records + (rest if then is None else then))


def reframed(flight: Flight, size: int = 1 << 14) -> Flight:
    return change(flight, lambda messages: messages, size=size)


def without_proof(alice: Login) -> list[Segment]:
    """Alice's login, with a segment missing that has a part of her CertificateVerify."""
    verify = only(see(alice.segments())).certificate_verify
    assert verify
    lost = 1_001 + len(alice.flight(0)) + alice.flight(2).index(verify.signature)
    return [segment for segment in alice.segments(10) if not holds(segment, lost)]


def holds(segment: Segment, sequence: int) -> bool:
    """Whether a client's segment holds the byte with this number."""
    return segment.source.port == 50123 and 0 <= sequence - segment.sequence < len(segment.payload)


def test_a_login_gives_the_certificate_and_its_proof(alice: Login) -> None:
    found = only(see(alice.segments()))
    assert_proves(found, alice.certificate)
    assert (found.client, found.server, found.server_name) == ("10.9.0.2:50123", BANK, "bank.example")
    assert (found.version, found.time_ns, found.note) == (0x0303, 7, "")


@pytest.mark.parametrize("key_type", plan.KEY_TYPES)
def test_every_type_of_key_is_read(authority: pki.Identity, key_type: plan.KeyType) -> None:
    who = wirecraft.parties(authority, key_type=key_type)
    assert_proves(only(see(alice_to_bank(wirecraft.handshake(who)[0]))), who.certificate)


def test_the_randoms_are_those_of_the_hellos(alice: Login) -> None:
    found = only(see(alice.segments()))
    assert found.client_random == alice.flight(0)[11:43]
    assert found.server_random == alice.flight(1)[11:43]


def test_the_clients_bytes_end_with_its_finished(alice: Login) -> None:
    found = only(see(alice_to_bank([*alice.flights[:2], Flight(True, alice.flight(2) + alice.flight(4))])))
    assert found.client_bytes == alice.flight(0) + alice.flight(2)


def test_the_record_header_is_that_of_the_certificate(alice: Login) -> None:
    assert only(see(alice.segments())).record_header == alice.flight(2)[:5]


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_every_link_layer_gives_the_same(alice: Login, path: Path, link: Link, family: str) -> None:
    ends = ("10.9.0.2", "10.9.0.4") if family == "IPv4" else ("fd00::2", "fd00::4")
    segments = alice_to_bank(alice.flights, client=(ends[0], 50123), server=(ends[1], 8443))
    reading = read_file(wirecraft.write(path, segments, link))
    assert reading.problem is None
    assert_proves(only(reading.captures), alice.certificate)


FORMATS: dict[str, Callable[[Iterable[bytes]], bytes]] = {
    "pcap": wirecraft.pcap,
    "pcap, big-endian": lambda packets: wirecraft.pcap(packets, order=">"),
    "pcap, nanoseconds": lambda packets: wirecraft.pcap(packets, nanoseconds=True),
    "pcapng": wirecraft.pcapng,
    "pcapng, big-endian": lambda packets: wirecraft.pcapng(packets, order=">"),
    "pcapng, milliseconds": lambda packets: wirecraft.pcapng(packets, resolution=3),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_file_format_gives_the_same(alice: Login, path: Path, form: str) -> None:
    path.write_bytes(FORMATS[form](on_ethernet(alice.segments())))
    found = only(read_file(path).captures)
    assert_proves(found, alice.certificate)
    assert found.time_ns == wirecraft.NOON_NS


@pytest.mark.parametrize("link", [LINKS[3], LINKS[5], LINKS[6], RAW_IP], ids=lambda link: link.name)
def test_tshark_reads_the_same_certificate_and_proof(alice: Login, path: Path, link: Link) -> None:
    found = only(read_file(wirecraft.write(path, alice.segments(), link)).captures)
    fields = ("tls.handshake.certificate", "tls.handshake.client_cert_vrfy.sig", "tls.handshake.sig")
    options = ("-Y", "tls.handshake.type == 15", "-T", "fields", *[word for field in fields for word in ("-e", field)])
    (seen,) = tshark(path, *options)
    assert found.certificate_verify
    assert found.chain[0].hex() in seen
    assert found.certificate_verify.signature.hex() in seen


@pytest.mark.parametrize("size", [1, 2, 5, 100, 9000, 1 << 16])
def test_segments_of_every_size_give_the_same(alice: Login, size: int) -> None:
    assert see(alice.segments(size)) == see(alice.segments())


def test_segments_out_of_order_give_the_same(alice: Login) -> None:
    opening, answer, *data = alice.segments(7)
    assert see([opening, answer, *data[-3::-1], *data[-2:]]) == see(alice.segments())


def test_retransmitted_segments_give_the_same(alice: Login) -> None:
    assert see(segment for segment in alice.segments(300) for _ in range(3)) == see(alice.segments())


def test_a_whole_connection_seen_again_gives_nothing_more(alice: Login) -> None:
    assert see(alice.segments() * 2) == see(alice.segments())


@given(st.integers(0, 1 << 32), st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
def test_any_cut_order_and_repetition_gives_the_same(alice: Login, seed: int, client: int, server: int) -> None:
    chance = random.Random(seed)
    longest = chance.choice([3, 30, 300, 3000])
    pieces = []
    for flight in alice.flights:
        at = 0
        while at < len(flight.data):
            end = at + chance.randint(1, longest)
            pieces.append(Flight(flight.from_client, flight.data[at:end]))
            at = end
    openings: list[Segment] = []
    data: list[Segment] = []
    ends: list[Segment] = []
    for segment in alice_to_bank(pieces, starts=(client, server)):
        group = openings if segment.flags & SYN else ends if segment.flags & FIN else data
        group += [segment] * chance.choice([1, 1, 2])
    late = chance.choice([[], openings])
    chance.shuffle(openings)
    data += late
    chance.shuffle(data)
    assert see([*openings, *data, *ends]) == see(alice.segments())


@pytest.mark.parametrize("before_wrap", [0, 1, 2, 100, 190, 300, 1200])
def test_sequence_numbers_may_wrap_around_anywhere(alice: Login, before_wrap: int) -> None:
    start = (1 << 32) - 1 - before_wrap
    assert see(alice_to_bank(alice.flights, size=64, starts=(start, start))) == see(alice.segments())


@pytest.mark.parametrize("size", [1, 3, 100, 1000])
def test_messages_fragmented_over_records_are_joined(alice: Login, size: int) -> None:
    found = only(see(alice_to_bank([reframed(flight, size=size) for flight in alice.flights])))
    assert_proves(found, alice.certificate)


def test_messages_coalesced_in_one_record_are_told_apart(alice: Login) -> None:
    found = only(see(alice_to_bank([reframed(flight) for flight in alice.flights])))
    assert_proves(found, alice.certificate)


def test_several_clients_at_once_are_told_apart(authority: pki.Identity) -> None:
    logins = [login(authority) for _ in range(5)]
    connections = [
        alice_to_bank(one.flights, client=("10.9.0.2", 50_000 + number), size=200) for number, one in enumerate(logins)
    ]
    chance = random.Random(1)
    mixed = []
    while any(connections):
        mixed.append(chance.choice([left for left in connections if left]).pop(0))
    found = sorted(see(mixed), key=lambda capture: capture.client)
    assert [capture.client for capture in found] == [f"10.9.0.2:{50_000 + number}" for number in range(5)]
    for capture, one in zip(found, logins, strict=True):
        assert_proves(capture, one.certificate)


def test_a_gap_that_never_closes_hurts_no_other_connection(alice: Login) -> None:
    bulk = alice_to_bank([Flight(True, bytes(1 << 20))], client=("10.9.0.3", 50123))
    del bulk[2]
    assert see([*bulk[:400], *alice.segments(), *bulk[400:]]) == see(alice.segments())


def test_a_gap_in_a_handshake_leaves_what_came_before_it(alice: Login) -> None:
    segments = without_proof(alice)
    found = only(see(segments))
    assert found.chain[0] == alice.certificate
    assert (found.certificate_verify, found.note) == (None, MISSING)


def test_ports_that_are_used_again_give_another_capture(authority: pki.Identity, alice: Login) -> None:
    second = login(authority)
    found = see([*alice.segments(), *alice_to_bank(second.flights, starts=(5_000_000, 9_000_000))])
    assert [capture.chain[0] for capture in found] == [alice.certificate, second.certificate]


def test_ports_may_be_used_again_while_the_first_connection_hangs(authority: pki.Identity, alice: Login) -> None:
    second = login(authority)
    hanging = alice_to_bank([*alice.flights[:2], Flight(True, alice.flight(2)[:-40])], closing=False)
    found = see([*hanging, *alice_to_bank(second.flights, starts=(5_000_000, 9_000_000))])
    assert [capture.chain[0] for capture in found] == [alice.certificate, second.certificate]


def test_a_tcp_server_may_be_the_tls_client(alice: Login) -> None:
    turned = [Flight(not flight.from_client, flight.data) for flight in alice.flights]
    found = only(see(alice_to_bank(turned)))
    assert_proves(found, alice.certificate)
    assert found.client == BANK


def test_tls_may_begin_after_some_plaintext(alice: Login) -> None:
    plaintext = [Flight(False, b"220 mail.example\r\n"), Flight(True, b"STARTTLS\r\n"), Flight(False, b"220 go\r\n")]
    assert see(alice_to_bank([*plaintext, *alice.flights])) == see(alice.segments())


@pytest.mark.parametrize("size", [1, 100, MSS])
def test_a_capture_is_told_once_the_server_answers_the_clients_last_flight(alice: Login, size: int) -> None:
    """Not before: a ticket, for going on with the session, is a part of that answer."""
    segments = alice.segments(size)
    last_byte = 1_000 + len(alice.flight(0)) + len(alice.flight(2))
    (last,) = [at for at, segment in enumerate(segments) if holds(segment, last_byte)]
    closing = next(at for at, segment in enumerate(segments) if segment.flags & FIN)
    told = told_at(segments)
    assert told is not None
    assert last < told < closing
    assert segments[told].source.port != 50123


def test_a_capture_is_told_when_the_servers_side_is_seen_after_the_clients(alice: Login) -> None:
    by_client = [segment for segment in alice.segments() if segment.source.port == 50123 and not segment.flags & FIN]
    by_server = alice_to_bank(alice.flights[1:4:2], closing=False)[1:]
    assert told_at([*by_client, *by_server]) == len(by_client) + len(by_server) - 1


def test_the_order_of_the_two_syns_does_not_matter(alice: Login) -> None:
    opening, answer, *rest = alice.segments(100)
    assert see([answer, opening, *rest[::-1][2:]]) == see(alice.segments())


@pytest.mark.parametrize("flags", [FIN | ACK, RST | ACK])
def test_a_client_that_goes_away_before_its_proof_is_told_at_once(alice: Login, flags: int) -> None:
    cut = [*alice.flights[:2], change(alice.flights[2], lambda messages: messages[:1], then=b"")]
    segments = alice_to_bank(cut, closing=False)
    last = segments[-1]
    end = last._replace(sequence=last.sequence + len(last.payload), flags=flags, payload=b"")
    assert told_at([*segments, end]) == len(segments)
    assert only(see([*segments, end])).note == NO_PROOF_YET


def test_a_connection_with_a_gap_is_told_when_both_sides_have_said_their_last(alice: Login) -> None:
    segments = without_proof(alice)
    assert told_at(segments) == len(segments) - 1


def test_a_login_whose_opening_is_missing_is_read_without_a_note(alice: Login) -> None:
    assert see(alice.segments()[2:]) == see(alice.segments())


@pytest.mark.parametrize("seen_from", [3, 4], ids=["the server's hello", "the client's certificate"])
def test_a_handshake_that_began_before_the_capture_says_so(alice: Login, seen_from: int) -> None:
    found = only(see(alice.segments()[seen_from:]))
    assert found.chain[0] == alice.certificate
    assert found.certificate_verify
    assert (found.client_random, found.server_name, found.version) == (None, None, 0x0303)
    assert found.note == BEGAN_EARLIER


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_capture_that_begins_in_the_middle_of_a_record_goes_on_with_the_next_message(alice: Login, size: int) -> None:
    earlier = alice_to_bank([Flight(True, alice.flight(0)[20:])], size=size, closing=False)[2:]
    rest = alice_to_bank(alice.flights[1:], starts=(1_000 + len(alice.flight(0)) - 20, 70_000))[2:]
    found = only(see([*earlier, *rest]))
    assert (found.chain[0], found.note) == (alice.certificate, BEGAN_EARLIER)


def test_without_the_servers_side_the_certificate_is_read_and_the_note_says_so(alice: Login) -> None:
    found = only(see(segment for segment in alice.segments() if segment.source.port == 50123))
    assert (found.chain[0], found.server_random, found.note) == (alice.certificate, None, NO_SERVER)
    assert found.certificate_verify


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seen_from", [0, 4], ids=["from the start", "from the client's certificate"])
def test_old_versions_give_the_certificate_without_the_proof(
    authority: pki.Identity, version: ssl.TLSVersion, seen_from: int
) -> None:
    old = login(authority, version)
    found = only(see(old.segments()[seen_from:]))
    assert (found.chain[0], found.certificate_verify, found.version) == (old.certificate, None, version)
    assert found.note.endswith(OLD_PROOF)


def test_a_client_that_leaves_out_its_proof_is_told_with_a_note(alice: Login) -> None:
    without = change(alice.flights[2], lambda messages: messages[:-1])
    found = only(see(alice_to_bank([*alice.flights[:2], without, *alice.flights[3:]])))
    assert (found.chain[0], found.certificate_verify, found.note) == (alice.certificate, None, NO_PROOF)


def test_a_garbled_proof_is_told_with_a_note(alice: Login) -> None:
    garbled = change(alice.flights[2], lambda messages: [*messages[:-1], message(CertificateVerify.type, b"\4\3\xff")])
    found = only(see(alice_to_bank([*alice.flights[:2], garbled, *alice.flights[3:]])))
    assert (found.chain[0], found.certificate_verify, found.note) == (alice.certificate, None, GARBLED_PROOF)


@pytest.mark.parametrize(
    "name", [b"", b"bank\x1b[2Jexample", b"bank..example", b"a" * 64, b".".join([b"a"] * 200), b"\xff"]
)
def test_a_server_name_that_is_no_host_name_is_left_out(alice: Login, name: bytes) -> None:
    listed = len(name).to_bytes(2, "big") + name
    data = (len(listed) + 1).to_bytes(2, "big") + b"\0" + listed
    found = only(see(alice_to_bank(with_extensions(alice, Extension(SERVER_NAME, data)))))
    assert (found.chain[0], found.server_name) == (alice.certificate, None)


@pytest.mark.parametrize("count", [1, 2])
def test_a_garbled_extension_hurts_nothing_else(alice: Login, count: int) -> None:
    found = only(see(alice_to_bank(with_extensions(alice, *[Extension(SERVER_NAME, b"\xff\xff")] * count))))
    assert (found.chain[0], found.server_name) == (alice.certificate, None)
    assert found.client_random


def with_extensions(alice: Login, *extensions: Extension) -> list[Flight]:
    """Alice's login with these extensions only in her hello."""

    def edit(messages: list[bytes]) -> list[bytes]:
        hello = parse(messages[0])
        assert isinstance(hello, ClientHello)
        return [serialize(replace(hello, extensions=extensions))]

    return [change(alice.flights[0], edit), *alice.flights[1:]]


def test_a_ticket_of_tls13_shows_when_a_client_comes_again(authority: pki.Identity, path: Path) -> None:
    who = wirecraft.parties(authority, version=ssl.TLSVersion.TLSv1_3)
    flights, session = wirecraft.handshake(who)
    again, _ = wirecraft.handshake(who, session=session)
    later = alice_to_bank(again, client=("10.9.0.3", 5))
    wirecraft.write(path, [*alice_to_bank(flights), *later])
    first, second = read_file(path).contacts
    assert first.offered is None
    assert second.offered
    fields = ("identity.identity", "identity.obfuscated_ticket_age", "binders_len")
    names = [f"tls.handshake.extensions.psk.{field}" for field in fields]
    told = tshark(path, f"-Y{names[0]}", "-Tfields", *(f"-e{name}" for name in names))
    offered = second.offered
    assert told == [f"{offered.identity.hex()}\t{offered.obfuscated_age}\t{len(offered.binder) + 1}"]


def test_a_garbled_ticket_hurts_nothing_else(authority: pki.Identity) -> None:
    flights = list(login(authority, ssl.TLSVersion.TLSv1_3).flights)
    garbled = with_extensions(Login(flights, b""), Extension(PRE_SHARED_KEY, b"\0"))
    tracker = Tracker()
    found = [one for segment in alice_to_bank(garbled) for one in tracker.feed(7, segment)]
    assert [(one.version, one.offered) for one in found if isinstance(one, Contact)] == [(TLS13, None)]


def test_the_reason_for_tls13(authority: pki.Identity, path: Path) -> None:
    modern = login(authority, ssl.TLSVersion.TLSv1_3)
    assert problem(path, modern.segments()) == (
        "holds no client certificate that can be read: 1 handshake is TLS 1.3, which encrypts the Certificate "
        "messages; capture TLS 1.2"
    )


def test_the_reason_for_a_server_that_never_asked(authority: pki.Identity, path: Path) -> None:
    assert problem(path, login(authority, asks=False).segments()) == (
        "holds no client certificate that can be read: in 1 handshake the server did not ask its client for one"
    )


def test_the_reason_for_a_client_without_a_certificate(authority: pki.Identity, path: Path) -> None:
    assert problem(path, login(authority, presents=False).segments()) == (
        "holds no client certificate that can be read: in 1 handshake the server asked, and the client had none to "
        "send; give the client its bundle"
    )


def test_the_reason_for_a_capture_that_ends_before_the_answer(alice: Login, path: Path) -> None:
    assert problem(path, alice_to_bank(alice.flights[:2], closing=False)) == (
        "holds no client certificate that can be read: 1 handshake was not over when the capture ended; capture for "
        "longer"
    )


def test_the_reason_for_a_capture_that_ends_after_the_first_hello(alice: Login, path: Path) -> None:
    assert problem(path, alice_to_bank(alice.flights[:1], closing=False)) == (
        "holds no client certificate that can be read: 1 handshake was not over when the capture ended; capture for "
        "longer"
    )


def test_the_reason_for_resumed_sessions(resumed: Login, path: Path) -> None:
    assert problem(path, resumed.segments()) == (
        "holds no client certificate that can be read: 1 handshake resumed an earlier session, in which no "
        "certificates are sent; capture a first login"
    )


def test_the_reason_where_some_of_it_is_tls13(authority: pki.Identity, resumed: Login, path: Path) -> None:
    modern = login(authority, ssl.TLSVersion.TLSv1_3)
    assert problem(path, [*resumed.segments(), *alice_to_bank(modern.flights, client=("10.9.0.3", 5))]) == (
        "holds no client certificate that can be read: 1 handshake resumed an earlier session, in which no "
        "certificates are sent, 1 handshake is TLS 1.3, which encrypts the Certificate messages; capture a first "
        "login; capture TLS 1.2"
    )


def test_the_reason_without_tls(path: Path) -> None:
    talk = [Flight(True, b"GET / HTTP/1.1\r\n\r\n"), Flight(False, b"HTTP/1.1 204 No Content\r\n\r\n")]
    assert problem(path, alice_to_bank(talk)) == ("holds no TLS handshake in its 6 packets")


def test_the_reason_for_a_connection_that_was_going_on_already(alice: Login, path: Path) -> None:
    later = alice_to_bank(alice.flights[4:], opening=False)
    assert problem(path, later) == (
        "holds no client certificate that can be read: 1 TLS connection began before the capture did; capture a "
        "connection from its start"
    )


def test_the_reason_without_packets(path: Path) -> None:
    assert problem(path, []) == "holds no packets; capture again, while a client logs in"


def test_the_reason_for_a_link_that_is_not_read(alice: Login, path: Path) -> None:
    path.write_bytes(wirecraft.pcap(on_ethernet(alice.segments()), link=147))
    assert reason(path, read_file(path)) == (
        "holds no TLS handshake in what can be read of its 12 packets: 12 packets have link type 147, which is not "
        "read; capture on Ethernet or `-i any`"
    )


def test_the_reason_for_packets_cut_short(alice: Login, path: Path) -> None:
    packets = on_ethernet(alice.segments())
    path.write_bytes(wirecraft.pcap(packets, keep=96))
    cut = sum(len(packet) > 96 for packet in packets)
    assert reason(path, read_file(path)) == (
        "holds no client certificate that can be read: 1 client's Certificate message has a hole, where the "
        f"capture lacks bytes, {cut} packets were cut short when they were captured; capture again; capture whole "
        "packets (`tcpdump -s 0`)"
    )


def test_the_reason_for_an_empty_file(path: Path) -> None:
    path.write_bytes(b"")
    assert reason(path, read_file(path)) == "is empty; give a pcap or pcapng file"


def test_the_reason_for_a_file_that_is_not_there(path: Path) -> None:
    assert reason(path, read_file(path)) == "No such file or directory; give a pcap or pcapng file"


def test_a_file_cut_off_before_the_certificate_says_where(alice: Login, path: Path) -> None:
    content = wirecraft.write(path, alice.segments()).read_bytes()[:600]
    path.write_bytes(content)
    assert reason(path, read_file(path)) == "breaks off at byte 600, in the middle of packet 4; copy it again"


def test_a_file_cut_off_after_the_certificate_gives_it_and_says_where(alice: Login, path: Path) -> None:
    content = wirecraft.write(path, alice.segments()).read_bytes()[:-5]
    path.write_bytes(content)
    reading = read_file(path)
    assert_proves(only(reading.captures), alice.certificate)
    where = f"breaks off at byte {len(content)}, in the middle of packet {len(alice.segments())}"
    assert str(reading.problem) == f"{path}: {where}; copy it again"


def test_ip_fragments_are_passed_over(alice: Login, path: Path) -> None:
    packets = [wirecraft.packet(segment) for segment in alice.segments()]
    fragments = [bytes(IP(packet, flags="MF", chksum=None)) for packet in packets]
    path.write_bytes(wirecraft.pcap([*fragments, *packets], RAW_IP.number))
    assert_proves(only(read_file(path).captures), alice.certificate)


def test_what_two_captures_hold_makes_two(authority: pki.Identity, alice: Login, path: Path) -> None:
    second = login(authority)
    other = alice_to_bank(second.flights, client=("10.9.0.3", 50123))
    path.write_bytes(wirecraft.pcapng(on_ethernet(alice.segments())) + wirecraft.pcapng(on_ethernet(other)))
    assert [found.chain[0] for found in read_file(path).captures] == [alice.certificate, second.certificate]


@pytest.mark.parametrize("form", [wirecraft.pcap, wirecraft.pcapng])
def test_after_the_handshake_packets_need_not_be_read_until_the_ports_are_used_again(
    alice: Login, path: Path, form: Callable[[Iterable[bytes]], bytes]
) -> None:
    tracker = Tracker()
    login = alice_to_bank(alice.flights)
    path.write_bytes(form(on_ethernet(login)))
    for segment in login:
        tracker.feed(7, segment)
    passed = Passed(tracker.flows_over)
    assert len(list(read_packets(path, passed=passed))) == sum(bool(segment.flags & SYN) for segment in login)
    assert passed.packets == sum(not segment.flags & SYN for segment in login)
    for segment in alice_to_bank(alice.flights, starts=(5, 6))[:1]:
        tracker.feed(7, segment)
    passed = Passed(tracker.flows_over)
    assert len(list(read_packets(path, passed=passed))) == len(login)


def test_packets_that_were_cut_or_have_no_plain_headers_are_always_read(alice: Login, path: Path) -> None:
    tracker = Tracker()
    login = alice_to_bank(alice.flights)
    for segment in login:
        tracker.feed(7, segment)
    packets = on_ethernet(login)
    path.write_bytes(wirecraft.pcap(packets, keep=70))
    passed = Passed(tracker.flows_over)
    cut = [packet for packet in read_packets(path, passed=passed) if len(packet.data) < packet.length]
    assert len(cut) == sum(len(packet) > 70 for packet in packets)
    fragments = [packet[:20] + b"\x20" + packet[21:] for packet in packets]
    path.write_bytes(wirecraft.pcap(fragments))
    assert len(list(read_packets(path, passed=Passed(tracker.flows_over)))) == len(packets)


def test_a_file_in_which_ports_are_used_again_gives_every_capture(alice: Login, path: Path) -> None:
    logins = [alice_to_bank(alice.flights, starts=(start, start)) for start in (100_000, 200_000, 300_000)]
    segments = [segment for login in logins for segment in login]
    assert len(read_file(wirecraft.write(path, segments)).captures) == 3


def test_a_scan_hands_on_each_capture_as_soon_as_it_is_complete(
    alice: Login, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wirecraft.write(path, [*alice_to_bank(alice.flights), *alice_to_bank(alice.flights, client=("10.9.0.3", 1))])
    order: list[object] = []

    def reading(link_type: int, data: bytes, fragments: Fragments) -> list[packets.Content]:
        order.append("packet")
        return packets.contents(link_type, data, fragments)

    monkeypatch.setattr("lab.capture.reader.contents", reading)
    scan_file(path, order.append)
    captures = [number for number, one in enumerate(order) if isinstance(one, Capture)]
    assert captures[0] < len(order) // 2 < captures[1]


def test_only_so_many_connections_are_kept_open(monkeypatch: pytest.MonkeyPatch, alice: Login) -> None:
    monkeypatch.setattr(capture_module, "MAX_OPEN", 3)
    tracker = Tracker()
    flood = [alice_to_bank(alice.flights[:1], client=("10.9.0.3", port), closing=False) for port in range(1, 9)]
    for segment in [segment for segments in flood for segment in segments]:
        tracker.feed(7, segment)
    assert len(tracker._open) == 3


def test_a_connection_that_makes_way_tells_what_it_has(monkeypatch: pytest.MonkeyPatch, alice: Login) -> None:
    monkeypatch.setattr(capture_module, "MAX_OPEN", 1)
    hanging = alice_to_bank([*alice.flights[:2], Flight(True, alice.flight(2)[:-60])], closing=False)
    other = alice_to_bank(alice.flights[:1], client=("10.9.0.3", 50123))
    assert told_at([*hanging, *other]) == len(hanging)


def test_only_so_many_ended_connections_are_remembered(monkeypatch: pytest.MonkeyPatch, alice: Login) -> None:
    monkeypatch.setattr(capture_module, "MAX_OVER", 3)
    tracker = Tracker()
    for port in range(1, 9):
        for segment in alice_to_bank(alice.flights, client=("10.9.0.3", port)):
            tracker.feed(7, segment)
    assert len(tracker._over) == 3
    assert len(tracker.flows_over) == 6


def test_all_connections_together_take_up_so_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "MAX_OCTETS", 100_000)
    tracker = Tracker()
    unfinished = write_record(ContentType.HANDSHAKE, message(ClientHello.type, bytes(20_000))[:16_000])
    for port in range(1, 30):
        for segment in alice_to_bank([Flight(True, unfinished)], client=("10.9.0.3", port), closing=False):
            tracker.feed(7, segment)
            assert tracker._octets <= 100_000
    assert tracker._open


@pytest.mark.parametrize("body", [b"", bytes(5_000)], ids=["empty", "large"])
def test_a_handshake_without_end_is_given_up(body: bytes) -> None:
    endless = write_record(ContentType.HANDSHAKE, message(ClientHello.type, body)) * 1000
    tracker = Tracker()
    for segment in alice_to_bank([Flight(True, endless), Flight(False, endless)], closing=False):
        tracker.feed(7, segment)
    assert not tracker._open


def test_a_stream_that_is_no_tls_is_given_up() -> None:
    tracker = Tracker()
    talk = b"not a record, whatever else " * 20_000
    for segment in alice_to_bank([Flight(True, talk), Flight(False, talk)], closing=False):
        tracker.feed(7, segment)
    assert not tracker._open


SEGMENTS = st.builds(
    Segment,
    *[st.sampled_from([wirecraft.endpoint("10.9.0.2", 1), wirecraft.endpoint("10.9.0.4", 2)])] * 2,
    sequence=st.integers(0, 60) | st.integers(0, (1 << 32) - 1),
    flags=st.integers(0, 255),
    payload=st.binary(max_size=20) | st.sampled_from([b"\x16\x03\x03\0\x04\x0b\0\0\0", b"\x14\x03\x03\0\1\1"]),
)


@given(st.lists(SEGMENTS, max_size=40))
def test_arbitrary_segments_never_raise(segments: list[Segment]) -> None:
    see(segments)


@given(st.data())
def test_a_damaged_handshake_never_raises(alice: Login, data: st.DataObject) -> None:
    contents = [bytearray(flight.data) for flight in alice.flights[:4]]
    for _ in range(data.draw(st.integers(1, 5))):
        content = data.draw(st.sampled_from(contents))
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    see(alice_to_bank([Flight(number % 2 == 0, bytes(content)) for number, content in enumerate(contents)]))


@given(st.sampled_from([b"", wirecraft.pcap([]), wirecraft.pcapng([])]), st.binary(max_size=200))
def test_arbitrary_bytes_as_a_file_give_a_clear_error(path: Path, beginning: bytes, content: bytes) -> None:
    path.write_bytes(beginning + content)
    assert reason(path, read_file(path))


def test_an_interface_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(AttackerError, match=r"^(nowhere0: .*nowhere0|sniffing needs CAP_NET_RAW)"):
        Sniffer("nowhere0", "tcp")
