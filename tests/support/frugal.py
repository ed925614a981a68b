"""`python -m tests.support.frugal MODULE ARGUMENTS`: runs a program that gives back all free memory on SIGUSR1.

What is resident then is what the program holds. Otherwise free memory stays with the process as garbage that Python has
not collected yet, or in the allocator between pieces that are in use: 60 MiB and more, which differs from run to run.
"""

import ctypes
import gc
import runpy
import signal
import sys


def give_back(*_signal: object) -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, give_back)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
