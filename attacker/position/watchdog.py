"""The watchdog: a second process that repairs the victims' ARP tables if the attacker dies.

`start_watchdog` forks. The child goes on as the attacker, and the parent watches it. Before the attacker poisons
anything, it gives the watchdog the packets that repair the tables. In a container the watchdog is now the main process,
so the container lives on after the attacker's death until the tables are repaired.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType

from attacker.errors import AttackerError
from lab.printable import say

# How long the attacker may take to end after a signal, before the watchdog kills it. compose.yaml gives both five
# seconds (`stop_grace_period`), and the tables have to be repaired within them.
GRACE_SECONDS = 3
HEAL_ROUNDS = 3
HEAL_PAUSE_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Watchdog:
    """The attacker's end of the pipe to its watchdog. It becomes readable when the watchdog ends."""

    def __init__(self, pipe: socket.socket) -> None:
        pipe.settimeout(_ANSWER_SECONDS)
        self._pipe = pipe
        self._entrusted: dict[str, dict[object, tuple[bytes, ...]]] = {}

    def fileno(self) -> int:
        return self._pipe.fileno()

    def entrust(self, interface: str, frames: Sequence[bytes], of: object = None) -> None:
        """Gives the watchdog the `frames` to send if this process dies, in place of earlier ones, and waits until it
        is ready.

        Several positions may share the watchdog, each with frames `of` its own. AttackerError if the watchdog has ended
        or cannot send.
        """
        entrusted = self._entrusted.setdefault(interface, {})
        entrusted[of] = tuple(frames)
        all_frames = [frame.hex() for one in entrusted.values() for frame in one]
        message = json.dumps({"interface": interface, "frames": all_frames})
        try:
            self._pipe.sendall(message.encode() + b"\n")
            answer = self._pipe.recv(1 << 12).decode()
        except OSError as error:
            answer = str(error)
        if answer != "ready\n":
            raise AttackerError(f"the watchdog cannot repair ARP tables: {answer.strip() or 'it has ended'}")


def start_watchdog() -> Watchdog:
    """Forks. Only the child returns; the parent is the watchdog and exits with the child's status.

    Call it before anything that starts threads is started or imported. If a signal ends the child, the status is 128 +
    the signal's number, as in a shell.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    child = os.fork()
    if child == 0:
        ours.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return Watchdog(theirs)
    theirs.close()
    try:
        for number in _FORWARDED:
            signal.signal(number, _forward_to(child))
        signal.signal(signal.SIGALRM, _kill(child))
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        status = _watch(child, ours)
    except BaseException as error:
        say(f"watchdog: {error!r}", error=True)
        status = 1
    os._exit(status)


def _forward_to(child: int) -> Callable[[int, FrameType | None], None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        signal.alarm(GRACE_SECONDS)
        _send(child, number)

    return forward


def _kill(child: int) -> Callable[[int, FrameType | None], None]:
    def kill(_number: int, _frame: FrameType | None) -> None:
        _send(child, signal.SIGKILL)

    return kill


def _send(child: int, number: int) -> None:
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass  # it has just ended


@dataclass(frozen=True)
class _Remedy:
    """The frames that repair the tables, and an open socket to send them on."""

    link: socket.socket
    frames: tuple[bytes, ...]


def _watch(child: int, pipe: socket.socket) -> int:
    """Reads remedies until the child ends, sends them, and returns the child's status."""
    remedies: dict[str, _Remedy] = {}
    try:
        # The pipe ends when the child does: no other process holds its other end.
        for line in pipe.makefile("rb"):
            try:
                interface, learned = _learn(line)
            except (OSError, ValueError) as error:
                pipe.sendall(f"{error}\n".encode())
                continue
            if interface in remedies:
                remedies[interface].link.close()
            remedies[interface] = learned
            pipe.sendall(b"ready\n")
    except OSError:
        pass  # the child ended in the middle of a message
    _, status = os.waitpid(child, 0)
    for number in (*_FORWARDED, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    for remedy in remedies.values():
        if remedy.frames:
            heal(remedy.frames, remedy.link.send)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _learn(line: bytes) -> tuple[str, _Remedy]:
    """The interface, and the remedy for it."""
    message = json.loads(line)
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    try:
        link.bind((message["interface"], 0))
    except OSError:
        link.close()
        raise
    return message["interface"], _Remedy(link, tuple(bytes.fromhex(frame) for frame in message["frames"]))


def heal(frames: Sequence[bytes], send: Callable[[bytes], object]) -> bool:
    """Sends the frames several times, as one may get lost; takes 0.2 s. False if none could be sent."""
    sent = False
    for round_number in range(HEAL_ROUNDS):
        if round_number:
            time.sleep(HEAL_PAUSE_SECONDS)
        for frame in frames:
            try:
                send(frame)
                sent = True
            except OSError:
                continue  # the interface may be gone; the next packet or round may get through
    return sent
