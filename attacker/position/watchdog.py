"""A second process that puts the victims' ARP tables right when the attacker no longer can.

`stand_guard` forks: the child goes on as the attacker, the parent watches it, whatever kills it. Before it poisons
anything, the attacker entrusts the guard with the packets that heal. Where the attacker is a container's main process,
so is now the guard, and the attacker's death no longer ends the container before it has healed.
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

# How long the attacker may take to end when told to, before the guard ends it: Docker gives both ten seconds.
GRACE_SECONDS = 5
HEAL_ROUNDS = 3
HEAL_PAUSE_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Guard:
    """The attacker's end of the pipe to its guard. It becomes readable when the guard is gone."""

    def __init__(self, pipe: socket.socket) -> None:
        pipe.settimeout(_ANSWER_SECONDS)
        self._pipe = pipe
        self._entrusted: dict[str, dict[object, tuple[bytes, ...]]] = {}

    def fileno(self) -> int:
        return self._pipe.fileno()

    def entrust(self, interface: str, frames: Sequence[bytes], of: object = None) -> None:
        """Returns once the guard is able to send `frames` when this process dies; it forgets earlier ones.

        Several may share the guard, each with frames `of` its own. AttackerError where the guard isn't there any more
        or cannot send.
        """
        entrusted = self._entrusted.setdefault(interface, {})
        entrusted[of] = tuple(frames)
        everybodys = [frame.hex() for one in entrusted.values() for frame in one]
        message = json.dumps({"interface": interface, "frames": everybodys})
        try:
            self._pipe.sendall(message.encode() + b"\n")
            answer = self._pipe.recv(1 << 12).decode()
        except OSError as error:
            answer = str(error)
        if answer != "ready\n":
            raise AttackerError(f"the guard cannot heal for the attacker: {answer.strip() or 'it has gone'}")


def stand_guard() -> Guard:
    """Forks. Returns in the child alone; the parent stays as the guard and exits with the child's status.

    Call it before anything else is started or imported that keeps threads. A child that a signal ended counts as
    status 128 + the signal's number, as in a shell.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    child = os.fork()
    if child == 0:
        ours.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return Guard(theirs)
    theirs.close()
    try:
        for number in _FORWARDED:
            signal.signal(number, _forward_to(child))
        signal.signal(signal.SIGALRM, _kill(child))
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        status = _watch(child, ours)
    except BaseException as error:
        print(f"guard: {error!r}", file=sys.stderr, flush=True)
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
        pass  # it has just ended by itself


@dataclass(frozen=True)
class _Remedy:
    """What heals, and a socket to send it on that is open already."""

    link: socket.socket
    frames: tuple[bytes, ...]


def _watch(child: int, pipe: socket.socket) -> int:
    """Learns how to heal until the child is gone, heals, and returns the child's status."""
    remedies: dict[str, _Remedy] = {}
    try:
        # The pipe ends when the child does: nobody else holds its other end.
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
        pass  # it has ended in the middle of a message
    _, status = os.waitpid(child, 0)
    for number in (*_FORWARDED, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    for remedy in remedies.values():
        if remedy.frames:
            heal(remedy.frames, remedy.link.send)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _learn(line: bytes) -> tuple[str, _Remedy]:
    """The interface, and how to heal there."""
    message = json.loads(line)
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    try:
        link.bind((message["interface"], 0))
    except OSError:
        link.close()
        raise
    return message["interface"], _Remedy(link, tuple(bytes.fromhex(frame) for frame in message["frames"]))


def heal(frames: Sequence[bytes], send: Callable[[bytes], object]) -> bool:
    """Sends the healing packets several times, as one may get lost; takes a moment. False where none could be sent."""
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
