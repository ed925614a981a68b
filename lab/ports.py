"""Ports on loopback for servers that are yet to start."""

import socket
import sys
from contextlib import ExitStack

HOST = "127.0.0.1"


def held_ports(stack: ExitStack, count: int) -> list[int]:
    """So many ports of 127.0.0.1 that nobody is given by chance until `stack` is closed: bound, but not listened at.

    With SO_REUSEADDR at both sockets, as servers have it, Linux lets another one listen there. Others would not, so
    there the ports are free now and no more.
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
