"""The embedded lab: each part is a process on loopback; it needs neither root nor Docker."""

import asyncio
import dataclasses
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from lab import files
from lab.address import MAX_PORT, Address
from lab.capture.decrypt import decrypted_handshakes, decrypted_logins
from lab.catalogue.cast import ATTACKER, CARELESS_CLIENT, LAB, VICTIM_CLIENT, VICTIM_SERVER
from lab.catalogue.leaks import ARCHIVE, DATABASE, INTERCEPTION, LIVE_RELAY, LOG, ROGUE_SERVER, WIRE, Leak
from lab.catalogue.plan import Plan
from lab.events.log import EventLog
from lab.events.parts import INTERCEPTION_FILE, KEY_LOG_FILE
from lab.events.run import Run, RunError, make_run_folder, new_run_name
from lab.events.types import EMBEDDED, LoggedIn, MoveTried, PartStopped, PositionTaken, Trouble
from lab.judging.facts import has_seen_tls13, listening_gateways, run_started
from lab.judging.judgement import Judgement
from lab.judging.searches import search_for_hashes
from lab.judging.verdicts import JudgedRun, judge
from lab.ports import HOST, Hosts, held_ports, own_hosts
from lab.staging import control, pki, stages
from lab.staging.control import ControlTarget
from lab.staging.patience import out_of_time, slowness
from lab.staging.private import private_folder
from lab.staging.stages import Setting
from lab.staging.student_code import StudentCode
from lab.staging.supervisor import PartFailed, Supervisor

T = TypeVar("T")

RUN_SECONDS = 30.0
SECONDS_AN_ATTEMPT = 0.1
SETTLE_SECONDS = 5.0
"""How long the last reports may take after the last attempt."""
POLL_SECONDS = 0.02

Watcher = Callable[[Run], object]
"""Called when the run has new events."""


async def run_embedded(
    runs: Path,
    plan: Plan,
    first_port: int | None,
    watch: Watcher,
    keep_bundle: bool = False,
    code: StudentCode | None = None,
    hosts: Hosts | None = None,
) -> Judgement:
    """One whole run, from issuing to verdicts.json. With `keep_bundle` alice's bundle stays in her folder. `code` are
    the student's files that the plan is with. `hosts` are where alice and mallory come from.

    The ports from `first_port` on are for the gateways, then for the relay; None takes free ones. Raises RunError,
    PkiError, or PartFailed if a part ends too early.
    """
    _check_localhost()
    folders = make_run_folder(runs, new_run_name())
    with ExitStack() as stack:
        log = EventLog(folders.part(LAB), LAB)
        stack.callback(log.close)
        private = stack.enter_context(private_folder())
        keys = private.path
        log.report(run_started(EMBEDDED, folders.path.name, plan, str(runs.resolve())))
        code = code or StudentCode()
        for loaded in code.events():
            log.report(loaded)
        folder = keys / VICTIM_CLIENT
        issued = pki.issue(
            *(keys / "public", keys / VICTIM_SERVER, folder, plan.key_type),
            attacker=keys / ATTACKER,
            shop=keys / ATTACKER if ROGUE_SERVER.id in plan.leaks else None,
            rsa_transport=LIVE_RELAY.id in plan.leaks,
            archive=keys / VICTIM_SERVER if ARCHIVE.id in plan.leaks else None,
            passwords=any(gateway.scheme.takes_password for gateway in plan.served()),
            student=plan.student,
        )
        for kind in plan.kinds:
            log.report(pki.issued_event(folder, pki.BUNDLES[kind]))
            for file in folder.glob(f"{pki.BUNDLES[kind]}.*") if keep_bundle else ():
                folders.part(VICTIM_CLIENT).mkdir(exist_ok=True)
                shutil.copy2(file, folders.part(VICTIM_CLIENT))  # with its mode: only its owner may read it
        more_ports = partial(held_ports, stack)
        gateways, count = plan.served(), port_count(plan)
        ports = sorted(more_ports(count)) if first_port is None else list(range(first_port, first_port + count))
        setting = Setting(
            plan, folders, issued, dict(zip(gateways, ports, strict=False)), more_ports, code, hosts or own_hosts()
        )
        async with Supervisor(private) as parts:
            slower = slowness()
            lab = _Lab(setting, parts, Run(folders.path), watch, SETTLE_SECONDS * slower)
            lab.look()
            most = (RUN_SECONDS + SECONDS_AN_ATTEMPT * len(plan)) * slower
            try:
                async with asyncio.timeout(most) as whole:
                    judgement = await lab.carry_out(ports[len(gateways) :], log)
            except TimeoutError:
                if whole.expired():
                    log.report(Trouble(out_of_time(most)))
                    lab.run.update()
                judgement = JudgedRun(lab.run).judgement
            except PartFailed as failure:
                log.report(Trouble(str(failure)))
                raise
        log.report(PartStopped("the verdicts are in" if not judgement.errors else "there will be no verdicts"))
        lab.run.update()
        files.write(folders.verdicts, judgement.to_json())
        watch(lab.run)
        return judgement


@dataclasses.dataclass
class _Lab:
    """A run being carried out."""

    setting: Setting
    parts: Supervisor
    run: Run
    watch: Watcher
    settle_seconds: float

    async def carry_out(self, relay_ports: list[int], log: EventLog) -> Judgement:
        """Alice's own logins, then each leak with its moves, the controls, and the verdicts.

        Her logins come before the moves and the controls with her key after them, so that they frame the moves.
        """
        plan = self.setting.plan
        await self.parts.start(stages.victim_server(self.setting))
        if WIRE.id in plan.leaks:
            wire = stages.wire(self.setting, relay_ports)
            for part in (wire.attacker, *wire.clients):
                await self.parts.start(part)
            await self._until(lambda: has_seen_tls13(self.run) and self._tried(WIRE))
        else:
            await self.parts.start(stages.victim_client(self.setting, self.setting.gateways))
        targets = {(gateway.id, str(version)) for gateway in plan.served() for version in gateway.versions}
        await self._until(lambda: targets <= {(login.gateway, login.tls) for login in self.run.all(LoggedIn)})
        await self.parts.stop(*({ATTACKER, VICTIM_CLIENT} if WIRE.id in plan.leaks else {VICTIM_CLIENT}))
        for leak in (leak for leak in plan.leaks if leak != WIRE.id):
            await self._let_happen(leak, log)
            if leak == INTERCEPTION.id:
                self._look_inside(log)
        await self._control(log)
        async with asyncio.timeout(self.settle_seconds):
            return await self._until(lambda: judge(self.run))

    async def _let_happen(self, leak: str, log: EventLog) -> None:
        """Carries out one leak other than the wire."""
        stage = stages.LATER_STAGES[leak](self.setting)
        for bundle in stage.issued:
            log.report(bundle)
        for part in stage.first:
            await self.parts.start(part)
            await self._until(partial(self.parts.has_ended, part.name))
            await self.parts.stop(part.name)
        await self.parts.start(stage.attacker)
        if stage.clients:
            await self._until(lambda: any(taken.kind == leak for taken in self.run.all(PositionTaken)))
            for client in stage.clients:
                await self.parts.start(client)
        await self._until(lambda: self.parts.has_ended(ATTACKER))
        await self.parts.stop(ATTACKER, *(client.name for client in stage.clients))

    def _look_inside(self, log: EventLog) -> None:
        """Reports what the interceptor's clients sent, decrypted with keys that the attacker does not have."""
        folders = self.setting.folders
        capture = folders.part(ATTACKER) / INTERCEPTION_FILE
        key_logs = {client: folders.part(client) / KEY_LOG_FILE for client in (VICTIM_CLIENT, CARELESS_CLIENT)}
        for handshake in decrypted_handshakes(capture, key_logs):
            log.report(handshake)

    def look(self) -> bool:
        """Shows what is new to the watcher; whether there is anything."""
        news = bool(self.run.update())
        if news:
            self.watch(self.run)
        return news

    async def _until(self, condition: Callable[[], T | None]) -> T:
        """Watches the run until the condition is true; PartFailed if a part ends that should not."""
        while True:
            await self.parts.check()
            news = self.look()
            if met := condition():
                return met
            if not news:
                await asyncio.sleep(POLL_SECONDS)

    def _tried(self, leak: Leak) -> bool:
        tried = sum(1 for one in self.run.all(MoveTried) if one.leak == leak.id)
        return tried >= self.setting.plan.attempts(leak)

    async def _control(self, log: EventLog) -> None:
        ports = {gateway: port for port, gateway in listening_gateways(self.run).items()}
        bundle = self.setting.issued.bundle
        password = files.read(self.setting.issued.password).decode().strip() if self.setting.issued.password else ""
        targets = [
            ControlTarget(
                Address(HOST, ports[gateway]),
                version,
                bundle(gateway.scheme.trusts),
                password if gateway.scheme.takes_password else "",
            )
            for gateway, version in self.setting.plan.targets()
        ]
        for tried in await control.try_stolen_key(targets):
            log.report(tried)
        if self.run.folders.capture.exists():
            bundles = [self.setting.issued.file(kind) for kind in self.setting.plan.kinds]
            log.report(control.search_capture(self.run.folders.capture, *bundles))
            key_log = self.run.folders.part(VICTIM_CLIENT) / KEY_LOG_FILE
            for login in decrypted_logins(self.run.folders.capture, key_log):
                log.report(login)
            log.report(search_for_hashes(self.run.folders.capture, self.run))
        issued = self.setting.issued
        leaking = (
            (WIRE, self.run.folders.capture),
            (LOG, stages.access_log(self.setting)),
            (DATABASE, issued.register),
            (ARCHIVE, issued.archive),
        )
        for leak, file in leaking if password else ():
            if file and file.exists():
                certificates = (bundle(kind).chain[0] for kind in self.setting.plan.kinds)
                log.report(control.search_for_password(leak, file, password, certificates))


def _check_localhost() -> None:
    """RunError where alice would not find the gateways: she goes to them by this name."""
    name = "localhost"
    try:
        found = {answer[4][0] for answer in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)}
    except OSError:
        found = set()
    if HOST not in found:
        raise RunError(f"{name}: is not {HOST} on this machine; put the line `{HOST} {name}` into /etc/hosts")


def port_count(plan: Plan) -> int:
    """How many ports a run takes: one for each gateway and one for its relay."""
    return 2 * len(plan.served())


def first_port(port: int | None, plan: Plan) -> int | None:
    """The first port that was asked for, if any. RunError if a port of the run would not exist or is taken."""
    if port is None:
        return None
    count = port_count(plan)
    if not 1 <= port <= MAX_PORT + 1 - count:
        raise RunError(f"--port {port}: choose one from 1 to {MAX_PORT + 1 - count}")
    for one in range(port, port + count):
        try:
            socket.create_server((HOST, one)).close()
        except OSError as error:
            raise RunError(
                f"--port {port}: {HOST}:{one}: {os.strerror(error.errno or 0)}; choose other ports"
            ) from None
    return port
