"""`python -m bench.measured COMMAND…`: runs a command; how it ended, its seconds and peak memory as JSON on stderr.

A small process of its own: to the kernel, a program's peak memory is at least that of its parent,
and a bench that has made captures is larger than what it measures.
"""

import json
import os
import subprocess
import sys
import time

_UNIT = 1024 if sys.platform == "linux" else 1
"""Of ru_maxrss, in bytes (getrusage(2))."""


def main(command: list[str]) -> None:
    """The command's own standard output is handed on."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    told = {"status": process.returncode, "seconds": seconds, "peak_octets": used.ru_maxrss * _UNIT}
    print(json.dumps(told), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
