"""The command `certreplay` from its first moment on: whatever stops it, it ends with one line and the right status."""

import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The entry point. Ctrl-C, even while modules are loaded, is status 130 and no traceback."""
    try:
        from lab.cli import run_command

        status = run_command(sys.argv[1:])
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not spoil the end
        print("certreplay: stopped", file=sys.stderr)
        status = 128 + signal.SIGINT
    sys.exit(status)


if __name__ == "__main__":
    main()
