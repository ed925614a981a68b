"""Passwords that the attacker comes across: kept in memory, used, and never written anywhere."""

import base64
from dataclasses import dataclass, field

from lab.events.types import PASSWORD


@dataclass(frozen=True)
class FoundPassword:
    """A customer's name and what was found of her password, in which form, and where: `tls` is the version in which it
    was sent there, empty for a file."""

    name: str
    password: str = field(repr=False)
    form: str
    seen_at: str
    tls: str = ""


def basic_password(authorization: str, seen_at: str, tls: str) -> FoundPassword | None:
    """Name and password in the value of an Authorization header (RFC 7617); None for another one."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return None
    found = FoundPassword(name, password, PASSWORD, seen_at, tls)
    return found if scheme.lower() == "basic" and colon else None
