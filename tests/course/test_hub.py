"""A real JupyterHub: each student runs a demo and sees its page through the hub's proxy, and nobody sees another's.

It needs an environment of its own, `.venv/hub`, which `make hub` sets up; run it with `-m hub` (docs/class.md).
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import pytest

from lab.ports import held_ports
from programs import unavailable, wait_until

pytestmark = pytest.mark.hub

HUB = Path(os.environ.get("CERTREPLAY_HUB", Path(sys.prefix) / "hub"))
STUDENTS = ("s07", "s12", "s30")
CONFIG = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.ConfigurableHTTPProxy.command = ["{proxy}"]
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "secret of the test"
c.Authenticator.allowed_users = set({students})
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/{{username}}"
c.Spawner.cmd = ["{singleuser}", "--allow-root"]
c.Spawner.environment = {{"JUPYTERHUB_SINGLEUSER_APP": "jupyter_server.serverapp.ServerApp"}}
"""


class Browser:
    """As much of a browser as a login takes: cookies, forms and redirects."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookies: dict[tuple[str, str], str] = {}

    def open(self, path: str, form: dict[str, str] | None = None, follow: int = 12) -> tuple[int, str]:
        """The status and the text of what is there in the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        sent = {name: value for (where, name), value in self._cookies.items() if urlsplit(path).path.startswith(where)}
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in sent.items())}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            form = form | {"_xsrf": sent.get("_xsrf", "")}
        connection.request("POST" if form is not None else "GET", path, urlencode(form or {}), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        for line in answer.headers.get_all("set-cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                self._cookies[morsel["path"] or "/", name] = morsel.value
        place = answer.headers.get("location")
        connection.close()
        if place and follow and answer.status in (301, 302, 303, 307):
            target = urlsplit(urljoin(path, place))
            return self.open(f"{target.path}?{target.query}" if target.query else target.path, None, follow - 1)
        return answer.status, text

    def log_in(self, student: str) -> None:
        self.open("/hub/login")
        status, text = self.open("/hub/login", {"username": student, "password": "secret of the test"})
        assert status == 200, text

    def page(self, student: str, path: str = "") -> tuple[int, str]:
        return self.open(f"/user/{student}/certreplay/{path}")


def run_shown(page: str) -> str:
    """The name of the run that a page shows."""
    (found,) = re.findall(r'data-run="([^"]+)"', page)
    return str(found)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A hub on loopback, with its port, and the folder with the students' homes."""
    if not (HUB / "bin" / "jupyterhub").exists():
        unavailable(f"{HUB} has no JupyterHub; `make hub` sets it up")
    folder = tmp_path_factory.mktemp("hub")
    with ExitStack() as stack:
        port, hub_port, api_port = held_ports(stack, 3)
        (folder / "jupyterhub_config.py").write_text(
            CONFIG.format(
                port=port,
                hub=hub_port,
                api=api_port,
                students=STUDENTS,
                folder=folder,
                proxy=HUB / "node" / "node_modules" / ".bin" / "configurable-http-proxy",
                singleuser=HUB / "bin" / "jupyterhub-singleuser",
            )
        )
        log = (folder / "log").open("w")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["PATH"] = f"{HUB / 'bin'}:{environment['PATH']}"
        command = [str(HUB / "bin" / "jupyterhub"), "-f", "jupyterhub_config.py"]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: "JupyterHub is now running" in (folder / "log").read_text(), (folder / "log").read_text)
            yield port, folder
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            log.close()


@pytest.fixture(scope="module")
def browsers(hub: tuple[int, Path]) -> dict[str, Browser]:
    """Each student is logged in, and her server has been spawned."""
    port, folder = hub

    def spawned(student: str) -> Browser:
        browser = Browser(port)
        browser.log_in(student)
        browser.open("/hub/spawn")
        wait_until(
            lambda: "There is no run yet" in browser.page(student)[1],
            lambda: f"{student}: {browser.page(student)}\n{(folder / 'log').read_text()[-3000:]}",
        )
        return browser

    with ThreadPoolExecutor(len(STUDENTS)) as pool:
        return dict(zip(STUDENTS, pool.map(spawned, STUDENTS), strict=True))


def test_each_student_sees_her_own_run_through_the_proxy_and_nobody_elses(
    hub: tuple[int, Path], browsers: dict[str, Browser]
) -> None:
    _, folder = hub
    for student in STUDENTS:
        home = folder / student
        environment = os.environ | {"HOME": str(home), "CERTREPLAY_STUDENT": student}
        environment.pop("PYTHONPATH", None)
        command = [str(HUB / "bin" / "certreplay"), "demo", "--json"]
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["student"] == student
    runs = {student: run_shown(browser.page(student)[1]) for student, browser in browsers.items()}
    for student, browser in browsers.items():
        status, page = browser.page(student)
        assert status == 200
        assert f"student {student}</title>" in page
        links = re.findall(r'(?:href|src)="(assets/[^"]+)"', page)
        assert links
        assert {browser.page(student, f"run/{runs[student]}/{link}")[0] for link in links} == {200}
        for other in STUDENTS:
            if other != student:
                for path in ("", "assets/page.css", f"run/{runs[other]}/", f"run/{runs[other]}/events"):
                    status, text = browser.page(other, path)
                    assert status in (403, 404), f"{student} at {other}'s"
                    assert f"student {other}" not in text
    nobody = Browser(hub[0])
    assert "student s07" not in nobody.page("s07")[1]


def test_scenes_of_a_run_come_through_the_proxy_as_they_come(
    hub: tuple[int, Path], browsers: dict[str, Browser]
) -> None:
    """Server-sent events: the proxy streams them, or this would wait for ever."""
    browser = browsers["s07"]
    connection = http.client.HTTPConnection("127.0.0.1", hub[0], timeout=60)
    cookies = {name: value for (where, name), value in browser._cookies.items() if "/user/s07/".startswith(where)}
    headers = {"Cookie": "; ".join(f"{n}={v}" for n, v in cookies.items()), "Accept": "text/event-stream"}
    run = run_shown(browser.page("s07")[1])
    connection.request("GET", f"/user/s07/certreplay/run/{run}/events?after=0", headers=headers)
    answer = connection.getresponse()
    assert answer.headers.get_content_type() == "text/event-stream"
    assert answer.readline() == b"id: 1\r\n"
    connection.close()


def test_the_tile_has_a_name_and_an_icon(browsers: dict[str, Browser]) -> None:
    told = json.loads(browsers["s07"].open("/user/s07/server-proxy/servers-info")[1])["server_processes"]
    (tile,) = [one for one in told if one["name"] == "certreplay"]
    assert tile["launcher_entry"]["title"] == "certreplay"
    status, icon = browsers["s07"].open("/user/s07/server-proxy/icon/certreplay")
    assert (status, icon.startswith("<svg")) == (200, True)
