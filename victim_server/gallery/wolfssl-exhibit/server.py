"""An HTTP server over wolfSSL that requires a client certificate. Arguments: port, certificate chain, key, CA."""

import socket
import sys
import threading
from typing import Any

import wolfssl

VERIFY_PEER, FAIL_IF_NO_PEER_CERT = 1, 2


def answer(tls: Any) -> bytes:
    """Who the client is; without a certificate nobody is let in."""
    try:
        status, body = b"200 OK", wolfssl.WolfSSLX509(tls.native_object).get_subject_cn().encode()
    except wolfssl.SSLError:
        status, body = b"403 Forbidden", b"nobody"
    return b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def serve(connection: socket.socket, context: Any) -> None:
    try:
        with connection:
            tls = context.wrap_socket(connection, server_side=True)
            if tls.read(4096):
                tls.write(answer(tls))
                tls.unwrap()
    except (OSError, wolfssl.SSLError) as error:
        print(type(error).__name__, error, flush=True)


def main() -> None:
    port, chain, key, ca = sys.argv[1:]
    context = wolfssl.SSLContext(wolfssl.PROTOCOL_SSLv23, server_side=True)
    context.load_cert_chain(chain, key)
    context.load_verify_locations(ca)
    # The module's own CERT_REQUIRED is VERIFY_PEER alone, which lets clients without a certificate in.
    wolfssl._lib.wolfSSL_CTX_set_verify(context.native_object, VERIFY_PEER | FAIL_IF_NO_PEER_CERT, wolfssl._ffi.NULL)
    with socket.create_server(("127.0.0.1", int(port))) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, context), daemon=True).start()


main()
