"""The gallery's servers, for real: each lets in who has the certificate and its key, and nobody else."""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from lab.catalogue.gallery import GALLERY, find_server
from lab.catalogue.outcomes import NOT_APPLICABLE, REFUSED
from lab.probing import compose
from lab.probing.gallery import show
from lab.probing.gallery_blocks import tell
from lab.probing.judge import status
from lab.probing.probe import MOVE_IDS
from lab.probing.servers import is_installed
from lab.tls.versions import TLS13
from lab.views import markdown
from programs import certreplay, unavailable

USUAL = ("nginx", "apache2", "haproxy", "caddy", "node", "erlang", "openssl", "gnutls")
"""Those that other tests need as well. The others have a marker, `gallery`: docs/gallery.md says how to run them."""
ROWS = [pytest.param(one.id, marks=[] if one.id in USUAL else [pytest.mark.gallery]) for one in GALLERY]


@pytest.mark.parametrize("name", ROWS)
def test_it_is_safe_and_its_control_gets_in(name: str) -> None:
    server = find_server(name)
    assert server
    if not is_installed(server):
        unavailable(f"{name} is not installed (Debian: {' '.join(server.packages)})")
    shown = asyncio.run(show(server))
    assert shown.probed, shown.missing
    assert status(shown.probed.judged) == 0, markdown.text(tell([shown]))
    assert any(char.isdigit() for char in shown.version)
    for judged in shown.probed.judged.values():
        assert judged.spoken or (judged.version == TLS13 and name == "nginx")  # TLS 1.3 is off before nginx 1.23.4
        outcomes = {verdict.move: verdict.outcome for verdict in judged.verdicts}
        if judged.spoken:
            assert outcomes.keys() == set(MOVE_IDS)
            assert set(outcomes.values()) <= {REFUSED, NOT_APPLICABLE}
            assert sum(one == REFUSED for one in outcomes.values()) >= 13


def test_every_row_is_complete() -> None:
    assert len(GALLERY) >= 20
    assert len({one.id for one in GALLERY}) == len(GALLERY)
    for server in GALLERY:
        assert server.packages
        assert server.asks
        assert server.default


def test_a_server_that_is_not_there_is_named() -> None:
    done = certreplay("gallery", "iis")
    assert done.returncode == 2
    assert "iis: no such server; give one of nginx, apache2" in done.stderr


def test_nothing_of_a_server_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # so that its programs are told from those of other tests
    server = find_server("openssl")
    assert server
    assert "@SERVER@" in server.command
    shown = asyncio.run(show(server))
    assert shown.probed
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            assert os.fsencode(tmp_path) not in (entry / "cmdline").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_every_server_has_a_service_of_its_own() -> None:
    assert compose.FILE.read_text("utf-8") == compose.services(), "stale: python -m lab.probing.compose"
