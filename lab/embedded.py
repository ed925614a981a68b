"""The embedded lab: every part a process of its own on loopback, with no root and no Docker."""

import asyncio
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from lab import control, pki
from lab.events import EventLog, PartStopped, RunStarted
from lab.pki import Issued, KeyType
from lab.run import (
    ATTACKER,
    LAB,
    SHORT_STORY,
    VICTIM_CLIENT,
    VICTIM_SERVER,
    Folders,
    Run,
    make_run_folder,
    new_run_name,
)
from lab.supervisor import Part, Supervisor
from lab.tls.bundle import Bundle
from lab.verdicts import Judgement, judge, judge_unfinished, tried_everywhere

HOST = "127.0.0.1"
LOGIN_EVERY_SECONDS = 0.5
RUN_SECONDS = 30.0
POLL_SECONDS = 0.02

Watcher = Callable[[Run], object]
"""Called whenever something new has happened in the run."""


async def run_embedded(runs: Path, key_type: KeyType, first_port: int | None, watch: Watcher) -> Judgement:
    """One whole run, from issuing to verdicts; writes verdicts.json.

    `first_port` and the ports after it are the gateways' and then the relay's; None takes free ones. Raises RunError,
    PkiError, or PartFailed when a part ends before its time, with its words.
    """
    name = new_run_name()
    folders = make_run_folder(runs, name)
    with ExitStack() as stack:
        log = EventLog(folders.part(LAB), LAB)
        stack.callback(log.close)
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certreplay-")))
        log.report(RunStarted("embedded", name))
        issued = pki.issue(keys / "public", keys / VICTIM_SERVER, keys / VICTIM_CLIENT, key_type)
        log.report(pki.issued_event(keys / VICTIM_CLIENT))
        run = Run(folders.path)
        async with Supervisor() as parts:
            for part in _parts(folders, issued, _ports(first_port)):
                await parts.start(part)
            judgement = await _follow(run, parts, log, issued, watch)
        log.report(PartStopped("the verdicts are in" if not judgement.errors else "there will be no verdicts"))
        run.update()
        folders.verdicts.write_text(judgement.to_json())
        watch(run)
        return judgement


async def _follow(run: Run, parts: Supervisor, log: EventLog, issued: Issued, watch: Watcher) -> Judgement:
    """Watches until the verdicts are in or the time is up; runs the control after the moves, so that it frames them."""
    controlled = False
    try:
        async with asyncio.timeout(RUN_SECONDS):
            while (judgement := judge(run)) is None:
                await parts.check()
                if run.update():
                    watch(run)
                    if not controlled and _gateways_tried(run):
                        controlled = True
                        await _control(run, log, issued)
                else:
                    await asyncio.sleep(POLL_SECONDS)
            return judgement
    except TimeoutError:
        return judge_unfinished(run)


def _gateways_tried(run: Run) -> bool:
    ports = [port for _, port in control.gateways(run)]
    return len(ports) == len(SHORT_STORY) and tried_everywhere(run, ports)


async def _control(run: Run, log: EventLog, issued: Issued) -> None:
    bundle = Bundle((issued.client.der,), issued.client.key)
    for tried in await control.try_stolen_key(bundle, control.gateways(run)):
        log.report(tried)
    log.report(control.search_capture(run.folders.capture, bundle))


def _parts(folders: Folders, issued: Issued, ports: list[int]) -> list[Part]:
    """The three parts. Alice's connections go to the relay, as if her network had sent them there."""
    gateways = dict(zip(SHORT_STORY, ports[: len(SHORT_STORY)], strict=True))
    relays = dict(zip(gateways, ports[len(SHORT_STORY) :], strict=True))
    server = [f"--port={scheme}={port}" for scheme, port in gateways.items()]
    client = [f"--gateway={scheme}=https://localhost:{port}" for scheme, port in relays.items()]
    forwards = [f"--forward={HOST}:{relays[scheme]}={HOST}:{port}" for scheme, port in gateways.items()]
    ca, tls = f"--ca={issued.ca_pem}", "--tls=1.2"
    return [
        _part(folders, VICTIM_SERVER, f"--host={HOST}", *server, f"--bundle={issued.server_pem}", ca, tls),
        Part(ATTACKER, "attacker", ("relay", *forwards, f"--folder={folders.part(ATTACKER)}")),
        _part(
            folders,
            VICTIM_CLIENT,
            *client,
            f"--bundle={issued.client_pem}",
            ca,
            tls,
            f"--every={LOGIN_EVERY_SECONDS}",
        ),
    ]


def _part(folders: Folders, name: str, *arguments: str) -> Part:
    return Part(name, name.replace("-", "_"), (*arguments, f"--folder={folders.part(name)}"))


def _ports(first: int | None) -> list[int]:
    """A port for each gateway and for each relay in front of it."""
    count = 2 * len(SHORT_STORY)
    if first is not None:
        return list(range(first, first + count))
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in free]
