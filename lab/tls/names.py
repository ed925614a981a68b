"""Names for the numbers on the wire, as the IANA registries of TLS have them."""

from collections.abc import Mapping

from lab.tls import extensions as ext

MESSAGES: Mapping[int, str] = {
    0: "HelloRequest",
    1: "ClientHello",
    2: "ServerHello",
    4: "NewSessionTicket",
    5: "EndOfEarlyData",
    8: "EncryptedExtensions",
    11: "Certificate",
    12: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    16: "ClientKeyExchange",
    20: "Finished",
    21: "CertificateURL",
    22: "CertificateStatus",
    24: "KeyUpdate",
    25: "CompressedCertificate",
    254: "message_hash",
}

EXTENSIONS: Mapping[int, str] = {
    ext.SERVER_NAME: "server_name",
    1: "max_fragment_length",
    ext.STATUS_REQUEST: "status_request",
    ext.SUPPORTED_GROUPS: "supported_groups",
    ext.EC_POINT_FORMATS: "ec_point_formats",
    ext.SIGNATURE_ALGORITHMS: "signature_algorithms",
    15: "heartbeat",
    ext.ALPN: "application_layer_protocol_negotiation",
    ext.SIGNED_CERTIFICATE_TIMESTAMP: "signed_certificate_timestamp",
    19: "client_certificate_type",
    20: "server_certificate_type",
    ext.PADDING: "padding",
    ext.ENCRYPT_THEN_MAC: "encrypt_then_mac",
    ext.EXTENDED_MASTER_SECRET: "extended_master_secret",
    ext.COMPRESS_CERTIFICATE: "compress_certificate",
    ext.RECORD_SIZE_LIMIT: "record_size_limit",
    34: "delegated_credential",
    ext.SESSION_TICKET: "session_ticket",
    ext.PRE_SHARED_KEY: "pre_shared_key",
    ext.EARLY_DATA: "early_data",
    ext.SUPPORTED_VERSIONS: "supported_versions",
    ext.COOKIE: "cookie",
    ext.PSK_KEY_EXCHANGE_MODES: "psk_key_exchange_modes",
    ext.CERTIFICATE_AUTHORITIES: "certificate_authorities",
    48: "oid_filters",
    ext.POST_HANDSHAKE_AUTH: "post_handshake_auth",
    ext.SIGNATURE_ALGORITHMS_CERT: "signature_algorithms_cert",
    ext.KEY_SHARE: "key_share",
    57: "quic_transport_parameters",
    65037: "encrypted_client_hello",
    ext.RENEGOTIATION_INFO: "renegotiation_info",
}

CIPHER_SUITES: Mapping[int, str] = {
    0x000A: "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    0x002F: "TLS_RSA_WITH_AES_128_CBC_SHA",
    0x0033: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA",
    0x0035: "TLS_RSA_WITH_AES_256_CBC_SHA",
    0x0039: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA",
    0x003C: "TLS_RSA_WITH_AES_128_CBC_SHA256",
    0x003D: "TLS_RSA_WITH_AES_256_CBC_SHA256",
    0x0067: "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256",
    0x006B: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256",
    0x009C: "TLS_RSA_WITH_AES_128_GCM_SHA256",
    0x009D: "TLS_RSA_WITH_AES_256_GCM_SHA384",
    0x009E: "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256",
    0x009F: "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384",
    0x00FF: "TLS_EMPTY_RENEGOTIATION_INFO_SCSV",
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0x1304: "TLS_AES_128_CCM_SHA256",
    0x1305: "TLS_AES_128_CCM_8_SHA256",
    0x5600: "TLS_FALLBACK_SCSV",
    0xC008: "TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA",
    0xC009: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    0xC00A: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    0xC012: "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    0xC013: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    0xC014: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    0xC023: "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    0xC024: "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384",
    0xC027: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    0xC028: "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384",
    0xC02B: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    0xC02C: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    0xC02F: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    0xC030: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    0xC09C: "TLS_RSA_WITH_AES_128_CCM",
    0xC09D: "TLS_RSA_WITH_AES_256_CCM",
    0xC09E: "TLS_DHE_RSA_WITH_AES_128_CCM",
    0xC09F: "TLS_DHE_RSA_WITH_AES_256_CCM",
    0xC0AC: "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
    0xC0AD: "TLS_ECDHE_ECDSA_WITH_AES_256_CCM",
    0xCCA8: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCA9: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    0xCCAA: "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
"""Those that common clients offer."""

GROUPS: Mapping[int, str] = {
    21: "secp224r1",
    23: "secp256r1",
    24: "secp384r1",
    25: "secp521r1",
    29: "x25519",
    30: "x448",
    31: "brainpoolP256r1tls13",
    32: "brainpoolP384r1tls13",
    33: "brainpoolP512r1tls13",
    256: "ffdhe2048",
    257: "ffdhe3072",
    258: "ffdhe4096",
    259: "ffdhe6144",
    260: "ffdhe8192",
    512: "MLKEM512",
    513: "MLKEM768",
    514: "MLKEM1024",
    4587: "SecP256r1MLKEM768",
    4588: "X25519MLKEM768",
    4589: "SecP384r1MLKEM1024",
}

SIGNATURE_SCHEMES: Mapping[int, str] = {
    0x0201: "rsa_pkcs1_sha1",
    0x0202: "dsa_sha1",
    0x0203: "ecdsa_sha1",
    0x0301: "rsa_pkcs1_sha224",
    0x0302: "dsa_sha224",
    0x0303: "ecdsa_sha224",
    0x0401: "rsa_pkcs1_sha256",
    0x0402: "dsa_sha256",
    0x0403: "ecdsa_secp256r1_sha256",
    0x0501: "rsa_pkcs1_sha384",
    0x0502: "dsa_sha384",
    0x0503: "ecdsa_secp384r1_sha384",
    0x0601: "rsa_pkcs1_sha512",
    0x0602: "dsa_sha512",
    0x0603: "ecdsa_secp521r1_sha512",
    0x0804: "rsa_pss_rsae_sha256",
    0x0805: "rsa_pss_rsae_sha384",
    0x0806: "rsa_pss_rsae_sha512",
    0x0807: "ed25519",
    0x0808: "ed448",
    0x0809: "rsa_pss_pss_sha256",
    0x080A: "rsa_pss_pss_sha384",
    0x080B: "rsa_pss_pss_sha512",
    0x081A: "ecdsa_brainpoolP256r1tls13_sha256",
    0x081B: "ecdsa_brainpoolP384r1tls13_sha384",
    0x081C: "ecdsa_brainpoolP512r1tls13_sha512",
    0x0904: "mldsa44",
    0x0905: "mldsa65",
    0x0906: "mldsa87",
}

SIGNATURE_ALGORITHMS12: Mapping[int, str] = {
    **SIGNATURE_SCHEMES,
    0x0403: "ecdsa with sha256",
    0x0503: "ecdsa with sha384",
    0x0603: "ecdsa with sha512",
}
"""The same in TLS 1.2, where ECDSA goes with a hash and any curve (RFC 5246 section 7.4.1.4.1)."""

CERTIFICATE_TYPES: Mapping[int, str] = {1: "rsa_sign", 2: "dss_sign", 64: "ecdsa_sign"}
"""ClientCertificateType (RFC 5246 section 7.4.4, RFC 8422 section 5.5)."""
POINT_FORMATS: Mapping[int, str] = {
    0: "uncompressed",
    1: "ansiX962_compressed_prime",
    2: "ansiX962_compressed_char2",
}
COMPRESSIONS: Mapping[int, str] = {0: "no compression", 1: "DEFLATE"}
PSK_MODES: Mapping[int, str] = {0: "psk_ke", 1: "psk_dhe_ke"}
CERTIFICATE_FORMS: Mapping[int, str] = {0: "X509", 1: "OpenPGP", 2: "RawPublicKey"}


def is_grease(number: int) -> bool:
    """Whether a 16-bit number is one that clients offer only to see that servers ignore what they do not know (RFC
    8701 section 2)."""
    return number >> 8 == number & 0xFF and number & 0x0F == 0x0A


def named(names: Mapping[int, str], number: int, width: int) -> str:
    """A number's name, or the number itself in hex; `width` is its size in bytes."""
    if width == 2 and number not in names and is_grease(number):
        return f"GREASE, {number:#06x}: a number without meaning, which a server has to ignore"
    return names.get(number, f"{number:#0{2 * width + 2}x}")
