"""Fixtures that several test modules share."""

from pathlib import Path

import pytest

from lab import pki


@pytest.fixture(scope="session")
def authority() -> pki.Identity:
    return pki.new_authority()


@pytest.fixture
def issued(tmp_path: Path) -> pki.Issued:
    """A fresh set of everything the lab hands out, in this test's own folders."""
    return pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client")
