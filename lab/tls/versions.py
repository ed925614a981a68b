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

DOWNGRADED_TO_TLS12 = b"DOWNGRD\x01"
DOWNGRADED = (DOWNGRADED_TO_TLS12, b"DOWNGRD\x00")
"""The last eight bytes of the random of a server that speaks a later version than it chose: TLS 1.2, or an earlier one
(RFC 8446 section 4.1.3)."""


def find_version(name: str) -> Version | None:
    """The version with that name, `1.2` or `1.3`."""
    return next((version for version in VERSIONS if str(version) == name), None)


def version_name(version: int | None) -> str:
    """`1.2` for 0x0303; `unknown` for None, the number itself if it is no version of TLS."""
    if version is None:
        return "unknown"
    return f"1.{int(version) - 0x0301}" if 0x0301 <= version <= Version.TLS13 else f"{version:#06x}"


VERSION_NAMES: tuple[str, ...] = tuple(map(str, VERSIONS))


def versions_named(names: Iterable[str] | None) -> tuple[Version, ...]:
    """The versions with these names, in their order; all of them if none is named."""
    return tuple(dict.fromkeys(version for version in map(find_version, names or ()) if version)) or VERSIONS
