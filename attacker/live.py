"""The live link: packets of a network interface, as they come, through scapy's packet socket and a BPF filter."""

from typing import Any

from scapy.config import conf
from scapy.error import Scapy_Exception

from attacker.errors import AttackerError


class LiveLink:
    """An open interface. Readable, by `fileno`, when there is a packet. Needs CAP_NET_RAW; not promiscuous."""

    def __init__(self, interface: str, bpf_filter: str) -> None:
        try:
            self._socket: Any = conf.L2listen(iface=interface, filter=bpf_filter, promisc=False)
        except PermissionError:
            raise AttackerError("sniffing needs CAP_NET_RAW (compose: `cap_add: [NET_RAW]`)") from None
        except OSError as error:
            raise AttackerError(f"{interface}: {error.strerror or error}") from None
        except (ValueError, Scapy_Exception) as error:  # no such interface; no libpcap to compile the filter with
            raise AttackerError(f"{interface}: {error}") from None

    def fileno(self) -> int:
        return int(self._socket.fileno())

    def receive(self) -> tuple[int, bytes] | None:
        """A packet that is there, with its time in ns since 1970; None if it went after all, or the link went down."""
        try:
            _, data, seconds = self._socket.recv_raw()
        except OSError:
            return None
        return (int(seconds * 10**9), data) if data else None

    def close(self) -> None:
        self._socket.close()
