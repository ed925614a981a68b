"""A capture of the bank's side, which the gateways write themselves: it takes neither root nor a sniffer.

A gateway has the bytes of its connections, and makes packets of them (`lab.capture.synthetic`).
"""

import time
from pathlib import Path

from lab.address import Address
from lab.capture.synthetic import SyntheticConnection
from lab.capture.writer import CaptureFile
from lab.events.log import Reporter
from lab.events.parts import CAPTURE_FILE
from lab.events.types import Trouble
from lab.tls.engine import EngineEvent
from victim_server.authentication import GatewayEngine


class OwnCapture:
    """Writes what the gateways hear and say to a file, until it is as long as a capture may be, or cannot be written.

    That is reported once; the gateways go on without it.
    """

    def __init__(self, path: Path, reporter: Reporter) -> None:
        self._file = CaptureFile(path)
        self._reporter = reporter
        self._writing = True

    def connection(self, client: Address, server: Address) -> SyntheticConnection:
        """The packets of one more connection; its beginning is written."""
        packets = SyntheticConnection(client, server, self._write)
        packets.open()
        return packets

    def close(self) -> None:
        self._file.close()

    def _write(self, packet: bytes) -> None:
        if not self._writing:
            return
        try:
            if self._file.write(time.time_ns(), packet):
                return
            reason = "is full"
        except OSError as error:
            reason = str(error.strerror)
        self._writing = False
        self._reporter.report(Trouble(f"{CAPTURE_FILE}: {reason}; nothing more is written to it"))


class WatchedEngine:
    """A gateway's engine, whose bytes go to a capture as well."""

    def __init__(self, engine: GatewayEngine, packets: SyntheticConnection) -> None:
        self._engine, self._packets = engine, packets

    def receive(self, data: bytes) -> list[EngineEvent]:
        self._packets.data(True, data)
        return self._engine.receive(data)

    def data_to_send(self) -> bytes:
        if data := self._engine.data_to_send():
            self._packets.data(False, data)
        return data

    def send(self, data: bytes) -> None:
        self._engine.send(data)

    def close(self) -> None:
        self._engine.close()

    def give_up(self, reason: str) -> list[EngineEvent]:
        return self._engine.give_up(reason)

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        return self._engine.peer_chain

    @property
    def key_log(self) -> str:
        return self._engine.key_log

    @property
    def version(self) -> int | None:
        return self._engine.version

    @property
    def server_name(self) -> str | None:
        return self._engine.server_name

    @property
    def server_random(self) -> bytes:
        return self._engine.server_random

    @property
    def proof(self) -> str:
        return self._engine.proof
