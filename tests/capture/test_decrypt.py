"""The teacher's view of handshakes whose certificates are compressed (RFC 8879)."""

import zlib
from pathlib import Path

from lab.capture.decrypt import certificate_was_sent, decrypted_handshakes
from lab.events.types import HandshakeDecrypted
from lab.staging import pki
from lab.tls.messages import Message
from lab.tls.messages13 import Certificate13, CompressedCertificate
from lab.tls.versions import TLS13
from programs import tshark
from tls13_script import SUITE, ScriptedClient13
from tls_peers import cases, our_server
from wirecraft import Flight, alice_to_bank, handshake, parties, write

RECORDED = Path(__file__).with_name("openssl-3.5.pcapng")
"""s_client of OpenSSL 3.5.9, with a certificate, at s_server of the same, which asks for one."""
RECORDED_PORT = "44321"
LEAF = Certificate13.of((b"leaf",)).body()
NONE = Certificate13(()).body()


def test_openssls_compressed_certificate_is_named_and_counts_as_sent() -> None:
    key_log = RECORDED.with_suffix(".keys")
    (seen,) = decrypted_handshakes(RECORDED, {"client": key_log})
    assert seen.messages[7:] == (
        ("client", "CompressedCertificate, zlib"),
        ("client", "CertificateVerify"),
        ("client", "Finished"),
    )
    assert certificate_was_sent(seen)
    keys = ("-o", f"tls.keylog_file:{key_log}", "-d", f"tcp.port=={RECORDED_PORT},tls")
    told = tshark(RECORDED, *keys, "-Y", "tls.handshake.type == 25", "-T", "fields", "-e", "tls.handshake.type")
    assert told == ["25,15,20"]


class Recorded(ScriptedClient13):
    """A client by hand, and what crossed the wire."""

    def __init__(self, alice: pki.Identity, bank: pki.Identity) -> None:
        self.flights: list[Flight] = []
        super().__init__(our_server(bank, versions=(TLS13,), suites=(SUITE,)), alice)

    def give(self, data: bytes) -> None:
        self.flights.append(Flight(True, data))
        self.events += self.engine.receive(data)
        self.flights.append(Flight(False, answer := self.engine.data_to_send()))
        self.engine._outgoing += answer
        self.listen()


def seen_with(certificate: Message, alice: pki.Identity, bank: pki.Identity, folder: Path) -> HandshakeDecrypted:
    """What the lab reads of a handshake in which the client sends this as its Certificate."""
    script = Recorded(alice, bank)
    script.hello()
    script.say(certificate)
    (folder / "keys").write_text(script.engine.key_log)
    capture = write(folder / "capture.pcap", alice_to_bank(script.flights))
    (seen,) = decrypted_handshakes(capture, {"client": folder / "keys"})
    return seen


@cases(
    ("message", "name", "sent"),
    {
        "not compressed": (Certificate13.of((b"leaf",)), "Certificate", True),
        "none, not compressed": (Certificate13(()), "Certificate, empty", False),
        "zlib": (CompressedCertificate(1, len(LEAF), zlib.compress(LEAF)), "CompressedCertificate, zlib", True),
        "none, zlib": (
            CompressedCertificate(1, len(NONE), zlib.compress(NONE)),
            "CompressedCertificate, zlib, empty",
            False,
        ),
        "zlib, with a wrong length": (
            CompressedCertificate(1, len(NONE), zlib.compress(LEAF)),
            "CompressedCertificate, zlib",
            True,
        ),
        "brotli": (CompressedCertificate(2, len(LEAF), b"?"), "CompressedCertificate, brotli", True),
        "none, brotli": (CompressedCertificate(2, len(NONE), b"?"), "CompressedCertificate, brotli, empty", False),
        "zstd": (CompressedCertificate(3, len(LEAF), b"?"), "CompressedCertificate, zstd", True),
        "something else": (CompressedCertificate(9, len(LEAF), b"?"), "CompressedCertificate, algorithm 9", True),
    },
)
def test_a_certificate_counts_as_sent_however_it_is_compressed(
    alice: pki.Identity, bank: pki.Identity, tmp_path: Path, message: Message, name: str, sent: bool
) -> None:
    """What cannot be read here counts, unless it is too short to have a certificate in it."""
    seen = seen_with(message, alice, bank, tmp_path)
    assert [said for sender, said in seen.messages if sender == "client" and "Certificate" in said] == [name]
    assert certificate_was_sent(seen) is sent


def test_who_the_client_is_also_shows_where_the_beginning_of_a_connection_is_missing(
    authority: pki.Identity, tmp_path: Path
) -> None:
    """As in a capture that begins while a client logs in, with any packet of its handshake."""
    flights, _ = handshake(parties(authority))
    segments = alice_to_bank(flights)
    client, server = (str(one) for one in (segments[0].source, segments[0].destination))
    seen = 0
    for first in range(len(segments)):
        capture = write(tmp_path / "capture.pcap", segments[first:])
        for one in decrypted_handshakes(capture, {}):
            assert (one.client, one.server) == (client, server), f"from packet {first}"
            senders = {name: sender for sender, name in one.messages}
            assert senders.get("ClientKeyExchange", "client") == "client"
            assert senders.get("ServerHello", "server") == "server"
            seen += 1
    assert seen > 3
