"""Ports on loopback for servers that are yet to start."""

import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Hosts:
    """The addresses that alice and mallory come from in an embedded run; the bank is at HOST. All are on loopback."""

    alice: str = HOST
    mallory: str = HOST


def own_hosts() -> Hosts:
    """An address for each. All of 127.0.0.0/8 is this machine on Linux; elsewhere only HOST is."""
    return Hosts("127.0.0.2", "127.0.0.3") if sys.platform == "linux" else Hosts()


def held_ports(stack: ExitStack, count: int) -> list[int]:
    """Binds `count` free ports of 127.0.0.1, without listening at them.

    Until `stack` is closed, the system gives them to no other program. On Linux a server that sets SO_REUSEADDR, as
    servers do, can still listen there. Elsewhere it could not, so there they are free only at the moment of the call.
    """
    with ExitStack() as bound:
        held = [bound.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((HOST, 0))
        ports: list[int] = [one.getsockname()[1] for one in held]
        if sys.platform == "linux":
            stack.push(bound.pop_all())
        return ports
