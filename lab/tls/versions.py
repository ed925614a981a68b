"""Protocol versions, by the number they have on the wire (RFC 8446 section 4.1.2)."""

TLS12 = 0x0303
TLS13 = 0x0304


def version_name(version: int | None) -> str:
    """`1.2` for 0x0303; `unknown` for None, the number itself for what is no version of TLS."""
    if version is None:
        return "unknown"
    return f"1.{version - 0x0301}" if 0x0301 <= version <= TLS13 else f"{version:#06x}"
