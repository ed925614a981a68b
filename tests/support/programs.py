"""The programs that we test against and did not write, and what happens where one is missing."""

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from attacker.errors import AttackerError
from attacker.leak.interception import find_program
from lab import cli

PACKAGES = {
    "capinfos": "wireshark-common",
    "curl": "curl",
    "editcap": "wireshark-common",
    "gnutls-cli": "gnutls-bin",
    "gnutls-serv": "gnutls-bin",
    "ip": "iproute2",
    "nginx": "nginx",
    "openssl": "openssl",
    "tshark": "tshark",
    "xxd": "xxd",
}
"""Each with the Debian package that it is in."""


def certreplay(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Our own command, as a user calls it."""
    command = Path(sys.executable).with_name("certreplay")
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60, check=False)


@dataclass(frozen=True)
class Called:
    """What a call of our command in this process came to."""

    status: int
    output: str
    errors: str


def call(*arguments: str | Path) -> Called:
    """Our own command, in this process."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return Called(end.value.code, output.getvalue(), errors.getvalue())


def program(name: str) -> str:
    """The path of a program; `unavailable` where it is missing."""
    return shutil.which(name) or unavailable(f"{name} is not installed (Debian: {PACKAGES[name]})")


def mitmproxy() -> str:
    """The path of mitmdump, as the lab finds it."""
    try:
        return find_program()
    except AttackerError as error:
        return unavailable(str(error))


def unavailable(reason: str) -> NoReturn:
    """Skips the test, or fails it where CERTREPLAY_REQUIRE_DOCKER asks for everything to be tested."""
    if os.environ.get("CERTREPLAY_REQUIRE_DOCKER"):
        pytest.fail(reason)
    pytest.skip(f"{reason}; with CERTREPLAY_REQUIRE_DOCKER=1 that is a failure")
