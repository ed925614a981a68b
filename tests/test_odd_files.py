"""Whatever a person passes as a file or as a number: a program that cannot use it says so in one line, status 2, and
never waits."""

import argparse
import ast
import os
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer.main
from test_arrows import modules
from typer.core import TyperGroup

import attacker.__main__
import victim_client.__main__
import victim_server.__main__
from lab import cli, files
from lab.events.log import MAX_LINE, Tail, read_events
from lab.exits import end_with
from lab.process import BadInput, run_part
from lab.staging import pki
from programs import called

PARTS = {
    "attacker": attacker.__main__.parser,
    "victim_client": victim_client.__main__.parser,
    "victim_server": victim_server.__main__.parser,
}
PROGRAMS: dict[str, Callable[[], object]] = {
    "lab": lambda: cli.main(sys.argv[1:]),
    "attacker": attacker.__main__.run,
    "victim_client": lambda: run_part("victim-client", victim_client.__main__.main),
    "victim_server": lambda: run_part("victim-server", victim_server.__main__.main),
}
PATIENCE_SECONDS = 60.0
"""More than any of these calls takes; one that waits for ever fails."""


def call(program: str, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Calls a program in this process; fails if it does not end."""

    def run_out(number: int, frame: object) -> None:
        pytest.fail(f"{program} {arguments} does not end")

    if "arp" in arguments or "--student-code" in arguments:  # it forks; it limits its own process
        command = [sys.executable, "-m", program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    before = signal.signal(signal.SIGALRM, run_out)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    try:
        return called(PROGRAMS[program], *arguments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def assert_refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def fifo(folder: Path) -> Path:
    path = folder / "fifo"
    os.mkfifo(path)
    return path


def sparse(folder: Path) -> Path:
    """A file of 100 GiB that takes no room."""
    path = folder / "sparse"
    with path.open("wb") as file:
        file.truncate(100 << 30)
    return path


def unix_socket(folder: Path) -> Path:
    path = Path(os.path.relpath(folder / "socket"))  # an absolute path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
    return path.absolute()


ODD_FILES = {
    "fifo": (fifo, "is a FIFO"),
    "device": (lambda folder: Path("/dev/zero"), "is a device"),
    "socket": (unix_socket, "is a socket"),
    "sparse": (sparse, "bytes"),
    "directory": (lambda folder: folder, "directory"),
}


@pytest.fixture(params=ODD_FILES)
def odd_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file that is of no use, and a word that says why."""
    make, word = ODD_FILES[request.param]
    return make(tmp_path), word


def test_reading_an_odd_file(odd_file: tuple[Path, str]) -> None:
    path, word = odd_file
    with pytest.raises(OSError, match=word) as error:
        files.read(path)
    assert error.value.filename == str(path)


def test_a_short_file_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"short")
    tracemalloc.start()
    try:
        assert files.read(tmp_path / "short", files.LARGE) == b"short"
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * files.CHUNK


def test_too_little_memory_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def take() -> None:
        raise MemoryError

    with pytest.raises(SystemExit) as ended:
        end_with(take, as_json=False)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("certreplay: there is not enough memory")


def test_reading_a_file_of_unknown_size() -> None:
    with pytest.raises(OSError, match="longer than 10 bytes"):
        files.read(Path("/proc/self/maps"), 10)


@pytest.mark.parametrize("name", ["fifo", "socket", "device", "directory"])
def test_writing_an_odd_file(name: str, tmp_path: Path) -> None:
    make, word = ODD_FILES[name]
    with pytest.raises(OSError, match=word):
        files.write(make(tmp_path), b"content")


OPENS_ITSELF = {
    "lab.files": "is the one that opens",
    "lab.exits": "opens /dev/null",
    "lab.printable": "makes files of open outputs",
    "lab.views.markdown": "writes this project's own documents",
    "lab.staging.classroom": "writes what the authority and the lab alone read",
    "lab.staging.copies": "copies between volumes, with checks of its own",
    "lab.probing.gallery": "works in a folder of its own",
    "lab.probing.servers": "works in a folder of the gallery's",
    "lab.probing.triple": "works in a folder of its own",
    "lab.page.rendering": "reads its own assets",
    "lab.exercises.exercise": "reads its own texts",
    "lab.exercises.checks.client": "works in a folder of its own",
    "lab.exercises.checks.real_server": "works in a folder of its own",
    "lab.guest.__main__": "opens /dev/null",
    "lab.probing.compose": "writes this project's own documents",
    "lab.course.receipts": "makes a new file, and fails where there is one",
    "lab.staging.private": "holds a lock on a folder of its own",
    "lab.staging.pki": "makes new files, and fails where there are any",
    "attacker.scope": "reads the system's own tables",
    "attacker.position.arp": "reads the system's own settings",
    "victim_server.register": "makes a new file, and fails where there is one",
}


def test_files_are_opened_in_one_place() -> None:
    for name, path in modules():
        if name in OPENS_ITSELF:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                opens = called in ("open", "os.open", "io.open", "FileIO") or called.rpartition(".")[2] in (
                    *("read_bytes", "read_text", "write_bytes", "write_text"),
                )
                opens |= called.endswith("ath.open")
                assert not opens, f"{name}, line {node.lineno}: {called}; use lab.files"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every parameter of the command `certreplay` that takes a path: the verb, and what comes before the path."""
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    for verb, command in group.commands.items():
        for parameter in command.params:
            if "path" in str(parameter.type).lower() or "Path" in str(getattr(parameter.type, "name", "")):
                yield verb, [parameter.opts[0]] if parameter.param_type_name == "option" else []


OTHERWISE = {
    "capture": ["tests-have-no-such-file.pcap"],
    "bundle": ["tests-have-no-such-file.pem"],
    "explain": ["--move", "omit-proof", "--scheme", "mtls"],
    "exercise": ["check", "1", "0"],
}
"""What a verb needs besides the path."""


def test_every_verb_that_takes_a_path_is_found() -> None:
    assert {verb for verb, *_ in commands()} >= {"demo", "matrix", "claims", "verdicts", "explain", "story", "capture"}
    assert ("bundle", ["--password-file"]) in list(commands())


@pytest.mark.parametrize(("verb", "option"), [(verb, option) for verb, option in commands()])
def test_an_odd_file_on_the_command_line(
    verb: str, option: list[str], odd_file: tuple[Path, str], finished_run: Path, tmp_path: Path
) -> None:
    path, _ = odd_file
    bundle = finished_run / "victim-client" / "alice-self-signed.pem"
    real = {"capture": finished_run / "attacker" / "capture.pcapng", "bundle": bundle}
    others: list[str | Path] = [*OTHERWISE.get(verb, [])]
    if verb == "try":
        if option[0] not in ("--bundle", "--password-file", "--other-bundle", "--baseline"):
            return  # is written at the end, if there was a server
        others = ["127.0.0.1:9"]
        others += [] if option == ["--bundle"] else ["--bundle", bundle]
    if verb in ("report", "record") and option == ["--output"]:
        if path.name == "sparse":
            return  # is written anew
        others = [finished_run]
    if verb == "exercise" and option == ["--runs"]:
        return  # a folder of runs, as elsewhere
    if verb in real:
        others = [real[verb]] if option else []
    if (verb, option) in (("capture", ["--pem"]), ("grade", [])) and path.is_dir():
        return  # there it is right
    if (verb, option) == ("show", ["--socket"]) and path.is_socket():
        return  # one that nobody listens on is replaced
    if verb == "grade" and option:
        if option == ["--csv"] and path.name == "sparse":
            return  # is written anew
        (tmp_path / "s07").mkdir()
        others = [tmp_path / "s07"]
    if "--runs" in option and verb in ("demo", "matrix") and path.is_dir():
        return  # as it is here
    assert_refused(call("lab", verb, *others, *option, path), str(path))


def part_paths() -> Iterator[tuple[str, str]]:
    """Every option of a part that takes a path: the part and the option, the attacker's for one of her leaks."""
    for part, parser in PARTS.items():
        for name, one in parsers(part, parser()):
            for action in one._actions:
                if action.type is Path:
                    yield name, action.option_strings[0]


@pytest.mark.parametrize("verb", ["demo", "matrix"])
@pytest.mark.parametrize("folder", ["link/runs", "link", "a/" * 2000 + "runs"])
def test_a_folder_for_runs_that_cannot_be_made(
    verb: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("nowhere/at/all")
    assert_refused(call("lab", verb, "--runs", folder), "cannot be made", "--runs")


@pytest.mark.parametrize("folder", ["link", "a/" * 2000 + "folder"])
@pytest.mark.parametrize("verb", ["capture", "exercise"])
def test_another_folder_that_cannot_be_made(
    verb: str, folder: str, tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("nowhere/at/all")
    calls = {
        "capture": (finished_run / "attacker" / "capture.pcapng", "--pem"),
        "exercise": ("1", "--hint", "--runs"),
    }
    assert_refused(call("lab", verb, *calls[verb], folder))


@pytest.mark.parametrize("verb", ["story", "bundle", "try", "exercise", "grade"])
def test_an_endless_argument_makes_no_endless_line(verb: str) -> None:
    options = ["127.0.0.1:9", "--bundle"] if verb == "try" else []
    done = call("lab", verb, *options, "x" * 100_000)
    assert_refused(done, "xxx[...]xxx")
    assert len(done.stderr) < 2100


def parsers(part: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield part, parser
    for action in below:
        yield from ((f"{part} {name}", one) for name, one in action.choices.items())


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """A good call of each part: its options and what they take."""
    folder = tmp_path_factory.mktemp("issued")
    issued = pki.issue(
        *(folder / "public", folder / "server", folder / "client"),
        attacker=folder / "attacker",
        shop=folder / "attacker",
        rsa_transport=True,
        archive=folder / "server",
        passwords=True,
    )
    bundle = str(next((folder / "client").glob("*.pem")))
    password = folder / "password"
    password.write_text("secret\n")
    gateway = {"--gateway": "127.0.0.1:9"}
    mallory = str(next((folder / "attacker").glob("mallory*.pem")))
    forward = {"--forward": "127.0.0.1:0=127.0.0.1:9"}
    leaked = {"--file": str(issued.register), "--bundle": mallory} | gateway
    return {
        "attacker relay": forward | {"--bundle": mallory},
        "attacker arp": {"--client": "127.0.0.1", "--server": "127.0.0.1", "--bundle": mallory},
        "attacker interception": gateway | forward | {"--bundle": mallory},
        "attacker live-relay": gateway | forward | {"--bundle": mallory},
        "attacker rogue-server": gateway | {"--listen": "127.0.0.1:0", "--shop-bundle": mallory, "--bundle": mallory},
        **{f"attacker {leak}": leaked for leak in ("database", "log", "archive", "requests")},
        "victim_client": {
            "--bundle": bundle,
            "--ca": str(issued.ca_pem),
            "--gateway": "one=https://localhost:9",
            "--times": "1",
            "--password-file": str(password),
        },
        "victim_server": {
            "--port": "pinned-mtls@openssl=0",
            "--bundle": str(issued.server_pem),
            "--ca": str(issued.ca_pem),
            "--register": str(issued.register),
        },
    }


@pytest.mark.parametrize(("program", "option"), [*part_paths(), ("victim_client", "--bundle")])
def test_an_odd_file_on_a_parts_command_line(
    program: str, option: str, odd_file: tuple[Path, str], calls: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    path, _ = odd_file
    given = {"--folder": str(tmp_path / "part")} | calls[program] | {option: str(path)}
    if option == "--folder" and path.is_dir():
        return  # there it is right
    if program == "attacker arp" and option in ("--bundle", "--move-file"):
        return  # her scope comes first, and it is none here
    if option in ("--access-log", "--capture") and path.name == "sparse":
        return  # a log that is full stays as it is, and a capture is written anew
    part, *leak = program.split()
    words = [word for pair in given.items() for word in pair]
    assert_refused(call(part, *leak, *words, "--tether"), str(path))


@pytest.mark.parametrize("name", ["events.jsonl", "keys.log"])
@pytest.mark.parametrize("program", ["attacker relay", "attacker database", "victim_client", "victim_server"])
def test_a_folder_with_a_fifo_in_it(program: str, name: str, calls: dict[str, dict[str, str]], tmp_path: Path) -> None:
    if program.startswith("attacker") and name == "keys.log":
        return  # she has none
    os.mkfifo(tmp_path / name)
    part, *leak = program.split()
    words = [word for pair in calls[program].items() for word in pair]
    assert_refused(call(part, *leak, *words, "--folder", tmp_path, "--tether"), str(tmp_path / name), "is a FIFO")


def numbers() -> Iterator[tuple[str, str]]:
    """Every option of a part that takes a number."""
    for part, parser in PARTS.items():
        for name, one in parsers(part, parser()):
            for action in one._actions:
                if action.type not in (None, Path) and action.option_strings:
                    yield name, action.option_strings[0]


ODD_NUMBERS = ("-1", "nan", "inf", "1e999", "9" * 5000, "0x10", "")


@pytest.mark.parametrize(("program", "option"), [*numbers()])
def test_an_odd_number_on_a_parts_command_line(
    program: str, option: str, calls: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    parser = next(one for name, one in parsers(program.split()[0], PARTS[program.split()[0]]()) if name == program)
    words = [word for pair in ({"--folder": str(tmp_path)} | calls[program]).items() for word in pair]
    for number in ODD_NUMBERS:
        with pytest.raises(BadInput, match=option):
            parser.parse_args([*words, f"{option}={number}"])


def test_there_are_numbers() -> None:
    assert {option for _, option in numbers()} >= {"--at-once", "--rounds", "--times", "--every", "--opening-balance"}


@pytest.mark.parametrize("name", ["victim-client/events.jsonl", "attacker/events.jsonl"])
@pytest.mark.parametrize("verb", ["verdicts", "story", "claims"])
def test_a_run_with_an_odd_file_in_it(verb: str, name: str, odd_file: tuple[Path, str], tmp_path: Path) -> None:
    path, word = odd_file
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(path)
    assert_refused(call("lab", verb, run), name, word)


@pytest.mark.parametrize("name", ["fifo", "device", "sparse"])
def test_a_run_whose_stolen_files_are_odd(name: str, finished_run: Path, tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "attacker" / "stolen" / "odd.pem").symlink_to(ODD_FILES[name][0](tmp_path))
    (run / "attacker" / "keys.log").symlink_to("/dev/zero")
    done = call("lab", "story", run)
    assert done.returncode in (0, 1), done.stderr


def test_events_in_long_lines_and_in_pieces(tmp_path: Path, finished_run: Path) -> None:
    """A line that is too long is skipped, even if it comes in pieces; what follows is read."""
    lines = (finished_run / "lab" / "events.jsonl").read_bytes().splitlines(keepends=True)
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert list(tail.new()) == []
    path.write_bytes(lines[0] + b"x" * (MAX_LINE + 10))
    assert [one.sequence for one in tail.new()] == [1]
    with path.open("ab") as file:
        file.write(b"x" * (2 * MAX_LINE) + b"\n" + lines[1] + lines[2][:5])
    assert [one.sequence for one in tail.new()] == [2]
    with path.open("ab") as file:
        file.write(lines[2][5:])
    assert [one.sequence for one in tail.new()] == [3]
    assert [one.sequence for one in read_events(path)] == [1, 2, 3]
