"""Alerts (RFC 5246 section 7.2, RFC 8446 section 6, and the IANA registry TLS Alerts)."""

from dataclasses import dataclass
from enum import IntEnum

from lab.tls.errors import DecodeError


class AlertDescription(IntEnum):
    """The number of an alert; `label` is its name in the RFCs (`decrypt_error`)."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    DECRYPTION_FAILED = 21
    RECORD_OVERFLOW = 22
    DECOMPRESSION_FAILURE = 30
    HANDSHAKE_FAILURE = 40
    NO_CERTIFICATE = 41
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    TOO_MANY_CIDS_REQUESTED = 52
    EXPORT_RESTRICTION = 60
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    NO_RENEGOTIATION = 100
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    CERTIFICATE_UNOBTAINABLE = 111
    UNRECOGNIZED_NAME = 112
    BAD_CERTIFICATE_STATUS_RESPONSE = 113
    BAD_CERTIFICATE_HASH_VALUE = 114
    UNKNOWN_PSK_IDENTITY = 115
    CERTIFICATE_REQUIRED = 116
    GENERAL_ERROR = 117
    NO_APPLICATION_PROTOCOL = 120
    ECH_REQUIRED = 121

    @property
    def label(self) -> str:
        """The name as the RFCs write it."""
        return self.name.lower()


def alert_name(number: int) -> str:
    """The RFC's name of an alert number, or `alert 200` for a number without a name."""
    try:
        return AlertDescription(number).label
    except ValueError:
        return f"alert {number}"


WARNING = 1
FATAL = 2


@dataclass(frozen=True)
class Alert:
    """One alert: its level (1 warning, 2 fatal) and the number of its description."""

    level: int
    description: int

    @property
    def name(self) -> str:
        return alert_name(self.description)

    @property
    def ends_connection(self) -> bool:
        """True for fatal alerts and close_notify; other warnings end nothing (RFC 5246 section 7.2)."""
        return self.level == FATAL or self.description == AlertDescription.CLOSE_NOTIFY

    def serialize(self) -> bytes:
        return bytes((self.level, self.description))


def parse_alert(data: bytes) -> Alert:
    """The alert in one record's fragment, exactly two bytes; DecodeError otherwise."""
    if len(data) != 2:
        raise DecodeError(f"an alert has 2 bytes, this one has {len(data)}")
    if data[0] not in (WARNING, FATAL):
        raise DecodeError(f"the level of an alert is 1 or 2, here {data[0]}")
    return Alert(data[0], data[1])
