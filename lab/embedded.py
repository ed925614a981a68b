"""The embedded lab: every part a process of its own on loopback, with no root and no Docker."""

import asyncio
import dataclasses
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from attacker.tries import TRANSFER
from lab import control, pki
from lab.control import Target
from lab.events import EventLog, MoveTried, PartStopped, RunStarted
from lab.pki import Issued
from lab.plan import Plan
from lab.run import ATTACKER, LAB, VICTIM_CLIENT, VICTIM_SERVER, Folders, Run, make_run_folder, new_run_name
from lab.supervisor import Part, Supervisor
from lab.tls.bundle import Bundle
from lab.tls.versions import TLS12, TLS13
from lab.verdicts import Judgement, gateway_schemes, has_seen_tls13, judge, judge_unfinished
from victim_server.schemes import find_scheme

HOST = "127.0.0.1"
LOGIN_EVERY_SECONDS = 0.25
RUN_SECONDS = 30.0
SECONDS_AN_ATTEMPT = 0.1
POLL_SECONDS = 0.02
VERSION_NUMBERS = {"1.2": TLS12, "1.3": TLS13}

Watcher = Callable[[Run], object]
"""Called whenever something new has happened in the run."""


async def run_embedded(runs: Path, plan: Plan, first_port: int | None, watch: Watcher) -> Judgement:
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
        log.report(RunStarted("embedded", name, **dataclasses.asdict(plan)))
        folder = keys / VICTIM_CLIENT
        issued = pki.issue(keys / "public", keys / VICTIM_SERVER, folder, plan.key_type, attacker=keys / ATTACKER)
        log.report(pki.issued_event(folder))
        if any(find_scheme(scheme).trusts == "pinned" for scheme in plan.schemes):
            log.report(pki.issued_event(folder, pki.SELF_SIGNED))
        run = Run(folders.path)
        async with Supervisor() as parts:
            for part in _parts(folders, issued, plan, _ports(plan, first_port)):
                await parts.start(part)
            judgement = await _follow(run, plan, parts, log, issued, watch)
        log.report(PartStopped("the verdicts are in" if not judgement.errors else "there will be no verdicts"))
        run.update()
        folders.verdicts.write_text(judgement.to_json())
        watch(run)
        return judgement


async def _follow(run: Run, plan: Plan, parts: Supervisor, log: EventLog, issued: Issued, watch: Watcher) -> Judgement:
    """Watches until the verdicts are in or the time is up; runs the control after the moves, so that it frames them."""
    controlled = False
    try:
        async with asyncio.timeout(RUN_SECONDS + SECONDS_AN_ATTEMPT * len(plan)):
            while True:
                await parts.check()
                if run.update():
                    watch(run)
                    if not controlled and has_seen_tls13(run) and sum(1 for _ in run.all(MoveTried)) >= len(plan):
                        controlled = True
                        await _control(run, plan, log, issued)
                    if controlled and (judgement := judge(run)):
                        return judgement
                else:
                    await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        return judge_unfinished(run)


async def _control(run: Run, plan: Plan, log: EventLog, issued: Issued) -> None:
    ports = {scheme.id: port for port, scheme in gateway_schemes(run).items()}
    bundles = {"ca": issued.client, "pinned": issued.client_self_signed}
    targets = [
        Target((HOST, ports[scheme.id]), VERSION_NUMBERS[version], _bundle(bundles[scheme.trusts]))
        for scheme, version in plan.doors()
    ]
    for tried in await control.try_stolen_key(targets):
        log.report(tried)
    log.report(control.search_capture(run.folders.capture, *map(_bundle, bundles.values())))


def _bundle(identity: pki.Identity) -> Bundle:
    return Bundle((identity.der,), identity.key)


def _parts(folders: Folders, issued: Issued, plan: Plan, ports: list[int]) -> list[Part]:
    """The three parts. Alice's connections go to the relay, as if her network had sent them there."""
    mallory = issued.mallory
    assert mallory
    schemes = [find_scheme(scheme) for scheme in plan.schemes]
    gateways = dict(zip(plan.schemes, ports[: len(schemes)], strict=True))
    relays = dict(zip(plan.schemes, ports[len(schemes) :], strict=True))
    ca = f"--ca={issued.ca_pem}"
    server = [
        f"--host={HOST}",
        *(f"--port={scheme}={port}" for scheme, port in gateways.items()),
        f"--bundle={issued.server_pem}",
        f"--register={issued.register}",
        f"--opening-balance={max(1000, TRANSFER.amount * len(plan))}",
        ca,
    ]
    attacker = [
        "relay",
        *(f"--forward={HOST}:{relays[scheme]}={HOST}:{port}" for scheme, port in gateways.items()),
        *(f"--move={move}" for move in plan.moves),
        *(f"--tls={version}" for version in plan.versions),
        f"--rounds={plan.rounds}",
        *(f"--bundle={file}" for file in (mallory.pem, mallory.self_signed_pem)),
        f"--folder={folders.part(ATTACKER)}",
    ]
    client = [
        *(f"--gateway={scheme}=https://localhost:{port}" for scheme, port in relays.items()),
        f"--bundle={issued.client_pem}",
        *(f"--bundle={scheme.id}={issued.client_self_signed_pem}" for scheme in schemes if scheme.trusts == "pinned"),
        *(f"--forward-certificate={scheme.id}" for scheme in schemes if not scheme.asks_in_tls),
        ca,
        f"--every={LOGIN_EVERY_SECONDS}",
    ]
    return [
        _part(folders, VICTIM_SERVER, server),
        Part(ATTACKER, "attacker", tuple(attacker)),
        _part(folders, VICTIM_CLIENT, client),
    ]


def _part(folders: Folders, name: str, arguments: list[str]) -> Part:
    return Part(name, name.replace("-", "_"), (*arguments, f"--folder={folders.part(name)}"))


def port_count(plan: Plan) -> int:
    """How many ports a run takes: a gateway's and a relay's for each scheme."""
    return 2 * len(plan.schemes)


def _ports(plan: Plan, first: int | None) -> list[int]:
    """A port for each gateway and for each relay in front of it."""
    count = port_count(plan)
    if first is not None:
        return list(range(first, first + count))
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in free:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in free]
