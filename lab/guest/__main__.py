"""`python -m lab.guest FILE FUNCTION PARAMETERS NAME...`: the process in which one function of a student's file runs.

It says first what the file has under each NAME; then it reads calls from standard input, a line each, and answers each
by a line. What the file itself prints goes to standard error, which the lab does not read.
"""

import os
import signal
import sys
from pathlib import Path

from lab.guest import Refuse
from lab.guest.loading import GuestError, GuestModule, limit_files, limit_memory
from lab.guest.messages import decode, encode
from lab.tls.alerts import alert_name
from lab.tls.errors import Abort


def main(file: Path, function: str, parameters: str, names: list[str]) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    calls, sys.stdin = sys.stdin, open(os.devnull)  # noqa: SIM115 - as long as the process
    limit_memory()
    limit_files()

    def say(**answer: object) -> None:
        answers.write(encode(answer))
        answers.flush()

    try:
        module = GuestModule(file)
        call = module.function(function, parameters)
        say(values={name: _plain(module.value(name)) for name in names})
        for line in calls:
            arguments = decode(line)
            assert isinstance(arguments, list)
            try:
                result = call(*arguments)
                try:
                    say(result=result)
                except (TypeError, ValueError):
                    raise module.wrong(function, f"gives back {result!r:.80}, which the lab cannot use") from None
            except Refuse as refusal:
                say(refused=str(refusal), alert=str(refusal.alert))
            except Abort as refusal:
                say(refused=str(refusal), alert=alert_name(refusal.alert))
    except GuestError as error:
        say(error=str(error))
    except OSError as error:
        say(error=f"{file}: {error.strerror or error}")
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # also what the file has started


def _plain(value: object) -> object:
    return value if isinstance(value, str) else None


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
