"""Where a page is served, and the tokens that let somebody in."""

import hmac
import secrets
import socket
from dataclasses import dataclass, field

from lab.events.run import RunError
from lab.printable import say

FIRST_PORT = 8440
HOST = "127.0.0.1"


def _token() -> str:
    return secrets.token_urlsafe(16)


@dataclass(frozen=True)
class Tokens:
    """What lets somebody in: as the presenter, or to look."""

    presenter: str = field(default_factory=_token)
    looking: str = field(default_factory=_token)

    def lets_in(self, token: str) -> bool:
        return self.presents(token) or hmac.compare_digest(token.encode(), self.looking.encode())

    def presents(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self.presenter.encode())


@dataclass(frozen=True)
class PageAddress:
    """Where a page is. Without a port it has no address of its own: a proxy leads to it."""

    host: str = HOST
    port: int = 0
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def cookie(self) -> str:
        """The cookie's name: a browser keeps cookies by host, for all of its ports."""
        return f"certreplay-{self.port}" if self.port else ""

    def url(self, looking: bool = False) -> str:
        """With a token: the presenter's, or that of those who look and follow."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        query = f"token={self.tokens.looking}&follow" if looking else f"token={self.tokens.presenter}"
        return f"http://{shown}:{self.port}/?{query}"

    def tell(self) -> None:
        """Prints where the page is."""
        say(f"The page is at {self.url()}")


def bind(host: str, port: int | None) -> tuple[socket.socket, PageAddress]:
    """A socket to serve on: on that port, or else on 8440, or where that is taken on a free one. RunError if there is
    none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        try:
            bound = socket.create_server((host, FIRST_PORT if port is None else port), family=family)
        except OSError:
            if port is not None:
                raise
            bound = socket.create_server((host, 0), family=family)
    except (OSError, UnicodeError) as error:
        where = f"{host}:{port}" if port else host
        why = getattr(error, "strerror", None) or error
        raise RunError(f"{where}: the page cannot be served there ({why}); choose another --port or --listen") from None
    return bound, PageAddress(host, bound.getsockname()[1])
