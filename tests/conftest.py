"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

from lab import pki
from lab.pki import KeyType
from tls_peers import Identities


@pytest.fixture(scope="session")
def authority() -> pki.Identity:
    return pki.new_authority()


@pytest.fixture(scope="session")
def identities(authority: pki.Identity) -> Identities:
    """Servers and clients by their role and kind of key, each made once."""
    made: dict[tuple[str, KeyType], pki.Identity] = {}

    def identity(role: str, key_type: KeyType) -> pki.Identity:
        if (role, key_type) not in made:
            new = pki.new_server if role == "server" else pki.new_client
            made[role, key_type] = new(authority, key_type=key_type)
        return made[role, key_type]

    return identity


@pytest.fixture
def issued(tmp_path: Path) -> pki.Issued:
    """A fresh set of everything the lab hands out, in this test's own folders."""
    return pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client")
