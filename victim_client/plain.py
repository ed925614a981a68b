"""A client that is Python's ssl and nothing else: `python -m victim_client.plain CA BUNDLE PORT NAME PATH...`.

It gets each path from the server of that name on loopback, on a connection of its own, and resumes its session.
"""

import socket
import ssl
import sys

SECONDS = 10.0


def main() -> None:
    """Ends with a traceback and status 1 where the server is not the one of that name."""
    authorities, bundle, port, name, *paths = sys.argv[1:]
    context = ssl.create_default_context(cafile=authorities)
    context.load_cert_chain(bundle)
    context.set_ciphers("ECDHE+AESGCM:kRSA+AESGCM")
    session = None
    for path in paths:
        plain = socket.create_connection(("127.0.0.1", int(port)), SECONDS)
        with context.wrap_socket(plain, server_hostname=name, session=session) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            while connection.recv(1 << 12):
                pass
            session = connection.session


if __name__ == "__main__":
    main()
