"""Does without the attacker's capabilities: in programs that it starts, and in itself once it has left its place."""

import ctypes
import os
import struct

_CAPABILITY_VERSION_3 = 0x20080522  # capget(2)
_PR_SET_NO_NEW_PRIVS = 38  # prctl(2)


def drop_capabilities() -> None:
    """Gives up all capabilities of this process, for good and for the program that it becomes; root's too.

    OSError where that cannot be done.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    this_process = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    none = bytes(24)  # effective, permitted and inheritable, twice 32 bits each
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.capset(this_process, none):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
