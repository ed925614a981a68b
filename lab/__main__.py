"""Where the command starts. From here on Ctrl-C and SIGTERM end it in one line, even while the rest is imported."""

import os
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The command `certreplay`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_at_once)
    from lab import cli
    from lab.printable import prepare_output

    closed = sys.stdout is None
    prepare_output()
    if closed:
        os.write(2, b"certreplay: standard output is closed; give it a file, a pipe or a terminal\n")
        os._exit(2)

    try:
        os.getcwd()
    except FileNotFoundError:
        os.write(2, b"certreplay: the current directory is gone; change to another one\n")
        os._exit(2)
    try:
        cli.main(sys.argv[1:])
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)  # Python's own end would let a late Ctrl-C change it


def stop_at_once(number: int, frame: object) -> NoReturn:
    """Ends the process with the status that a shell gives to one that died of this signal.

    An exception would do, were it not for imports: code that is being imported may catch it or print it.
    """
    try:
        os.write(2, b"certreplay: stopped\n")
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    main()
