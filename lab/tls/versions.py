"""Protocol versions, by the number they have on the wire (RFC 8446 section 4.1.2)."""

from collections.abc import Iterable
from enum import IntEnum


class Version(IntEnum):
    """A version that the lab speaks. As text it is `1.2` or `1.3`, as in events and on command lines."""

    TLS12 = 0x0303
    TLS13 = 0x0304

    def __str__(self) -> str:
        return version_name(self)


TLS12, TLS13 = Version.TLS12, Version.TLS13
VERSIONS: tuple[Version, ...] = tuple(Version)

SSL3 = 0x0300
"""SSL 3.0, which is never spoken (RFC 7568)."""
DTLS10, DTLS12, DTLS13 = 0xFEFF, 0xFEFD, 0xFEFC
"""RFC 6347 section 4.1, RFC 9147 section 5.3."""
_DRAFT = 0x7F00
"""TLS 1.3 before it was finished: the draft's number is in its second byte (draft 28, section 4.2.1.1)."""

_OTHER_NAMES = {SSL3: "SSL 3.0", DTLS10: "DTLS 1.0", DTLS12: "DTLS 1.2", DTLS13: "DTLS 1.3"}

DOWNGRADED_TO_TLS12 = b"DOWNGRD\x01"
DOWNGRADED = (DOWNGRADED_TO_TLS12, b"DOWNGRD\x00")
"""The last eight bytes of the random of a server that speaks a later version than it chose: TLS 1.2, or an earlier one
(RFC 8446 section 4.1.3)."""


def find_version(name: str) -> Version | None:
    """The version with that name, `1.2` or `1.3`."""
    return next((version for version in VERSIONS if str(version) == name), None)


def version_name(version: int | None) -> str:
    """`1.2` for 0x0303; `unknown` for None, the number itself if it is no version of TLS.

    `SSL 3.0`, `DTLS 1.2` and `1.3 draft 28` for those.
    """
    if version is None:
        return "unknown"
    if 0x0301 <= version <= Version.TLS13:
        return f"1.{int(version) - 0x0301}"
    if version & 0xFF00 == _DRAFT:
        return f"1.3 draft {version & 0xFF}"
    return _OTHER_NAMES.get(version, f"{version:#06x}")


def protocol_name(name: str) -> str:
    """A version by its name, with its protocol's: `TLS 1.2`, `DTLS 1.2`, `SSL 3.0`."""
    return name if name.startswith(("DTLS ", "SSL ")) else f"TLS {name}"


def is_tls13(version: int | None) -> bool:
    """Whether this is TLS 1.3, one of its drafts, or DTLS 1.3: all of them encrypt the Certificate messages."""
    return version is not None and (version in (TLS13, DTLS13) or version & 0xFF00 == _DRAFT)


def names_scheme(version: int) -> bool:
    """Whether a CertificateVerify of this version names its signature scheme (RFC 5246 section 4.7, RFC 6347)."""
    return version == DTLS12 or TLS12 <= version <= TLS13


VERSION_NAMES: tuple[str, ...] = tuple(map(str, VERSIONS))


def versions_named(names: Iterable[str] | None) -> tuple[Version, ...]:
    """The versions with these names, in their order; all of them if none is named."""
    return tuple(dict.fromkeys(version for version in map(find_version, names or ()) if version)) or VERSIONS
