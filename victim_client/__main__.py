"""`python -m victim_client`: alice logs in at every gateway, again and again, until told to stop."""

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.events import EventLog, LoggedIn, LoginFailed, PartStopped, Reporter
from lab.parts import ArgumentParser, BadInput, run_part, stop_signal
from victim_client.login import (
    Credentials,
    GatewayUrl,
    load_credentials,
    log_in,
    log_key_material,
    parse_gateway,
    read_password,
)

PART = "victim-client"
KEY_LOG_NAME = "keys.log"
FIRST_RETRY_SECONDS = 0.1


@dataclass(frozen=True)
class Habit:
    """How often alice logs in: `times` at each gateway, 0 for ever, `every_seconds` apart."""

    every_seconds: float
    times: int


async def keep_logging_in(gateway: GatewayUrl, credentials: Credentials, habit: Habit, reporter: Reporter) -> bool:
    """Logs in at one gateway, as often as is her habit; whether the last login succeeded.

    Until the gateway has let her in for the first time she tries again soon, then less and less often.
    """
    was_in, succeeded, pause_seconds, tried = False, False, FIRST_RETRY_SECONDS, 0
    while True:
        outcome = await _in_a_thread(gateway, credentials)
        reporter.report(outcome)
        tried += 1
        succeeded = isinstance(outcome, LoggedIn)
        was_in = was_in or succeeded
        if tried == habit.times:
            return succeeded
        await asyncio.sleep(habit.every_seconds if was_in else min(pause_seconds, habit.every_seconds))
        pause_seconds *= 2


async def _in_a_thread(gateway: GatewayUrl, credentials: Credentials) -> LoggedIn | LoginFailed:
    """`log_in` in a daemon thread, which doesn't keep the part from ending while a server is slow."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[LoggedIn | LoginFailed] = loop.create_future()

    def hand_over(result: LoggedIn | LoginFailed) -> None:
        if not outcome.done():
            outcome.set_result(result)

    def work() -> None:
        result = log_in(gateway, credentials)
        try:
            loop.call_soon_threadsafe(hand_over, result)
        except RuntimeError:
            pass  # the loop is closed: alice has stopped meanwhile

    threading.Thread(target=work, name=gateway.scheme, daemon=True).start()
    return await outcome


def parser() -> ArgumentParser:
    """The command line."""
    it = ArgumentParser(prog="python -m victim_client", description=__doc__)
    it.add_argument("--bundle", type=Path, required=True, metavar="FILE", help="alice's bundle, PEM or PKCS#12")
    it.add_argument("--password-file", type=Path, metavar="FILE", help="holds the bundle's password")
    it.add_argument("--ca", type=Path, required=True, metavar="FILE", help="the CA of the server's certificate, PEM")
    it.add_argument(
        "--gateway", action="append", required=True, metavar="SCHEME=URL", help="where to log in; may be repeated"
    )
    it.add_argument("--every", type=float, default=2, metavar="SECONDS", help="between two logins (default: 2)")
    it.add_argument("--times", type=int, default=0, metavar="N", help="logins at each gateway; 0: for ever (default)")
    it.add_argument("--folder", type=Path, required=True, help="where events.jsonl and keys.log go")
    it.add_argument("--tether", action="store_true", help="stop when standard input ends, too")
    return it


async def main() -> int:
    """The part; its exit status: 1 where `--times` is given and the last login at some gateway failed."""
    arguments = parser().parse_args()
    if not (0 < arguments.every < float("inf") and arguments.times >= 0):
        raise BadInput("--every has to be more than 0, and --times not less than 0")
    gateways = [parse_gateway(text) for text in arguments.gateway]
    stopped = stop_signal(arguments.tether)
    password = read_password(arguments.password_file) if arguments.password_file else None
    credentials = load_credentials(arguments.bundle, password, arguments.ca)
    log = EventLog(arguments.folder, PART)
    log_key_material(credentials, arguments.folder / KEY_LOG_NAME)
    habit = Habit(arguments.every, arguments.times)

    async def log_in_everywhere() -> bool:
        return all(await asyncio.gather(*(keep_logging_in(gateway, credentials, habit, log) for gateway in gateways)))

    logins = asyncio.create_task(log_in_everywhere())
    told = asyncio.create_task(stopped.wait())
    first: set[asyncio.Future[Any]] = {logins, told}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    if not logins.done():
        logins.cancel()
        log.report(PartStopped("told to stop"))
        return 0
    log.report(PartStopped("done"))
    return 0 if logins.result() else 1


if __name__ == "__main__":
    run_part(PART, main)
