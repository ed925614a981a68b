"""Extensions (RFC 5246 section 7.4.1.4): raw in the messages, read and written by name here."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

from lab.tls import wire
from lab.tls.alerts import AlertDescription
from lab.tls.errors import Abort, DecodeError

SERVER_NAME = 0  # RFC 6066 section 3
STATUS_REQUEST = 5  # RFC 6066 section 8
SUPPORTED_GROUPS = 10  # RFC 8422 section 5.1.1
EC_POINT_FORMATS = 11  # RFC 8422 section 5.1.2
SIGNATURE_ALGORITHMS = 13  # RFC 5246 section 7.4.1.4.1
ALPN = 16  # RFC 7301 section 3.1
SIGNED_CERTIFICATE_TIMESTAMP = 18  # RFC 6962 section 3.3.1
PADDING = 21  # RFC 7685 section 3
ENCRYPT_THEN_MAC = 22  # RFC 7366 section 2
EXTENDED_MASTER_SECRET = 23  # RFC 7627 section 5.1
COMPRESS_CERTIFICATE = 27  # RFC 8879 section 3
RECORD_SIZE_LIMIT = 28  # RFC 8449 section 4
SESSION_TICKET = 35  # RFC 5077 section 3.2
PRE_SHARED_KEY = 41  # RFC 8446 section 4.2.11
EARLY_DATA = 42  # RFC 8446 section 4.2.10
SUPPORTED_VERSIONS = 43  # RFC 8446 section 4.2.1
COOKIE = 44  # RFC 8446 section 4.2.2
PSK_KEY_EXCHANGE_MODES = 45  # RFC 8446 section 4.2.9
CERTIFICATE_AUTHORITIES = 47  # RFC 8446 section 4.2.4
POST_HANDSHAKE_AUTH = 49  # RFC 8446 section 4.2.6
SIGNATURE_ALGORITHMS_CERT = 50  # RFC 8446 section 4.2.3
KEY_SHARE = 51  # RFC 8446 section 4.2.8
RENEGOTIATION_INFO = 0xFF01  # RFC 5746 section 3.2

Extensions = tuple["Extension", ...]


@dataclass(frozen=True)
class Extension:
    """One extension: its registered number and its raw content."""

    type: int
    data: bytes


def read_extensions(reader: wire.Reader) -> Extensions | None:
    """The extension block at the end of a hello; None if it is missing, which the RFC allows."""
    if not reader.left:
        return None
    block = wire.Reader(reader.vector(2, "extensions"), "extensions")
    reader.end()
    found = []
    while block.left:
        found.append(Extension(block.number(2, "extension_type"), block.vector(2, "extension_data")))
    return tuple(found)


def write_extensions(extensions: Extensions | None) -> bytes:
    """The bytes of an extension block, the inverse of `read_extensions`."""
    if extensions is None:
        return b""
    return wire.vector(b"".join(wire.number(e.type, 2) + wire.vector(e.data, 2) for e in extensions), 2)


def find(extensions: Extensions | None, kind: int) -> bytes | None:
    """The content of the extension numbered `kind`, None if it is missing; DecodeError if it occurs twice."""
    found = [e.data for e in extensions or () if e.type == kind]
    if len(found) > 1:
        raise DecodeError(f"extension {kind} occurs {len(found)} times")
    return found[0] if found else None


def check(extensions: Extensions | None) -> None:
    """The rules of both hellos: DecodeError for an extension that occurs twice (RFC 5246 section 7.4.1.4) or that must
    be empty and isn't; Abort with illegal_parameter without uncompressed points (RFC 8422 section 5.1.2)."""
    kinds = [extension.type for extension in extensions or ()]
    if len(kinds) != len(set(kinds)):
        raise DecodeError("an extension occurs more than once")
    for kind, name in ((EXTENDED_MASTER_SECRET, "extended_master_secret"), (EARLY_DATA, "early_data")):
        if find(extensions, kind):
            raise DecodeError(f"{name} is not empty")
    formats = find(extensions, EC_POINT_FORMATS)
    if formats is not None:
        reader = wire.Reader(formats, "ec_point_formats")
        listed = reader.numbers(1, 1, "list")
        reader.end()
        if 0 not in listed:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, "ec_point_formats does not list uncompressed points")


def check_answers(answers: Extensions | None, asked: Collection[int], allowed: Collection[int]) -> None:
    """The rules for extensions that answer those of another message: Abort with unsupported_extension for one that was
    not asked for, with illegal_parameter for one that this message may not have (RFC 8446 section 4.2)."""
    for extension in answers or ():
        if extension.type not in asked:
            reason = f"extension {extension.type} was not asked for"
            raise Abort(AlertDescription.UNSUPPORTED_EXTENSION, reason)
        if extension.type not in allowed:
            reason = f"extension {extension.type} is not allowed in this message"
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, reason)
    check(answers)


_HOST_NAME = 0
"""NameType (RFC 6066 section 3)."""


@lru_cache(maxsize=64)
def server_name(name: str) -> Extension:
    """server_name with one host name (RFC 6066 section 3)."""
    host = wire.number(_HOST_NAME, 1) + wire.vector(name.encode("idna"), 2)
    return Extension(SERVER_NAME, wire.vector(host, 2))


def read_server_name(extensions: Extensions | None) -> str | None:
    """The host name that a client asks for, None if there is none (RFC 6066 section 3).

    Abort with illegal_parameter for two names of one type, and for a host name that is not printable ASCII.
    """
    data = find(extensions, SERVER_NAME)
    if data is None:
        return None
    reader = wire.Reader(data, "server_name")
    list_of_names = reader.vector(2, "server_name_list", least=4)  # a type, a length, a byte
    entries = wire.Reader(list_of_names, "server_name")
    reader.end()
    names: dict[int, bytes] = {}
    while entries.left:
        kind, name = entries.number(1, "name_type"), entries.vector(2, "HostName", least=1)
        if kind in names:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, f"two server names of type {kind}")
        names[kind] = name
    host = names.get(_HOST_NAME)
    if host is None:
        return None
    if not all(0x20 < octet < 0x7F for octet in host):
        raise Abort(AlertDescription.ILLEGAL_PARAMETER, f"the server name {host!r} is not printable ASCII")
    return host.decode()


def number_list(kind: int, values: Iterable[int]) -> Extension:
    """An extension with one list of 16-bit numbers, such as supported_groups and signature_algorithms."""
    return Extension(kind, wire.numbers(values, 2, 2))


def read_number_list(extensions: Extensions | None, kind: int) -> tuple[int, ...] | None:
    """The numbers in such an extension; None if it is missing."""
    data = find(extensions, kind)
    if data is None:
        return None
    reader = wire.Reader(data, f"extension {kind}")
    values = reader.numbers(2, 2, "list")
    reader.end()
    return values


def protocols(names: Iterable[bytes]) -> Extension:
    """application_layer_protocol_negotiation: the protocols above TLS that a client offers, the most preferred first,
    or the one that a server chose (RFC 7301 section 3.1)."""
    return Extension(ALPN, wire.vector(b"".join(wire.vector(name, 1) for name in names), 2))


def read_protocols(extensions: Extensions | None) -> tuple[bytes, ...] | None:
    """The protocols in it; None if it is missing."""
    data = find(extensions, ALPN)
    if data is None:
        return None
    reader = wire.Reader(data, "application_layer_protocol_negotiation")
    entries = wire.Reader(reader.vector(2, "protocol_name_list", least=2), "protocol_name_list")
    reader.end()
    names = []
    while entries.left:
        names.append(entries.vector(1, "ProtocolName", least=1))
    return tuple(names)


def point_formats() -> Extension:
    """ec_point_formats: uncompressed points only, as RFC 8422 requires."""
    return Extension(EC_POINT_FORMATS, wire.numbers((0,), 1, 1))


def extended_master_secret() -> Extension:
    return Extension(EXTENDED_MASTER_SECRET, b"")


def renegotiation_info() -> Extension:
    """renegotiation_info for a first handshake: empty (RFC 5746 section 3.4)."""
    return Extension(RENEGOTIATION_INFO, wire.vector(b"", 1))


def selected_version(extensions: Extensions | None) -> int | None:
    """The version in a ServerHello's supported_versions (RFC 8446 section 4.2.1); None before TLS 1.3."""
    data = find(extensions, SUPPORTED_VERSIONS)
    if data is None:
        return None
    reader = wire.Reader(data, "supported_versions")
    version = reader.number(2, "selected_version")
    reader.end()
    return version


def read_versions(extensions: Extensions | None) -> tuple[int, ...] | None:
    """The versions that a ClientHello's supported_versions offers (RFC 8446 section 4.2.1); None before TLS 1.3."""
    data = find(extensions, SUPPORTED_VERSIONS)
    if data is None:
        return None
    reader = wire.Reader(data, "supported_versions")
    versions = reader.numbers(1, 2, "versions")
    reader.end()
    return versions


def psk_modes() -> Extension:
    """psk_key_exchange_modes: pre-shared keys with (EC)DHE only. Servers send tickets only to clients with a mode."""
    return Extension(PSK_KEY_EXCHANGE_MODES, wire.numbers((1,), 1, 1))


def versions(offered: Iterable[int]) -> Extension:
    """A ClientHello's supported_versions."""
    return Extension(SUPPORTED_VERSIONS, wire.numbers(offered, 1, 2))


def chosen_version(version: int) -> Extension:
    """A ServerHello's supported_versions."""
    return Extension(SUPPORTED_VERSIONS, wire.number(version, 2))


def key_shares(shares: Iterable[tuple[int, bytes]]) -> Extension:
    """A ClientHello's key_share: groups and points (RFC 8446 section 4.2.8)."""
    entries = b"".join(wire.number(group, 2) + wire.vector(point, 2) for group, point in shares)
    return Extension(KEY_SHARE, wire.vector(entries, 2))


def read_key_shares(extensions: Extensions | None) -> dict[int, bytes] | None:
    """The points that a ClientHello offers, by group; None if key_share is missing."""
    data = find(extensions, KEY_SHARE)
    if data is None:
        return None
    reader = wire.Reader(data, "key_share")
    entries = wire.Reader(reader.vector(2, "client_shares"), "key_share")
    reader.end()
    shares: dict[int, bytes] = {}
    while entries.left:
        group, point = entries.number(2, "group"), entries.vector(2, "key_exchange", least=1)
        if group in shares:
            raise Abort(AlertDescription.ILLEGAL_PARAMETER, f"two key shares of group {group}")
        shares[group] = point
    return shares


def key_share(group: int, point: bytes) -> Extension:
    """A ServerHello's key_share."""
    return Extension(KEY_SHARE, wire.number(group, 2) + wire.vector(point, 2))


def read_key_share(extensions: Extensions | None) -> tuple[int, bytes] | None:
    """Group and point of a ServerHello's key_share; None if it is missing."""
    data = find(extensions, KEY_SHARE)
    if data is None:
        return None
    reader = wire.Reader(data, "key_share")
    share = reader.number(2, "group"), reader.vector(2, "key_exchange", least=1)
    reader.end()
    return share


def retry_group(group: int) -> Extension:
    """A HelloRetryRequest's key_share: the group that the server asks for."""
    return Extension(KEY_SHARE, wire.number(group, 2))


def read_retry_group(extensions: Extensions | None) -> int | None:
    """The group in a HelloRetryRequest's key_share; None if it is missing."""
    data = find(extensions, KEY_SHARE)
    if data is None:
        return None
    reader = wire.Reader(data, "key_share")
    group = reader.number(2, "selected_group")
    reader.end()
    return group


@dataclass(frozen=True)
class OfferedPsk:
    """One pre-shared key that a TLS 1.3 client offers (RFC 8446 section 4.2.11), in plaintext.

    `identity` is the ticket of an earlier session. `obfuscated_age` is the ticket's age in ms, plus a number that the
    server told the client in secret. `binder` is a MAC over the ClientHello with the key, as long as the key's hash.
    """

    identity: bytes
    obfuscated_age: int
    binder: bytes


def pre_shared_key(psk: OfferedPsk) -> Extension:
    """A ClientHello's pre_shared_key with one key; it has to be the last extension."""
    identities = wire.vector(psk.identity, 2) + wire.number(psk.obfuscated_age, 4)
    return Extension(PRE_SHARED_KEY, wire.vector(identities, 2) + wire.vectors((psk.binder,), 2, 1))


def read_pre_shared_key(extensions: Extensions | None) -> OfferedPsk | None:
    """The first key in a ClientHello's pre_shared_key; None if there is no such extension."""
    data = find(extensions, PRE_SHARED_KEY)
    if data is None:
        return None
    reader = wire.Reader(data, "pre_shared_key")
    identities = wire.Reader(reader.vector(2, "identities"), "pre_shared_key, identities")
    binders = wire.Reader(reader.vector(2, "binders"), "pre_shared_key, binders")
    reader.end()
    identity, age = identities.vector(2, "identity", least=1), identities.number(4, "obfuscated_ticket_age")
    return OfferedPsk(identity, age, binders.vector(1, "binder", least=32))
