"""`certreplay try` at a server of a test's own."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from programs import certreplay

NO_PROOF_NEEDED = {
    "omit-proof",
    "replay-proof",
    "relabelled-proof",
    "flipped-proof",
    "foreign-key",
    "empty-proof",
    "zero-proof",
}
"""The moves that a server takes that drops the proof."""


def tried(port: int, bundle: Path, *options: str | Path) -> tuple[int, dict[str, Any]]:
    """The status, and the JSON."""
    done = certreplay("try", f"localhost:{port}", "--bundle", bundle, "--json", "--rate", "500", *options)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def outcomes(report: dict[str, Any], tls: str) -> dict[str, str]:
    (version,) = [one for one in report["versions"] if one["tls"] == tls]
    return {check["id"]: check["verdict"] for check in version["checks"]}


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A TCP server that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            with contextlib.suppress(OSError):
                socket.create_connection(listener.getsockname()).close()
            thread.join()
