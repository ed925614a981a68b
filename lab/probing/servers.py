"""Servers that others wrote: their configuration copied into a folder, and the program run there, until it ends."""

import asyncio
import contextlib
import glob
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from lab.catalogue.gallery import RealServer

START_SECONDS = 60.0
STOP_SECONDS = 10.0


def is_installed(server: RealServer) -> bool:
    """Whether the program is here."""
    return bool(glob.glob(server.program) if "/" in server.program else shutil.which(server.program))


class NotStarted(Exception):
    """The server did not start, or ended early; the text says what it printed."""


def filled(text: str, places: Mapping[str, str]) -> str:
    """A text with its `@NAME@` replaced."""
    for name, value in places.items():
        text = text.replace(f"@{name}@", value)
    return text


def copy_configuration(source: Traversable, folder: Path, places: Mapping[str, str]) -> None:
    """The server's configuration, with its places filled."""
    if not source.is_dir():
        return
    for one in source.iterdir():
        if one.is_dir():
            (folder / one.name).mkdir(exist_ok=True)
            copy_configuration(one, folder / one.name, places)
        else:
            (folder / one.name).write_text(filled(one.read_text("utf-8"), places), "utf-8")


async def prepare(command: str, folder: Path, output: Path) -> None:
    """Runs what a server needs before it starts; NotStarted where that fails."""
    with output.open("ab") as file:
        process = await asyncio.create_subprocess_shell(
            command, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, cwd=folder
        )
        if await process.wait():
            raise NotStarted(_last_words(output))


@contextlib.asynccontextmanager
async def running_process(command: str, folder: Path, output: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server in a session of its own; all of that is ended."""
    with output.open("ab") as file:
        process = await asyncio.create_subprocess_shell(
            command,
            stdin=asyncio.subprocess.PIPE,  # s_server ends when its input does
            stdout=file,
            stderr=file,
            cwd=folder,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def until_it_takes_connections(port: int, process: asyncio.subprocess.Process, output: Path) -> None:
    """Waits for a server that has just started; NotStarted if it ends or takes too long."""
    try:
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        pass
    raise NotStarted(f"it did not start: {_last_words(output)}")


def _last_words(output: Path) -> str:
    lines = output.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else "it printed nothing"
