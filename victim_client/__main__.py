"""`python -m victim_client`: alice logs in at every gateway, again and again, until told to stop."""

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from lab.events.log import EventLog, Reporter
from lab.events.parts import KEY_LOG_FILE
from lab.events.types import DONE, TOLD_TO_STOP, LoggedIn, LoginFailed, PartStopped
from lab.guest.loading import GuestError, GuestModule, limit_files, limit_memory
from lab.process import ArgumentParser, BadInput, part_of_one, run_part, seconds, stop_signal, until_told, whole_number
from lab.scope import write_place
from lab.tls.versions import TLS13, VERSION_NAMES, Version, versions_named
from victim_client.login import (
    Credentials,
    GatewayUrl,
    load_credentials,
    log_in,
    log_in_twice,
    log_key_material,
    parse_gateway,
    password_credentials,
    read_password,
)

PART = "victim-client"
FIRST_RETRY_SECONDS = 0.02
EASED_OFF_SECONDS = 20.0
"""She never waits longer because she eases off."""
LONGEST_FILE = 64 << 20
"""Bytes of a file, with a student's code in the client."""
LONGEST_SECONDS = 86_400
"""The longest time between two logins: a day."""

Outcomes: TypeAlias = tuple[LoggedIn | LoginFailed, ...]


@dataclass(frozen=True)
class Habit:
    """How often alice logs in: `times` at each gateway with each of the `versions` of TLS in turn, 0 for ever,
    `every_seconds` apart. With `resume` she comes back at once after each login in TLS 1.3.

    She eases off: she also waits for at least this part, `ease_off`, of the time since her first login, up to
    EASED_OFF_SECONDS. So an idle lab costs little, and an attacker waits for her in proportion to what came before.
    """

    every_seconds: float
    times: int
    versions: tuple[Version, ...]
    resume: bool = False
    ease_off: float = 0

    def pause_seconds(self, since_first_seconds: float) -> float:
        """How long to wait for the next login, this long after the first."""
        return max(self.every_seconds, min(self.ease_off * since_first_seconds, EASED_OFF_SECONDS))


async def keep_logging_in(gateway: GatewayUrl, credentials: Credentials, habit: Habit, reporter: Reporter) -> bool:
    """Logs in at one gateway, as often as is her habit; whether the last login with each version succeeded.

    Until the gateway has let her in with each version she tries again soon, then less and less often.
    """
    began = time.monotonic()
    never_in, succeeded, pause_seconds = set(habit.versions), dict.fromkeys(habit.versions, False), FIRST_RETRY_SECONDS
    for tried, version in enumerate(itertools.cycle(habit.versions), start=1):
        outcomes = await _in_a_thread(gateway, credentials, version, habit.resume and version == TLS13)
        for outcome in outcomes:
            reporter.report(outcome)
        succeeded[version] = all(isinstance(outcome, LoggedIn) for outcome in outcomes)
        if succeeded[version] and version in never_in:
            never_in.remove(version)
            pause_seconds = FIRST_RETRY_SECONDS
        if tried == habit.times * len(habit.versions):
            break
        habitual = habit.pause_seconds(time.monotonic() - began)
        await asyncio.sleep(min(pause_seconds, habitual) if never_in else habitual)
        pause_seconds *= 2
    return all(succeeded.values())


async def _in_a_thread(gateway: GatewayUrl, credentials: Credentials, version: Version, twice: bool) -> Outcomes:
    """`log_in` or `log_in_twice` in a daemon thread, which doesn't keep the part from ending while a server is slow."""
    loop = asyncio.get_running_loop()
    outcomes: asyncio.Future[Outcomes] = loop.create_future()

    def hand_over(result: Outcomes) -> None:
        if not outcomes.done():
            outcomes.set_result(result)

    def work() -> None:
        login = (gateway, credentials, version)
        result = tuple(log_in_twice(*login)) if twice else (log_in(*login),)
        try:
            loop.call_soon_threadsafe(hand_over, result)
        except RuntimeError:
            pass  # the loop is closed: alice has stopped meanwhile

    threading.Thread(target=work, name=gateway.name, daemon=True).start()
    return await outcomes


def parser() -> ArgumentParser:
    """The command line."""
    it = ArgumentParser(prog="python -m victim_client", description=__doc__)
    it.add_argument(
        "--bundle",
        action="append",
        default=[],
        metavar="[GATEWAY=]FILE",
        help="alice's bundle, PEM or PKCS#12, for all gateways or for one; may be repeated",
    )
    it.add_argument("--password-file", type=Path, metavar="FILE", help="holds the bundles' password")
    it.add_argument("--ca", type=Path, required=True, metavar="FILE", help="the CA of the server's certificate, PEM")
    it.add_argument(
        "--gateway", action="append", required=True, metavar="GATEWAY=URL", help="where to log in; may be repeated"
    )
    it.add_argument("--tls", action="append", choices=VERSION_NAMES, help="a version to log in with; repeatable (all)")
    it.add_argument(
        "--forward-certificate",
        action="append",
        default=[],
        metavar="GATEWAY",
        help="there the certificate goes into the Client-Cert header, as from a proxy; may be repeated",
    )
    it.add_argument(
        "--password-login",
        action="append",
        default=[],
        metavar="GATEWAY=FILE",
        help="there she logs in with her name and the password in this file; may be repeated",
    )
    it.add_argument("--name", default="alice", help="her name for that (%(default)s)")
    it.add_argument("--careless", action="store_true", help="do not verify the server, as many a script does")
    it.add_argument(
        "--student-code", type=Path, metavar="FILE", help="a student's file, which decides how the server is verified"
    )
    it.add_argument(
        "--ciphers", metavar="LIST", help="with --careless: the TLS 1.2 cipher suites to offer, in OpenSSL's notation"
    )
    it.add_argument(
        "--resume",
        action="store_true",
        help="after each login in TLS 1.3 log in once more and resume the session, if the server gives a ticket",
    )
    it.add_argument("--source", default="", metavar="ADDRESS", help="come from this address of this machine")
    it.add_argument("--note", metavar="TEXT", help="report logins as at 'GATEWAY, TEXT'")
    it.add_argument(
        "--ease-off",
        type=part_of_one,
        default=0,
        metavar="PART",
        help="log in less and less often: wait for at least this part of the time since the first login, such as 0.2, "
        f"up to {EASED_OFF_SECONDS:g} s",
    )
    it.add_argument(
        "--every", type=seconds(LONGEST_SECONDS), default=2, metavar="SECONDS", help="between two logins (default: 2)"
    )
    it.add_argument(
        "--times",
        type=whole_number(0, 1_000_000),
        default=0,
        metavar="N",
        help="logins a gateway and version; 0: for ever (default)",
    )
    it.add_argument("--announce", action="store_true", help="in a container: write down where on the network it is")
    it.add_argument("--part", default=PART, metavar="NAME", help="the name to report under (%(default)s)")
    it.add_argument("--folder", type=Path, required=True, help="where events.jsonl and keys.log go")
    it.add_argument("--tether", action="store_true", help="stop when standard input ends, too")
    return it


def bundle_files(texts: list[str], gateways: list[str]) -> dict[str, Path]:
    """Which bundle alice uses where, from `FILE` and `GATEWAY=FILE`; BadInput where a gateway is left without one."""
    for_all: Path | None = None
    files: dict[str, Path] = {}
    for text in texts:
        gateway, equals, file = text.partition("=")
        if equals and gateway in gateways:
            files[gateway] = Path(file)
        else:
            for_all = Path(text)
    for gateway in gateways:
        if gateway not in files:
            if for_all is None:
                raise BadInput(f"--bundle: there is none for {gateway}; give FILE or {gateway}=FILE")
            files[gateway] = for_all
    return files


def _load(file: Path) -> GuestModule:
    """A student's file, in this process, which from now on has a guest's memory; BadInput where it cannot be loaded.

    Its files may be as long as logins for days make them.
    """
    limit_memory()
    limit_files(LONGEST_FILE)
    try:
        return GuestModule(file)
    except GuestError as error:
        raise BadInput(str(error)) from None


async def main() -> int:
    """The part; its exit status: 1 where `--times` is given and the last login at some gateway failed."""
    arguments = parser().parse_args()
    gateways = [replace(parse_gateway(text), source=arguments.source) for text in arguments.gateway]
    names = [gateway.name for gateway in gateways]
    by_password = {name: Path(file) for name, _, file in (text.partition("=") for text in arguments.password_login)}
    if strangers := set(by_password) - set(names):
        raise BadInput(f"--password-login {min(strangers)}: there is no --gateway of that name")
    if strangers := set(arguments.forward_certificate) - set(names):
        raise BadInput(f"--forward-certificate {min(strangers)}: there is no --gateway of that name")
    if arguments.ciphers and not (arguments.careless or arguments.student_code):
        raise BadInput("--ciphers is for --careless clients only; all others offer what their TLS library does")
    stopped = stop_signal(arguments.tether)
    if arguments.announce:
        write_place(arguments.part)
    password = read_password(arguments.password_file) if arguments.password_file else None
    code = _load(arguments.student_code) if arguments.student_code else None
    credentials = {
        name: load_credentials(
            file,
            password,
            arguments.ca,
            forward=name in arguments.forward_certificate,
            careless=arguments.careless,
            ciphers=arguments.ciphers,
            code=code,
        )
        for name, file in bundle_files(arguments.bundle, [name for name in names if name not in by_password]).items()
    }
    for name, file in by_password.items():
        secret = read_password(file)
        credentials[name] = password_credentials(arguments.name, secret, arguments.ca, arguments.careless, code)
    log = EventLog(arguments.folder, arguments.part)
    for one in credentials.values():
        log_key_material(one, arguments.folder / KEY_LOG_FILE)
    note = arguments.note
    habit = Habit(arguments.every, arguments.times, versions_named(arguments.tls), arguments.resume, arguments.ease_off)

    async def log_in_everywhere() -> bool:
        noted = ((one, replace(one, name=f"{one.name}, {note}") if note else one) for one in gateways)
        logins = (keep_logging_in(told, credentials[one.name], habit, log) for one, told in noted)
        return all(await asyncio.gather(*logins))

    all_in = await until_told(stopped, log_in_everywhere())
    log.report(PartStopped(TOLD_TO_STOP if all_in is None else DONE))
    return 1 if all_in is False else 0


if __name__ == "__main__":
    run_part(PART, main)
