"""What each handshake message and each extension looks like, as data: the parts of `lab.tls.fields`, in the RFCs' order
and with their names. The classes in `messages.py`, `messages13.py` and `extensions.py` read the same bytes."""

from collections.abc import Mapping

from lab.tls import extensions as ext
from lab.tls import names
from lab.tls.alerts import alert_name
from lab.tls.certificate_fields import CertificateComponent, distinguished_name
from lab.tls.errors import DecodeError
from lab.tls.fields import Cursor, Number, Opaque, Structure, Vector, read_all, sized
from lab.tls.messages import (
    Certificate,
    CertificateRequest,
    CertificateVerify,
    ClientHello,
    ClientKeyExchange,
    Finished,
    HelloRequest,
    NewSessionTicket,
    ServerHello,
    ServerHelloDone,
    ServerKeyExchange,
)
from lab.tls.messages13 import (
    Certificate13,
    CertificateRequest13,
    CompressedCertificate,
    EncryptedExtensions,
    KeyUpdate,
    NewSessionTicket13,
)
from lab.tls.versions import DOWNGRADED, protocol_name, version_name

RETRY = "HelloRetryRequest"
"""A ServerHello with a random of its own, whose extensions look different (RFC 8446 section 4.1.4)."""


def _tls(number: int) -> str:
    return names.named({}, number, 2) if names.is_grease(number) else protocol_name(version_name(number))


def _text(octets: bytes) -> str:
    return octets.decode("ascii", "backslashreplace")


def _seconds(number: int) -> str:
    return f"{number:,} seconds"


def _name(octets: bytes) -> str:
    try:
        return distinguished_name(octets)
    except ValueError:
        return "a name that cannot be read"


def _server_random(octets: bytes) -> str:
    if octets.endswith(DOWNGRADED):
        return "random: the server's, meant for one handshake; its end says that it speaks a later version, too"
    return "random: the server's, meant for one handshake"


_NAMED_GROUP = Number("named_group", 2, names.GROUPS, bare=True)


def _schemes(of: Mapping[int, str]) -> Vector:
    return Vector("supported_signature_algorithms", 2, (Number("signature_scheme", 2, of, bare=True),), many=True)


_SCHEMES = _schemes(names.SIGNATURE_SCHEMES)
_NAMES_OF_AUTHORITIES = Vector(
    "certificate_authorities",
    2,
    (Vector("DistinguishedName", 2, (Opaque("DistinguishedName", _name),), called="a name"),),
    many=True,
)
_KEY_SHARE: Structure = (
    Number("group", 2, names.GROUPS, bare=True),
    Vector("key_exchange", 2, (Opaque("key_exchange", "the sender's public value for the key agreement"),)),
)
_NOTHING: Structure = ()
_HOST: Structure = (
    Number("name_type", 1, {0: "host_name"}),
    Vector("HostName", 2, (Opaque("HostName", lambda octets: f"the server that the client wants: {_text(octets)}"),)),
)
_PSK: Structure = (
    Vector(
        "identities",
        2,
        (
            Vector("identity", 2, (Opaque("identity", "the ticket of an earlier session"),)),
            Number("obfuscated_ticket_age", 4),
        ),
        many=True,
    ),
    Vector(
        "binders",
        2,
        (Vector("binder", 1, (Opaque("binder", "a MAC over this hello, with the earlier session's key"),)),),
        many=True,
    ),
)
_STATUS_REQUEST: Structure = (
    Number("status_type", 1, {1: "ocsp"}),
    Vector(
        "responder_id_list",
        2,
        (Vector("ResponderID", 2, (Opaque("ResponderID", "whose answer the client would trust"),)),),
        many=True,
    ),
    Vector("request_extensions", 2, (Opaque("request_extensions", "extensions of the OCSP request"),)),
)
_STATUS: Structure = (
    Number("status_type", 1, {1: "ocsp"}),
    Vector("response", 3, (Opaque("response", "an OCSP response: whether the certificate was revoked"),)),
)
_TIMESTAMPS: Structure = (
    Vector(
        "sct_list",
        2,
        (Vector("SerializedSCT", 2, (Opaque("SerializedSCT", "a log's promise to publish the certificate"),)),),
        many=True,
    ),
)

EXTENSIONS: Mapping[int, Structure] = {
    ext.SERVER_NAME: (Vector("server_name_list", 2, _HOST, many=True),),
    ext.STATUS_REQUEST: _STATUS_REQUEST,
    ext.SUPPORTED_GROUPS: (Vector("named_group_list", 2, (_NAMED_GROUP,), many=True),),
    ext.EC_POINT_FORMATS: (
        Vector("ec_point_format_list", 1, (Number("ec_point_format", 1, names.POINT_FORMATS, bare=True),), many=True),
    ),
    ext.SIGNATURE_ALGORITHMS: (_SCHEMES,),
    ext.ALPN: (
        Vector(
            "protocol_name_list",
            2,
            (Vector("ProtocolName", 1, (Opaque("ProtocolName", lambda octets: f"protocol {_text(octets)}"),)),),
            many=True,
        ),
    ),
    ext.SIGNED_CERTIFICATE_TIMESTAMP: _TIMESTAMPS,
    ext.PADDING: (Opaque("padding", "zeros, which only make the message longer"),),
    ext.ENCRYPT_THEN_MAC: _NOTHING,
    ext.EXTENDED_MASTER_SECRET: _NOTHING,
    ext.COMPRESS_CERTIFICATE: (
        Vector("algorithms", 1, (Number("algorithm", 2, CompressedCertificate.ALGORITHMS, bare=True),), many=True),
    ),
    ext.RECORD_SIZE_LIMIT: (Number("record_size_limit", 2, say=sized),),
    ext.SESSION_TICKET: (Opaque("ticket", "the ticket of an earlier session"),),
    ext.PRE_SHARED_KEY: _PSK,
    ext.EARLY_DATA: _NOTHING,
    ext.SUPPORTED_VERSIONS: (Vector("versions", 1, (Number("version", 2, say=_tls, bare=True),), many=True),),
    ext.COOKIE: (Vector("cookie", 2, (Opaque("cookie", "what the server wants to see again"),)),),
    ext.PSK_KEY_EXCHANGE_MODES: (
        Vector("ke_modes", 1, (Number("ke_mode", 1, names.PSK_MODES, bare=True),), many=True),
    ),
    ext.CERTIFICATE_AUTHORITIES: (_NAMES_OF_AUTHORITIES,),
    ext.POST_HANDSHAKE_AUTH: _NOTHING,
    ext.SIGNATURE_ALGORITHMS_CERT: (_SCHEMES,),
    ext.KEY_SHARE: (Vector("client_shares", 2, _KEY_SHARE, many=True),),
    ext.RENEGOTIATION_INFO: (
        Vector(
            "renegotiated_connection",
            1,
            (Opaque("renegotiated_connection", "verify_data of the handshake that is renegotiated"),),
        ),
    ),
}
"""The content of an extension, by its number, as a client sends it. One that is empty has none of these parts."""

ANSWERS: Mapping[tuple[str, int], Structure] = {
    (ServerHello.name, ext.PRE_SHARED_KEY): (Number("selected_identity", 2),),
    (ServerHello.name, ext.SUPPORTED_VERSIONS): (Number("selected_version", 2, say=_tls),),
    (ServerHello.name, ext.KEY_SHARE): _KEY_SHARE,
    (RETRY, ext.SUPPORTED_VERSIONS): (Number("selected_version", 2, say=_tls),),
    (RETRY, ext.KEY_SHARE): (Number("selected_group", 2, names.GROUPS),),
    (Certificate.name, ext.STATUS_REQUEST): _STATUS,
    (NewSessionTicket.name, ext.EARLY_DATA): (Number("max_early_data_size", 4, say=sized),),
}
"""The same where a message, by its name, has it otherwise."""


class ExtensionComponent:
    """One extension in this message: its type, its length, its content."""

    def __init__(self, message: str) -> None:
        self._message = message

    def read(self, cursor: Cursor) -> None:
        def meaning(head: bytes) -> str:
            kind, size = _number(head[:2]), _number(head[2:])
            return f"extension {names.named(names.EXTENSIONS, kind, 2)} ({kind}), {cursor.sized(size, len(head))}"

        head = cursor.take(4, "extension", meaning)
        kind, size = _number(head[:2]), _number(head[2:])
        name = names.EXTENSIONS.get(kind, f"extension {kind}")
        content = ANSWERS.get((self._message, kind), EXTENSIONS.get(kind))
        if content is None:
            content = (Opaque("extension_data", _unknown),)
        cursor.within(size, name, lambda inner: read_all(content if inner.left else (), inner))


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _unknown(octets: bytes) -> str:
    return f"{sized(len(octets))} that the instrument does not read"


class ExtensionsComponent:
    """The block of extensions at a message's end; nothing where the message ends before, as TLS 1.2 allows."""

    def __init__(self, message: str) -> None:
        self._block = Vector("extensions", 2, (ExtensionComponent(message),), many=True)

    def read(self, cursor: Cursor) -> None:
        if cursor.left:
            self._block.read(cursor)


class KeyExchangeComponent:
    """What a client sends to agree on a key: the length in front tells which of the two ways it is (RFC 8422 section
    5.7, RFC 5246 section 7.4.7.1)."""

    def read(self, cursor: Cursor) -> None:
        head = cursor.peek(2)
        if head[:1] and head[0] == cursor.left - 1:
            point = Opaque("ecdh_Yc", "the client's public value for the key agreement")
            Vector("ecdh_Yc", 1, (point,)).read(cursor)
        elif len(head) == 2 and int.from_bytes(head, "big") == cursor.left - 2:
            secret = Opaque(
                "encrypted_premaster_secret", "the premaster secret, for the server's RSA key alone to open"
            )
            Vector("encrypted_premaster_secret", 2, (secret,)).read(cursor)
        else:
            raise DecodeError("exchange_keys of a kind that the instrument does not know")


class CurveComponent:
    """The kind of parameters of an ECDHE ServerKeyExchange; DecodeError for another key exchange."""

    def read(self, cursor: Cursor) -> None:
        if cursor.peek(1) not in (b"", bytes([ServerKeyExchange.NAMED_CURVE])):
            raise DecodeError("a key exchange that the instrument does not know")
        Number("curve_type", 1, {ServerKeyExchange.NAMED_CURVE: "named_curve"}).read(cursor)


def _hello(version: str, random: Opaque, session: str) -> tuple[Number, Opaque, Vector]:
    """How both hellos begin."""
    return (
        Number(version, 2, say=lambda number: f"{_tls(number)}; for TLS 1.3 supported_versions tells"),
        random,
        Vector("session_id", 1, (Opaque("session_id", session),)),
    )


_SIGNED: Structure = (
    Vector("signature", 2, (Opaque("signature", "the server's; it must fit these parameters and both randoms"),)),
)
_PROOF = Vector("signature", 2, (Opaque("signature", "it must fit all messages of its handshake so far"),))
_SCHEME = Number("algorithm", 2, names.SIGNATURE_SCHEMES, bare=True)
_ALGORITHM12 = Number("algorithm", 2, names.SIGNATURE_ALGORITHMS12, bare=True)
_FINISHED: Structure = (Opaque("verify_data", "verify_data: a MAC over all messages so far, with the new keys"),)
_CLIENT_HELLO: Structure = (
    *_hello(
        "client_version",
        Opaque("random", "random: the client's, meant for one handshake", 32),
        "a session to resume; in TLS 1.3 without meaning",
    ),
    Vector("cipher_suites", 2, (Number("cipher_suite", 2, names.CIPHER_SUITES, bare=True),), many=True),
    Vector("compression_methods", 1, (Number("compression_method", 1, names.COMPRESSIONS, bare=True),), many=True),
    ExtensionsComponent(ClientHello.name),
)


def _server_hello(message: str, random: Opaque) -> Structure:
    return (
        *_hello("server_version", random, "names this session; in TLS 1.3 it repeats the client's"),
        Number("cipher_suite", 2, names.CIPHER_SUITES),
        Number("compression_method", 1, names.COMPRESSIONS, bare=True),
        ExtensionsComponent(message),
    )


_CERTIFICATE = Vector("certificate", 3, (CertificateComponent(),), called="a certificate")
_COMPRESSED: Structure = (
    Number("algorithm", 2, CompressedCertificate.ALGORITHMS),
    Number("uncompressed_length", 3, say=sized),
    Vector("compressed_certificate_message", 3, (Opaque("compressed_certificate_message", "Certificate, compressed"),)),
)
_REQUEST_CONTEXT = Vector(
    "certificate_request_context", 1, (Opaque("certificate_request_context", "names the request that is answered"),)
)
_TICKET = Vector("ticket", 2, (Opaque("ticket", "the server's own note on this session, to be shown again"),))
_CERTIFICATE_TYPE = Number("certificate_type", 1, names.CERTIFICATE_TYPES, bare=True)

LAYOUTS: Mapping[int, Structure] = {
    HelloRequest.type: _NOTHING,
    ClientHello.type: _CLIENT_HELLO,
    ServerHello.type: _server_hello(ServerHello.name, Opaque("random", _server_random, 32)),
    NewSessionTicket.type: (Number("ticket_lifetime_hint", 4, say=_seconds), _TICKET),
    Certificate.type: (Vector("certificate_list", 3, (_CERTIFICATE,), many=True),),
    ServerKeyExchange.type: (
        CurveComponent(),
        Number("namedcurve", 2, names.GROUPS, bare=True),
        Vector("public", 1, (Opaque("public", "the server's public value for the key agreement"),)),
        _ALGORITHM12,
        *_SIGNED,
    ),
    CertificateRequest.type: (
        Vector("certificate_types", 1, (_CERTIFICATE_TYPE,), many=True),
        _schemes(names.SIGNATURE_ALGORITHMS12),
        _NAMES_OF_AUTHORITIES,
    ),
    ServerHelloDone.type: _NOTHING,
    CertificateVerify.type: (_ALGORITHM12, _PROOF),
    ClientKeyExchange.type: (KeyExchangeComponent(),),
    Finished.type: _FINISHED,
}
"""The bodies of the messages up to TLS 1.2, by type."""

LAYOUTS13: Mapping[int, Structure] = {
    ClientHello.type: _CLIENT_HELLO,
    ServerHello.type: LAYOUTS[ServerHello.type],
    NewSessionTicket13.type: (
        Number("ticket_lifetime", 4, say=_seconds),
        Opaque("ticket_age_add", "ticket_age_add: the client adds it to the ticket's age, to hide that", 4),
        Vector("ticket_nonce", 1, (Opaque("ticket_nonce", "makes this ticket's key differ from another's"),)),
        _TICKET,
        ExtensionsComponent(NewSessionTicket13.name),
    ),
    EncryptedExtensions.type: (ExtensionsComponent(EncryptedExtensions.name),),
    Certificate13.type: (
        _REQUEST_CONTEXT,
        Vector("certificate_list", 3, (_CERTIFICATE, ExtensionsComponent(Certificate13.name)), many=True),
    ),
    CompressedCertificate.type: _COMPRESSED,
    CertificateRequest13.type: (_REQUEST_CONTEXT, ExtensionsComponent(CertificateRequest13.name)),
    CertificateVerify.type: (_SCHEME, _PROOF),
    Finished.type: _FINISHED,
    KeyUpdate.type: (Number("request_update", 1, {0: "update_not_requested", 1: "update_requested"}),),
}
"""The same in TLS 1.3."""

HELLO_RETRY = _server_hello(RETRY, Opaque("random", "random: the one that makes it a HelloRetryRequest", 32))
ALERT: Structure = (
    Number("level", 1, {1: "warning", 2: "fatal"}),
    Number("description", 1, say=alert_name),
)
CHANGE_CIPHER_SPEC: Structure = (Opaque("change_cipher_spec", "from here on the new keys; in TLS 1.3 without meaning"),)
