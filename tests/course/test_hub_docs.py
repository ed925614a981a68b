"""The configuration of a hub in docs/class.md can be loaded, and keeps the students apart."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.course.receipts import new_secret, token

DOCS = Path(__file__).parents[2] / "docs" / "class.md"


class Settings(SimpleNamespace):
    """Takes what a configuration sets, section by section, as traitlets do."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        setattr(self, name, Settings())
        return getattr(self, name)


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    """What the configuration in the docs sets, with a course's secret where this test has one."""
    (block,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert "/srv/course.secret" in block
    new_secret(tmp_path / "course.secret")
    c = Settings()
    exec(block.replace("/srv", str(tmp_path)), {"get_config": lambda: c})
    return c


def test_a_students_container_has_no_privilege(configured: Any) -> None:
    host = configured.DockerSpawner.extra_host_config
    assert host["read_only"] is True
    assert host["cap_drop"] == ["ALL"]
    assert host["security_opt"] == ["no-new-privileges:true"]
    assert host["pids_limit"] <= 256
    assert "/tmp" in host["tmpfs"]
    assert configured.DockerSpawner.mem_limit == "1G"


def test_nobody_is_taken_away_who_only_reads(configured: Any) -> None:
    (culler,) = configured.JupyterHub.services
    (seconds,) = [int(one.partition("=")[2]) for one in culler["command"] if one.startswith("--timeout=")]
    assert seconds >= 900


def test_a_student_gets_her_token_and_never_the_courses_secret(configured: Any, tmp_path: Path) -> None:
    secret = bytes.fromhex((tmp_path / "course.secret").read_text())
    spawner = SimpleNamespace(user=SimpleNamespace(name="s07"), environment={})
    configured.Spawner.pre_spawn_hook(spawner)
    assert spawner.environment == {"CERTREPLAY_STUDENT": "s07", "CERTREPLAY_TOKEN": token(secret, "s07")}
    assert secret.hex() not in os.fspath(str(spawner.environment))
