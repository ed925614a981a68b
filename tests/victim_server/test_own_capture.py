"""What the gateways of an embedded run write of their own connections, as tshark reads it."""

import errno
from pathlib import Path

import pytest

from lab.address import Address
from lab.capture.writer import CaptureFile
from lab.events.run import Run, open_run
from lab.events.types import ClientAuthenticated, ClientRefused, Event, MoveTried, Trouble
from programs import tshark
from victim_server.own_capture import OwnCapture


def reported(run: Run) -> set[str]:
    """The clients' ends of the connections that the gateways report."""
    return {one.peer for one in run.all(ClientAuthenticated)} | {one.peer for one in run.all(ClientRefused)}


def test_the_bank_sees_alice_and_mallory_at_addresses_of_their_own(finished_run: Path) -> None:
    run = open_run(finished_run)
    peers = reported(run)
    attempts = {one.local for one in run.all(MoveTried) if one.leak}
    assert attempts <= peers
    assert {address.partition(":")[0] for address in attempts} == {"127.0.0.3"}
    assert "127.0.0.2" in {address.partition(":")[0] for address in peers}


def test_the_capture_holds_every_connection_that_a_gateway_reports(finished_run: Path) -> None:
    run = open_run(finished_run)
    peers = reported(run)
    capture, keys = (finished_run / "victim-server" / name for name in ("capture.pcapng", "keys.log"))
    shown = ("-T", "fields", "-e", "ip.src", "-e", "tcp.srcport")
    hellos = tshark(capture, "-Y", "tls.handshake.type == 1", *shown)
    assert {line.replace("\t", ":") for line in hellos} >= peers
    assert not tshark(capture, "-o", "tcp.check_checksum:TRUE", "-Y", "tcp.checksum.status == 0 || _ws.malformed")
    refused = tshark(
        capture, "-o", f"tls.keylog_file:{keys}", "-Y", "tls.alert_message.level == 2", *shown, "-e", "ip.dst"
    )
    assert refused
    assert {line.split("\t")[2] for line in refused} == {"127.0.0.3"}
    requests = tshark(capture, "-o", f"tls.keylog_file:{keys}", "-Y", 'http.request.uri == "/account"', *shown)
    assert any(line.startswith("127.0.0.2") for line in requests)


def test_a_disk_that_is_full_is_told_once_and_disturbs_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []

    class Reporter:
        def report(self, event: Event) -> None:
            told.append(event)

    def full(file: CaptureFile, time_ns: int, packet: bytes) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    capture = OwnCapture(tmp_path / "capture.pcapng", Reporter())
    monkeypatch.setattr(CaptureFile, "write", full)
    for port in (1, 2):
        capture.connection(Address("127.0.0.2", port), Address("127.0.0.1", 443)).data(True, b"hello")
    assert told == [Trouble("capture.pcapng: No space left on device; nothing more is written to it")]
    capture.close()
