"""A TCP address: a host and a port.

Events and command lines hold addresses as text, `127.0.0.1:8441`. Code that needs the parts reads them here.
"""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

HTTPS_PORT = 443
_HOST_PORT = re.compile(r"(?:\[([^\[\]]*:[^\[\]]*)\]|([^\[\]:]+)):([0-9]{1,5})")


class Address(NamedTuple):
    """A host, by name or by IP address, and a port. As text `127.0.0.1:8441`, or `[::1]:8441` for IPv6."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Reads HOST:PORT. ValueError for anything else; an IPv6 address needs its brackets."""
        match = _HOST_PORT.fullmatch(text)
        if not match or int(match[3]) > 0xFFFF:
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(match[1] or match[2], int(match[3]))

    @classmethod
    def of_url(cls, url: str) -> "Address":
        """The address that an https URL names, by default port 443. ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"{url!r} is not https://HOST:PORT")
        return cls(parts.hostname, HTTPS_PORT if parts.port is None else parts.port)

    @classmethod
    def of_socket(cls, name: tuple[str, int] | tuple[str, int, int, int]) -> "Address":
        """From what `getsockname` and `getpeername` return: for IPv6 that has four parts."""
        return cls(name[0], name[1])

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
