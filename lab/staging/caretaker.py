"""Sees to it that nothing of a run outlives the lab: no private key, and no process. It is a process of its own.

It gets the run's private folder as an argument and, on its standard input, what the lab starts: a line `+PID` for each
part, and `-PID` for one that has ended. The other end of that pipe is the lab's. When it closes, the lab has ended, and
if by SIGKILL. Then the caretaker removes the folder, gives the parts, which have noticed too, some seconds to end, and
kills the process groups of those that have not, such as stopped ones.

It imports nothing of the lab's, so that it is there at once.
"""

import os
import shutil
import signal
import sys
import time

GRACE_SECONDS = 3.0
POLL_SECONDS = 0.05


def main() -> None:
    """Takes care of the folder and the processes until the lab ends, and then puts things in order."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when the lab does
    folder = sys.argv[1]
    os.chdir("/")
    running: set[int] = set()
    for line in sys.stdin:
        if line.endswith("\n"):
            pid = int(line[1:])
            (running.add if line.startswith("+") else running.discard)(pid)
    shutil.rmtree(folder, ignore_errors=True)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(map(_lives, running)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for pid in running:
        kill_group(pid)
    while os.path.isdir(folder) and time.monotonic() < deadline + GRACE_SECONDS:
        shutil.rmtree(folder, ignore_errors=True)  # a part may have written there meanwhile
        time.sleep(POLL_SECONDS)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_group(group: int) -> None:
    """Kills what is left of a part, which leads a process group of its own, and of what it started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


if __name__ == "__main__":
    main()
