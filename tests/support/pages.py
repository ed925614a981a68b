"""A page that is served on loopback while a test runs, and a client that sends what it is told."""

import asyncio
import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.page.address import HOST, bind
from lab.page.following import Following
from lab.page.server import PageServer
from programs import PATIENCE_SECONDS, wait_until


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()


@contextmanager
def served(run: Path, until_told: bool = True) -> Iterator[PageServer]:
    """The page of a run, from the time on when all of it is told, or at once."""
    bound, address = bind(HOST, None)
    server = PageServer(Following(lambda: run), address)
    loop = asyncio.new_event_loop()
    serving = loop.create_task(server.serve(bound))

    def work() -> None:
        try:
            loop.run_until_complete(serving)
        except asyncio.CancelledError:
            pass
        if others := asyncio.all_tasks(loop):
            for left in others:
                left.cancel()
            loop.run_until_complete(asyncio.wait(others))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        if until_told:
            wait_until(lambda: server.following.director.done, "the page to be told")
        yield server
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(PATIENCE_SECONDS)
        loop.close()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> Answer:
    """A request exactly as told; a Host that is given takes the place of the real one."""
    connection = http.client.HTTPConnection(HOST, server.address.port, timeout=PATIENCE_SECONDS)
    try:
        connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def path_of(address: str) -> str:
    """The path and the query of an address."""
    return "/" + address.split("/", 3)[3]
