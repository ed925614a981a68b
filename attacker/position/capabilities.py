"""Drops capabilities: in programs that the attacker starts, and in the attacker once it has left its position."""

import ctypes
import os
import struct

_CAPABILITY_VERSION_3 = 0x20080522  # capget(2)
_PR_SET_NO_NEW_PRIVS = 38  # prctl(2)


def drop_capabilities() -> None:
    """Drops all capabilities of this process for good, even root's; a program that it executes gets none either.

    OSError if that fails.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    this_process = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    none = bytes(24)  # effective, permitted and inheritable, twice 32 bits each
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.capset(this_process, none):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
