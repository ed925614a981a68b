"""The page has room for everybody, whatever others do with their connections."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.page import visitors
from lab.page.address import HOST
from lab.page.server import PageServer
from pages import ask, path_of, served
from programs import PATIENCE_SECONDS, wait_until

ROOM = 8


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "MOST", ROOM)
    monkeypatch.setattr(visitors, "IDLE_SECONDS", 10 * PATIENCE_SECONDS)


@pytest.fixture
def server(finished_run: Path) -> Iterator[PageServer]:
    with served(finished_run, until_told=False) as server:
        yield server


def connect(server: PageServer, said: str = "") -> socket.socket:
    connection = socket.create_connection((HOST, server.address.port), PATIENCE_SECONDS)
    connection.sendall(said.encode())
    return connection


def request(server: PageServer, path: str, more: str = "") -> str:
    """A whole request of the presenter's."""
    address = server.address
    host, cookie = f"{HOST}:{address.port}", f"{address.cookie}={address.tokens.presenter}"
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n{more}\r\n"


def has_ended(connection: socket.socket) -> bool:
    """Whether the server has ended it; what it said is dropped."""
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("said", ["", "GET / HTTP/1.1\r\nA: b", "\r\n\r\n", "listens"])
def test_a_crowd_keeps_nobody_out(said: str, server: PageServer) -> None:
    said = request(server, "/events") if said == "listens" else said
    with ExitStack() as crowd:
        connections = [crowd.enter_context(connect(server, said)) for _ in range(5 * ROOM)]
        wait_until(lambda: sum(map(has_ended, connections)) >= 4 * ROOM, "the others to be ended")
        for _ in range(2):
            assert ask(server, path_of(server.address.url())).status == 200


def test_who_listens_stays_while_others_are_idle(server: PageServer) -> None:
    with ExitStack() as crowd:
        listening = crowd.enter_context(connect(server, request(server, "/events")))
        assert listening.recv(1 << 16).startswith(b"HTTP/1.1 200")
        idle = [crowd.enter_context(connect(server)) for _ in range(3 * ROOM)]
        wait_until(lambda: has_ended(idle[0]), "an idle one to be ended")
        assert not has_ended(listening)


@pytest.mark.parametrize("said", ["", "GET / HTTP/1.1\r\n", "whole", "with a body that does not come"])
def test_an_idle_connection_ends(said: str, server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "IDLE_SECONDS", 0.05)
    whole = {"whole": "", "with a body that does not come": "Content-Length: 5\r\n"}
    with connect(server, request(server, "/at", whole[said]) if said in whole else said) as connection:
        wait_until(lambda: has_ended(connection), "it to be ended")
