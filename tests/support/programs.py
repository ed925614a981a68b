"""The programs that we test against and did not write, and what happens where one is missing."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from attacker.errors import AttackerError
from attacker.leak.interception import find_program
from lab import cli

PATIENCE_SECONDS = 120.0
CERTREPLAY = str(Path(sys.executable).with_name("certreplay"))

PACKAGES = {
    "caddy": "caddy",
    "capinfos": "wireshark-common",
    "chromium": "chromium",
    "apache2": "apache2",
    "curl": "curl",
    "editcap": "wireshark-common",
    "eapol_test": "eapoltest",
    "escript": "erlang-base and erlang-ssl",
    "freeradius": "freeradius",
    "gnutls-cli": "gnutls-bin",
    "gnutls-serv": "gnutls-bin",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "jq": "jq",
    "nginx": "nginx",
    "node": "nodejs",
    "openssl": "openssl",
    "openvpn": "openvpn",
    "setpriv": "util-linux",
    "tshark": "tshark",
    "xxd": "xxd",
}
"""Each with the Debian package that it is in."""


def certreplay(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Our own command, called in this process: what it says, and its exit status."""
    return called(lambda: cli.main(list(map(str, arguments))), *arguments)


def called(entry: Callable[[], object], *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Calls a program's entry point, which ends by SystemExit, with this command line."""
    call = ["certreplay", *map(str, arguments)]
    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
        unittest.mock.patch.object(sys, "argv", call),
        pytest.raises(SystemExit) as end,
    ):
        entry()
    assert isinstance(end.value.code, int)
    return subprocess.CompletedProcess(call, end.value.code, output.getvalue(), errors.getvalue())


def certreplay_process(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """The same as a process of its own, as a user starts it."""
    return subprocess.run(
        [CERTREPLAY, *arguments], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def program(name: str) -> str:
    """The path of a program; `unavailable` where it is missing."""
    return shutil.which(name) or unavailable(f"{name} is not installed (Debian: {PACKAGES[name]})")


def output_of(name: str, *arguments: str | Path) -> str:
    """What a program prints, which must succeed; `unavailable` where it is missing."""
    call = [program(name), *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True).stdout


def tshark(capture: Path, *arguments: str) -> list[str]:
    """The lines that tshark prints about a capture, its octets in hex without colons in between."""
    return output_of("tshark", "-r", capture, *arguments).replace(":", "").splitlines()


def mitmproxy() -> str:
    """The path of mitmdump, as the lab finds it."""
    try:
        return find_program()
    except AttackerError as error:
        return unavailable(str(error))


def wait_until(
    condition: Callable[[], object], what: str | Callable[[], str], seconds: float = PATIENCE_SECONDS
) -> None:
    """Returns once the condition holds; fails after that time, and says what it waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what if isinstance(what, str) else what()}"
        time.sleep(0.01)


def unavailable(reason: str) -> NoReturn:
    """Skips the test, or fails it where CERTREPLAY_REQUIRE_DOCKER asks for everything to be tested."""
    if os.environ.get("CERTREPLAY_REQUIRE_DOCKER"):
        pytest.fail(reason)
    pytest.skip(f"{reason}; with CERTREPLAY_REQUIRE_DOCKER=1 that is a failure")
