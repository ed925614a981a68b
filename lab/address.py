"""Network addresses: a host and a port, as people and events write them."""

from typing import NamedTuple

MAX_PORT = 65535


class Address(NamedTuple):
    """A host (a name or an IP address, without brackets) and a port. As text it is `127.0.0.1:8441` or `[::1]:8441`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def host_port(socket_name: tuple[str, int]) -> str:
    """The text for a socket's own name or its peer's; with IPv6 such a name has two more fields."""
    return str(Address(*socket_name[:2]))


def find_address(text: str) -> Address | None:
    """Reads `HOST:PORT`; None if the text is no address. An IPv6 address is in brackets (RFC 3986 section 3.2.2)."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    number = port_number(port)
    return Address(host, number) if colon and host and number is not None else None


def port_number(text: str) -> int | None:
    """A port from 0 to 65535; None if the text is not one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT else None
