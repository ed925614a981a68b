"""How messages and extensions look, by the RFCs: each line has the bytes of a field, and what is said of them."""

import pytest

from lab.tls import extensions as ext
from lab.tls.dissect import dissect, dissect_alert, dissect_change_cipher_spec
from lab.tls.fields import Cursor, Field, Number, Vector
from lab.tls.messages import ClientHello, serialize
from lab.tls.messages13 import RETRY_RANDOM
from lab.tls.versions import DOWNGRADED_TO_TLS12, TLS12, TLS13, Version

EXTENSIONS = {
    ext.SERVER_NAME: """
        000a | server_name_list, 10 bytes
        00 | name_type: host_name
        0003 | HostName, 3 bytes
        612e62 | the server that the client wants: a.b
        01 | name_type: 0x01
        0001 | HostName, 1 byte
        63 | the server that the client wants: c
    """,
    ext.STATUS_REQUEST: """
        01 | status_type: ocsp
        0007 | responder_id_list, 7 bytes
        0002 | ResponderID, 2 bytes
        abcd | whose answer the client would trust
        0001 | ResponderID, 1 byte
        ef | whose answer the client would trust
        0002 | request_extensions, 2 bytes
        beef | extensions of the OCSP request
    """,
    ext.SUPPORTED_GROUPS: """
        0006 | named_group_list, 6 bytes
        001d | x25519
        0017 | secp256r1
        2a2a | GREASE, 0x2a2a: a number without meaning, which a server has to ignore
    """,
    ext.EC_POINT_FORMATS: """
        02 | ec_point_format_list, 2 bytes
        00 | uncompressed
        01 | ansiX962_compressed_prime
    """,
    ext.SIGNATURE_ALGORITHMS: """
        0004 | supported_signature_algorithms, 4 bytes
        0403 | ecdsa_secp256r1_sha256
        0804 | rsa_pss_rsae_sha256
    """,
    ext.ALPN: """
        0005 | protocol_name_list, 5 bytes
        02 | ProtocolName, 2 bytes
        6832 | protocol h2
        01 | ProtocolName, 1 byte
        ff | protocol \\xff
    """,
    ext.PADDING: """
        0000 | zeros, which only make the message longer
    """,
    ext.COMPRESS_CERTIFICATE: """
        04 | algorithms, 4 bytes
        0002 | brotli
        0003 | zstd
    """,
    ext.RECORD_SIZE_LIMIT: """
        4001 | record_size_limit: 16385 bytes
    """,
    ext.SESSION_TICKET: """
        abcd | the ticket of an earlier session
    """,
    ext.PRE_SHARED_KEY: """
        000f | identities, 15 bytes
        0002 | identity, 2 bytes
        abcd | the ticket of an earlier session
        01020304 | obfuscated_ticket_age: 0x01020304
        0001 | identity, 1 byte
        ef | the ticket of an earlier session
        00000000 | obfuscated_ticket_age: 0x00000000
        0005 | binders, 5 bytes
        02 | binder, 2 bytes
        beef | a MAC over this hello, with the earlier session's key
        01 | binder, 1 byte
        ab | a MAC over this hello, with the earlier session's key
    """,
    ext.SUPPORTED_VERSIONS: """
        06 | versions, 6 bytes
        0304 | TLS 1.3
        0303 | TLS 1.2
        1a1a | GREASE, 0x1a1a: a number without meaning, which a server has to ignore
    """,
    ext.COOKIE: """
        0002 | cookie, 2 bytes
        abcd | what the server wants to see again
    """,
    ext.PSK_KEY_EXCHANGE_MODES: """
        02 | ke_modes, 2 bytes
        01 | psk_dhe_ke
        00 | psk_ke
    """,
    ext.CERTIFICATE_AUTHORITIES: """
        0020 | certificate_authorities, 32 bytes
        000e | a name, 14 bytes
        300c310a300806035504030c0141 | CN=A
        000e | a name, 14 bytes
        300c310a300806035504030c0142 | CN=B
    """,
    ext.SIGNATURE_ALGORITHMS_CERT: """
        0002 | supported_signature_algorithms, 2 bytes
        0807 | ed25519
    """,
    ext.KEY_SHARE: """
        000b | client_shares, 11 bytes
        001d | x25519
        0002 | key_exchange, 2 bytes
        abcd | the sender's public value for the key agreement
        0017 | secp256r1
        0001 | key_exchange, 1 byte
        ef | the sender's public value for the key agreement
    """,
    ext.RENEGOTIATION_INFO: """
        01 | renegotiated_connection, 1 byte
        ab | verify_data of the handshake that is renegotiated
    """,
}
"""The content of each, as a client sends it."""

MESSAGES = {
    (TLS12, 1, "ClientHello"): """
        0303 | client_version: TLS 1.2; for TLS 1.3 supported_versions tells
        RANDOM | random: the client's, meant for one handshake
        02 | session_id, 2 bytes
        abcd | a session to resume; in TLS 1.3 without meaning
        0004 | cipher_suites, 4 bytes
        c02b | TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        00ff | TLS_EMPTY_RENEGOTIATION_INFO_SCSV
        01 | compression_methods, 1 byte
        00 | no compression
    """,
    (TLS12, 4, "NewSessionTicket"): """
        00001c20 | ticket_lifetime_hint: 7,200 seconds
        0002 | ticket, 2 bytes
        abcd | the server's own note on this session, to be shown again
    """,
    (TLS12, 12, "ServerKeyExchange"): """
        03 | curve_type: named_curve
        0017 | secp256r1
        02 | public, 2 bytes
        abcd | the server's public value for the key agreement
        0403 | ecdsa with sha256
        0002 | signature, 2 bytes
        beef | the server's; it must fit these parameters and both randoms
    """,
    (TLS12, 13, "CertificateRequest"): """
        02 | certificate_types, 2 bytes
        01 | rsa_sign
        40 | ecdsa_sign
        0002 | supported_signature_algorithms, 2 bytes
        0403 | ecdsa with sha256
        0020 | certificate_authorities, 32 bytes
        000e | a name, 14 bytes
        300c310a300806035504030c0141 | CN=A
        000e | a name, 14 bytes
        300c310a300806035504030c0142 | CN=B
    """,
    (TLS12, 13, "CertificateRequest, a name that is none"): """
        01 | certificate_types, 1 byte
        40 | ecdsa_sign
        0002 | supported_signature_algorithms, 2 bytes
        0403 | ecdsa with sha256
        0004 | certificate_authorities, 4 bytes
        0002 | a name, 2 bytes
        abcd | a name that cannot be read
    """,
    (TLS12, 15, "CertificateVerify"): """
        0403 | ecdsa with sha256
        0002 | signature, 2 bytes
        beef | it must fit all messages of its handshake so far
    """,
    (TLS12, 16, "ClientKeyExchange by ECDHE"): """
        02 | ecdh_Yc, 2 bytes
        abcd | the client's public value for the key agreement
    """,
    (TLS12, 16, "ClientKeyExchange by RSA"): """
        0002 | encrypted_premaster_secret, 2 bytes
        abcd | the premaster secret, for the server's RSA key alone to open
    """,
    (TLS12, 16, "ClientKeyExchange, of another kind"): """
        0003abcd | unreadable: exchange_keys of a kind that the instrument does not know
    """,
    (TLS12, 16, "ClientKeyExchange, empty"): """
        00 | ecdh_Yc, empty
    """,
    (TLS12, 20, "Finished"): """
        aabb | verify_data: a MAC over all messages so far, with the new keys
    """,
    (TLS13, 4, "NewSessionTicket"): """
        00001c20 | ticket_lifetime: 7,200 seconds
        01020304 | ticket_age_add: the client adds it to the ticket's age, to hide that
        01 | ticket_nonce, 1 byte
        aa | makes this ticket's key differ from another's
        0002 | ticket, 2 bytes
        abcd | the server's own note on this session, to be shown again
        0008 | extensions, 8 bytes
        002a0004 | extension early_data (42), 4 bytes
        00000010 | max_early_data_size: 16 bytes
    """,
    (TLS13, 8, "EncryptedExtensions"): """
        0000 | extensions, empty
    """,
    (TLS13, 11, "Certificate with an OCSP response"): """
        01 | certificate_request_context, 1 byte
        ab | names the request that is answered
        000015 | certificate_list, 21 bytes
        000002 | a certificate, 2 bytes
        abcd | unreadable: an unreadable certificate: error parsing asn1 value: ParseError { kind: InvalidLength }
        000e | extensions, 14 bytes
        00050006 | extension status_request (5), 6 bytes
        01 | status_type: ocsp
        000002 | response, 2 bytes
        beef | an OCSP response: whether the certificate was revoked
        00120000 | extension signed_certificate_timestamp (18), empty
    """,
    (TLS13, 25, "CompressedCertificate"): """
        0002 | algorithm: brotli
        000010 | uncompressed_length: 16 bytes
        000002 | compressed_certificate_message, 2 bytes
        abcd | Certificate, compressed
    """,
    (TLS13, 13, "CertificateRequest"): """
        00 | certificate_request_context, empty
        0008 | extensions, 8 bytes
        000d0004 | extension signature_algorithms (13), 4 bytes
        0002 | supported_signature_algorithms, 2 bytes
        0403 | ecdsa_secp256r1_sha256
    """,
    (TLS13, 24, "KeyUpdate"): """
        01 | request_update: update_requested
    """,
    (TLS13, 11, "Certificate with a promise of a log"): """
        00 | certificate_request_context, empty
        000014 | certificate_list, 20 bytes
        000002 | a certificate, 2 bytes
        abcd | unreadable: an unreadable certificate: error parsing asn1 value: ParseError { kind: InvalidLength }
        000d | extensions, 13 bytes
        00120009 | extension signed_certificate_timestamp (18), 9 bytes
        0007 | sct_list, 7 bytes
        0003 | SerializedSCT, 3 bytes
        0a0b0c | a log's promise to publish the certificate
        0000 | SerializedSCT, empty
    """,
    (TLS12, 12, "ServerKeyExchange, of another kind"): """
        010017 | unreadable: a key exchange that the instrument does not know
    """,
}
"""The content of each, by its version, its type, and what it is."""

HELLOS = {
    ("ServerHello", bytes(32)): """
        0303 | server_version: TLS 1.2; for TLS 1.3 supported_versions tells
        RANDOM | random: the server's, meant for one handshake
        00 | session_id, empty
        1301 | cipher_suite: TLS_AES_128_GCM_SHA256
        00 | no compression
        0016 | extensions, 22 bytes
        002b0002 | extension supported_versions (43), 2 bytes
        0304 | selected_version: TLS 1.3
        00330006 | extension key_share (51), 6 bytes
        001d | x25519
        0002 | key_exchange, 2 bytes
        abcd | the sender's public value for the key agreement
        00290002 | extension pre_shared_key (41), 2 bytes
        0001 | selected_identity: 0x0001
    """,
    ("HelloRetryRequest", RETRY_RANDOM): """
        0303 | server_version: TLS 1.2; for TLS 1.3 supported_versions tells
        RANDOM | random: the one that makes it a HelloRetryRequest
        00 | session_id, empty
        1301 | cipher_suite: TLS_AES_128_GCM_SHA256
        00 | no compression
        000c | extensions, 12 bytes
        002b0002 | extension supported_versions (43), 2 bytes
        0304 | selected_version: TLS 1.3
        00330002 | extension key_share (51), 2 bytes
        0017 | selected_group: secp256r1
    """,
    ("ServerHello of a server that could do more", bytes(24) + DOWNGRADED_TO_TLS12): """
        0303 | server_version: TLS 1.2; for TLS 1.3 supported_versions tells
        RANDOM | random: the server's, meant for one handshake; its end says that it speaks a later version, too
        00 | session_id, empty
        1301 | cipher_suite: TLS_AES_128_GCM_SHA256
        00 | no compression
    """,
}


def lines(text: str, random: bytes = bytes(32)) -> list[tuple[bytes, str]]:
    """Bytes and meaning of each field."""
    with_random = text.strip().replace("RANDOM", random.hex())
    parted = (line.strip().partition(" | ") for line in with_random.splitlines())
    return [(bytes.fromhex(octets), meaning) for octets, _, meaning in parted]


def told(raw: bytes, version: int, begin: int = 4) -> list[tuple[bytes, str]]:
    """The same of a message, without what comes before `begin`."""
    return [(field.octets, field.meaning) for field in dissect(raw, version) if field.at >= begin]


def names(part: object) -> str:
    """What a case is called by."""
    return part if isinstance(part, str) else ""


def message(kind: int, expected: list[tuple[bytes, str]]) -> bytes:
    content = b"".join(octets for octets, _ in expected)
    return bytes([kind]) + len(content).to_bytes(3, "big") + content


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_an_extension_is_cut_into_the_fields_of_its_rfc(kind: int) -> None:
    expected = lines(EXTENSIONS[kind])
    one = ext.Extension(kind, b"".join(octets for octets, _ in expected))
    raw = serialize(ClientHello(bytes(32), b"", (0x1301,), (one,)))
    assert told(raw, TLS13, len(raw) - len(one.data)) == expected


@pytest.mark.parametrize(("version", "kind", "what"), MESSAGES, ids=names)
def test_a_message_is_cut_into_the_fields_of_its_rfc(version: Version, kind: int, what: str) -> None:
    expected = lines(MESSAGES[version, kind, what])
    assert told(message(kind, expected), version) == expected


@pytest.mark.parametrize(("hello", "random"), HELLOS, ids=names)
def test_a_server_hello_is_cut_into_the_fields_of_its_rfc(hello: str, random: bytes) -> None:
    expected = lines(HELLOS[hello, random], random)
    assert told(message(2, expected), TLS13) == expected


def test_an_extension_may_be_long_and_unknown() -> None:
    raw = serialize(ClientHello(bytes(32), b"", (0x1301,), (ext.Extension(0x1234, bytes(0x123)),)))
    assert told(raw, TLS13, len(raw) - 0x127) == [
        (bytes.fromhex("12340123"), "extension 0x1234 (4660), 291 bytes"),
        (bytes(0x123), "291 bytes that the instrument does not read"),
    ]


def test_an_alert_has_a_level_and_a_description() -> None:
    """RFC 5246 section 7.2."""
    fatal, warning = (dissect_alert(bytes.fromhex(octets)) for octets in ("0228", "0100"))
    assert [one.meaning for one in fatal] == ["level: fatal", "description: handshake_failure"]
    assert [one.meaning for one in warning] == ["level: warning", "description: close_notify"]


def test_a_change_cipher_spec_is_one_field() -> None:
    (one,) = dissect_change_cipher_spec(b"\1")
    assert one.meaning.startswith("from here on the new keys")


def test_what_a_vector_holds_once_is_read_once() -> None:
    found: list[Field] = []
    octets = b"\2\7\x08"
    Vector("list", 1, (Number("number", 1),)).read(Cursor(octets, 0, len(octets), found, False))
    assert [(one.octets, one.meaning) for one in found] == [
        (b"\2", "list, 2 bytes"),
        (b"\7", "number: 0x07"),
        (b"\x08", "1 byte too many for list"),
    ]
