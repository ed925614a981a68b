"""Fixtures that several test modules share."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from hypothesis import HealthCheck, settings

from engines import running_engine
from lab.catalogue.plan import KeyType, short_story
from lab.staging import embedded, pki
from tls_peers import Identities
from victims import Victims, running_victims

# pytest imports readline, which puts the terminal's size into the environment: no output here is for that terminal.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)
    os.unsetenv(_name)

# No example fails for its time: a busy machine is no bug. And a folder may serve all examples of a test.
settings.register_profile(
    "certreplay",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("certreplay")


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


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of the short story that kept alice's bundle. Tests only read it; one that changes it takes a copy."""
    runs = tmp_path_factory.mktemp("runs")
    judgement = asyncio.run(embedded.run_embedded(runs, short_story(), None, lambda run: None, keep_bundle=True))
    assert judgement.as_expected
    return runs / judgement.run


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    with running_engine() as running:
        yield running


@pytest.fixture
def issued(tmp_path: Path) -> pki.Issued:
    """A fresh set of everything the lab hands out, in this test's own folders."""
    return pki.issue(tmp_path / "public", tmp_path / "server", tmp_path / "client", passwords=True)


@pytest.fixture
def victims(issued: pki.Issued, tmp_path: Path) -> Iterator[Victims]:
    """The bank behind every gateway."""
    with running_victims(issued, tmp_path / "victim-server") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    """The same for a whole module of tests, which leave no trace but reports."""
    folder = tmp_path_factory.mktemp("shared")
    folders = folder / "public", folder / "server", folder / "client"
    issued = pki.issue(*folders, attacker=folder / "attacker", passwords=True)
    with running_victims(issued, folder / "victim-server") as running:
        yield running


@pytest.fixture
def alice(identities: Identities) -> pki.Identity:
    """The honest client of tests that need one alone."""
    return identities("client", "p256")


@pytest.fixture
def bank(identities: Identities) -> pki.Identity:
    """The server of such tests."""
    return identities("server", "p256")
