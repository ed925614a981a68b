"""Protocol versions by their number on the wire (RFC 8446 section 4.1.2)."""

from enum import IntEnum
from typing import Self


class Version(IntEnum):
    """A version that the instrument speaks. The value is its number on the wire; `str` gives `TLS 1.2`."""

    TLS12 = 0x0303
    TLS13 = 0x0304

    @property
    def label(self) -> str:
        """The short name in tables and reports: `1.2`."""
        return version_name(self)

    @classmethod
    def of_label(cls, label: str) -> Self | None:
        """The version with this label; None for every other text."""
        return next((version for version in cls if version.label == label), None)

    def __str__(self) -> str:
        return f"TLS {self.label}"


TLS12 = Version.TLS12
TLS13 = Version.TLS13


def version_name(version: int | None) -> str:
    """The short name of any number that a peer may send: `1.0` for 0x0301, `0x0300` for SSL 3.0 and other numbers that
    belong to no version of TLS, `unknown` for None."""
    if version is None:
        return "unknown"
    return f"1.{version - 0x0301}" if 0x0301 <= version <= TLS13 else f"{version:#06x}"
