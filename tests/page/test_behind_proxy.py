"""The page on a UNIX socket, as a proxy that knows its user asks for it."""

import http.client
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.page.jupyter import setup
from programs import CERTREPLAY, certreplay, wait_until


class Connection(http.client.HTTPConnection):
    """To a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("hub.school.example", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def ask(path: Path, what: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    connection = Connection(path)
    connection.request(method, what, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers
    connection.close()
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A socket with the page, and the folder of runs, which has none yet."""
    folder = tmp_path_factory.mktemp("proxy")
    path, runs = folder / "page.sock", folder / "runs"
    with socket.socket(socket.AF_UNIX) as before:
        before.bind(str(path))  # one that was killed left its socket
    process = subprocess.Popen([CERTREPLAY, "show", "--runs", str(runs), "--socket", str(path)], stderr=subprocess.PIPE)

    def answers() -> bool:
        try:
            return ask(path, "/")[0] == 200
        except OSError:
            return False

    try:
        wait_until(answers, "the socket")
        yield path, runs
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"certreplay: stopped\n")
    assert not path.exists()


def test_before_the_first_run_it_says_how_to_make_one_and_then_shows_the_newest(
    served: tuple[Path, Path], finished_run: Path
) -> None:
    path, runs = served
    status, text, _ = ask(path, "/")
    assert (status, "There is no run yet." in text, "certreplay demo" in text) == (200, True, True)
    assert ask(path, "/assets/page.css")[0] == 200
    assert ask(path, "/evidence/x")[0] == 404
    for name in ("2026-01-01T00-00-00.000Z", "2026-01-02T00-00-00.000Z"):
        shutil.copytree(finished_run, runs / name)
        started = runs / name / "lab" / "events.jsonl"
        started.write_text(started.read_text().replace(finished_run.name, name))
        status, _, headers = ask(path, "/")
        assert (status, headers["location"]) == (307, f"run/{name}/")
        status, text, headers = ask(path, f"/run/{name}/")
        assert status == 200
        assert f'data-run="{name}"' in text
        assert headers["x-frame-options"] == "DENY"
        assert "set-cookie" not in headers
        assert ask(path, f"/run/{name}/assets/page.css")[0] == 200
    assert 'data-run="2026-01-01T00-00-00.000Z"' in ask(path, "/run/2026-01-01T00-00-00.000Z/")[1]
    assert ask(path, "/run/2026-01-03T00-00-00.000Z/")[0] == 404
    assert ask(path, "/run/..%2F..%2Fetc/")[0] == 404


def test_only_its_owner_can_open_the_socket(served: tuple[Path, Path]) -> None:
    assert stat.S_IMODE(served[0].stat().st_mode) == 0o700


def test_what_another_site_asks_for_is_refused_and_so_is_a_change(served: tuple[Path, Path]) -> None:
    path, _ = served
    assert ask(path, "/events", Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(path, "/at?place=%23x", Sec_Fetch_Site="same-site")[0] == 403
    assert ask(path, "/", method="POST")[0] == 405


def test_a_socket_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    served = tmp_path / "served"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(served))
    listening.listen()
    refused = (
        (tmp_path / "nowhere" / "s", "No such file"),
        (tmp_path / "file", "in use"),
        (served, "in use"),
        (tmp_path / ("x" * 110), "path too long"),
    )
    for path, why in refused:
        done = certreplay("show", "--runs", tmp_path, "--socket", path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert why in done.stderr
    done = certreplay("show", "--socket", tmp_path / "s", "--port", "8440")
    assert done.returncode == 2
    assert "--socket shows the newest run" in done.stderr
    assert (tmp_path / "file").is_file()
    assert served.is_socket()
    listening.close()


def test_the_tile_has_a_name_an_icon_and_the_command() -> None:
    tile = setup()
    assert tile["unix_socket"] is True
    assert Path(tile["launcher_entry"]["icon_path"]).read_text().startswith("<svg")
    assert tile["command"][1:4] == ["-m", "lab", "show"]
    assert tile["command"][-2:] == ["--socket", "{unix_socket}"]
