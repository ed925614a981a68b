"""What became of everything in a capture, counted: nothing is passed over in silence."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from lab.capture.handshake import Upshot
from lab.capture.layers import ENCRYPTED_WIFI, FRAGMENT, MAX_LAYERS, NO_TLS, TOO_DEEP, TOO_SHORT

CUT, QUIC, OPENVPN_ENCRYPTED, SSL2 = "cut short", "QUIC", "encrypted OpenVPN", "SSL 2.0"
BEGAN_EARLIER, DTLS_BEGAN_EARLIER, DROPPED = "TLS without its start", "DTLS without its start", "dropped"


class _Words(NamedTuple):
    """For one and for several, `{}` being their number, and what to do about it, if anything."""

    one: str
    several: str
    remedy: str = ""

    def of(self, count: int) -> str:
        return (self.one if count == 1 else self.several).format(count)


@dataclass(frozen=True)
class NotRead:
    """How much of one kind was not read, and in words why."""

    kind: str
    count: int
    says: str


@dataclass
class Tally:
    """Counts of packets, of what was not read by its kind, and of how the handshakes ended."""

    packets: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    upshots: Counter[Upshot] = field(default_factory=Counter)

    @property
    def handshakes(self) -> int:
        return self.upshots.total()

    @property
    def certificates(self) -> int:
        """How many handshakes have a client's certificate that was read."""
        return self.upshots[Upshot.PRESENTED]

    def not_read(self) -> tuple[NotRead, ...]:
        """Everything in which a client's certificate may lie unseen, by kind."""
        hidden = [NotRead(one.value, self.upshots[one], _HIDDEN[one].of(self.upshots[one])) for one in _HIDDEN]
        unread = [NotRead(kind, count, words_of(kind).of(count)) for kind, count in self.unread.items()]
        return tuple(one for one in (*hidden, *unread) if one.count and one.kind != NO_TLS)

    def reason(self) -> str:
        """Why there is no client's certificate, true whatever else is in the file; empty if there is one."""
        if self.certificates:
            return ""
        if not self.packets:
            return "holds no packets; capture again, while a client logs in"
        found = "holds no client certificate that can be read"
        words = [(_UPSHOTS[one], count) for one, count in self.upshots.items()]
        kinds = [kind for kind in self.unread if kind in _INSTEAD_OF_TLS] if not words else []
        if self.upshots.keys() & _WITH_GAPS:
            kinds += [kind for kind in _MAKE_GAPS if self.unread.get(kind)]
        if not words and not kinds:
            kinds = [kind for kind in self.unread if kind != NO_TLS]
            found = f"holds no TLS handshake in {'what can be read of ' if kinds else ''}its {_packets(self.packets)}"
        words += [(words_of(kind), self.unread[kind]) for kind in kinds]
        told = ", ".join(one.of(count) for one, count in words)
        remedies = dict.fromkeys(one.remedy for one, _ in words if one.remedy)
        return found + f": {told}" * bool(told) + "".join(f"; {remedy}" for remedy in remedies)


def _packets(count: int) -> str:
    return f"{count} packet{'s' * (count != 1)}"


def words_of(kind: str) -> _Words:
    """How a kind of what is not read is told."""
    words = _UNREAD.get(kind)
    if words:
        return words
    if kind.startswith("link type "):
        return _Words(
            f"{{}} packet has {kind}, which is not read",
            f"{{}} packets have {kind}, which is not read",
            "capture on Ethernet or `-i any`",
        )
    named = _NAMES.get(kind, kind)
    return _Words(f"{{}} packet carries {named}, which is not read", f"{{}} packets carry {named}, which is not read")


_HIDDEN = {
    Upshot.TLS13: _Words(
        "1 handshake is TLS 1.3, which encrypts the Certificate messages",
        "{} handshakes are TLS 1.3, which encrypts the Certificate messages",
        "capture TLS 1.2",
    ),
    Upshot.HOLE_IN_CERTIFICATE: _Words(
        "1 client's Certificate message has a hole, where the capture lacks bytes",
        "{} clients' Certificate messages have a hole, where the capture lacks bytes",
        "capture again",
    ),
    Upshot.GAP: _Words(
        "in 1 handshake bytes are missing in the middle",
        "in {} handshakes bytes are missing in the middle",
        "capture again",
    ),
    Upshot.CAPTURE_ENDED: _Words(
        "1 handshake was not over when the capture ended",
        "{} handshakes were not over when the capture ended",
        "capture for longer",
    ),
    Upshot.CLIENT_UNSEEN: _Words(
        "the client's side of 1 handshake is not in the capture",
        "the client's side of {} handshakes is not in the capture",
        "capture both directions",
    ),
    Upshot.RENEGOTIATED: _Words(
        "1 connection has a second, encrypted handshake, in which the server may have asked for one",
        "{} connections have a second, encrypted handshake, in which the server may have asked for one",
    ),
}
"""The upshots that leave open whether there is a certificate."""
_UPSHOTS = {
    **_HIDDEN,
    Upshot.EMPTY: _Words(
        "in 1 handshake the server asked, and the client had none to send",
        "in {} handshakes the server asked, and the client had none to send",
        "give the client its bundle",
    ),
    Upshot.ENDED: _Words(
        "1 connection ended before the client could send one", "{} connections ended before the client could send one"
    ),
    Upshot.RESUMED: _Words(
        "1 handshake resumed an earlier session, in which no certificates are sent",
        "{} handshakes resumed earlier sessions, in which no certificates are sent",
        "capture a first login",
    ),
    Upshot.NOT_ASKED: _Words(
        "in 1 handshake the server did not ask its client for one",
        "in {} handshakes the server did not ask its client for one",
    ),
}
_UNREAD = {
    CUT: _Words(
        "1 packet was cut short when it was captured",
        "{} packets were cut short when they were captured",
        "capture whole packets (`tcpdump -s 0`)",
    ),
    FRAGMENT: _Words(
        "1 packet is an IP fragment whose other parts are missing",
        "{} packets are IP fragments whose other parts are missing",
    ),
    TOO_DEEP: _Words(f"1 packet has more than {MAX_LAYERS} layers", f"{{}} packets have more than {MAX_LAYERS} layers"),
    TOO_SHORT: _Words("1 packet is shorter than its headers say", "{} packets are shorter than their headers say"),
    ENCRYPTED_WIFI: _Words("1 Wi-Fi frame is encrypted", "{} Wi-Fi frames are encrypted"),
    QUIC: _Words(
        "1 QUIC connection, which encrypts the Certificate messages",
        "{} QUIC connections, which encrypt the Certificate messages",
        "capture TLS 1.2",
    ),
    OPENVPN_ENCRYPTED: _Words(
        "1 OpenVPN connection encrypts its handshake (tls-crypt)",
        "{} OpenVPN connections encrypt their handshakes (tls-crypt)",
    ),
    SSL2: _Words("1 connection speaks SSL 2.0, which is not read", "{} connections speak SSL 2.0, which is not read"),
    BEGAN_EARLIER: _Words(
        "1 TLS connection began before the capture did",
        "{} TLS connections began before the capture did",
        "capture a connection from its start",
    ),
    DTLS_BEGAN_EARLIER: _Words(
        "1 DTLS connection began before the capture did",
        "{} DTLS connections began before the capture did",
        "capture a connection from its start",
    ),
    DROPPED: _Words(
        "1 connection was given up to save memory", "{} connections were given up to save memory", "split the file"
    ),
}
_INSTEAD_OF_TLS = (QUIC, OPENVPN_ENCRYPTED, SSL2, BEGAN_EARLIER, DTLS_BEGAN_EARLIER)
"""What explains a file without any handshake."""
_WITH_GAPS = {Upshot.GAP, Upshot.HOLE_IN_CERTIFICATE, Upshot.CAPTURE_ENDED, Upshot.ENDED}
_MAKE_GAPS = (CUT, FRAGMENT)
"""What explains that bytes are missing."""
_NAMES = {
    "IP protocol 50": "ESP (IPsec)",
    "IP protocol 108": "IPComp",
    "IP protocol 115": "L2TPv3",
    "IP protocol 132": "SCTP",
    "EtherType 0x88e5": "MACsec",
}
