"""`python -m bench.busy_client BUNDLE COUNT HOST PORT...`: full mutual TLS 1.2 handshakes, one behind the other.

A thread a port, as fast as they can. Prints all connections, from where to where, and how long it all took, as JSON.
"""

import json
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bench.peers import ACCOUNT, REQUEST


def main(bundle: str, count: int, host: str, *ports: str) -> None:
    """Makes `count` handshakes, in equal parts at all ports."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(bundle)

    def connect(port: str) -> list[str]:
        return [_one(context, (host, int(port))) for _ in range(count // len(ports))]

    began = time.perf_counter()
    with ThreadPoolExecutor(len(ports)) as threads:
        connections = [local for part in threads.map(connect, ports) for local in part]
    print(json.dumps({"connections": connections, "seconds": time.perf_counter() - began}))


def _one(context: ssl.SSLContext, server: tuple[str, int]) -> str:
    """One whole connection; from where to where it was."""
    with socket.create_connection(server, timeout=10) as plain, context.wrap_socket(plain) as connection:
        connection.sendall(REQUEST)
        if not connection.recv(1 << 16).endswith(ACCOUNT):
            raise RuntimeError("the server did not answer")
        return " to ".join(f"{host}:{port}" for host, port in (connection.getsockname(), connection.getpeername()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
