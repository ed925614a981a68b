"""No text that somebody else wrote commands the terminal, the page or the shell that it is shown in.

Such texts are in every field of every event, in the names of files and folders, and in every argument of a command.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer.main
from test_arrows import modules
from test_odd_files import PARTS, call, parsers
from typer.core import TyperGroup

from lab import cli
from lab.events.types import BY_NAME
from lab.printable import printable
from programs import called, certreplay

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u2066\u200f\x00\r\n\t[red]x[/red] `id` $(id) '; id; \"<b>\udcff"
"""Terminal commands with ESC and with CSI in one byte, directions of writing, line breaks, markup, and half a pair."""
SHOWN = "[red]x[/red]"
"""What has to be there as it is wherever the text is shown: rich would take it as a colour."""
IN_EVENTS = HOSTILE.replace("\udcff", "")
"""JSON with half a pair is no event."""


def assert_harmless(*printed: str) -> None:
    for text in printed:
        for line in text.split("\n"):
            assert line.isprintable(), repr(line)


def assert_one_line(done: "subprocess.CompletedProcess[str]") -> None:
    assert_harmless(done.stdout, done.stderr)
    assert done.stderr.count("\n") <= 1, done.stderr


@pytest.fixture(scope="module")
def doctored(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a copy of the run, in which a function has changed each event's fields."""

    def doctor(change: Callable[[dict[str, Any]], object]) -> Path:
        folder = tmp_path_factory.mktemp("doctored") / "run"
        shutil.copytree(finished_run, folder)
        for file in folder.glob("*/events.jsonl"):
            events = [json.loads(line) for line in file.read_text().splitlines()]
            for event in events:
                change(event)
            file.write_text("".join(f"{json.dumps(event)}\n" for event in events))
        return folder

    return doctor


def poisoned(value: Any) -> Any:
    """The same with the hostile text behind every text in it."""
    match value:
        case str():
            return value + IN_EVENTS
        case list():
            return [*map(poisoned, value), IN_EVENTS] if all(isinstance(one, str) for one in value) else value
        case _:
            return value


VERBS = (
    ("story",),
    ("verdicts",),
    ("verdicts", "--json"),
    ("claims",),
    ("claims", "--json"),
    ("explain", "--move", "replay-proof", "--gateway", "pinned-mtls@instrument"),
    ("explain", "--move", "replay-proof", "--gateway", "pinned-mtls@instrument", "--json"),
    ("explain", "--recipe"),
)
ENVELOPE = ("version", "sequence", "time")


def fields(finished: Path) -> Iterator[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for file in sorted(finished.glob("*/events.jsonl")):
        for line in file.read_text().splitlines():
            event = json.loads(line)
            for name, value in event.items():
                if name not in ENVELOPE and isinstance(value, str | list):
                    found[event["type"], name] = None
    yield from found


def test_every_field_of_every_event(finished_run: Path, doctored: Callable[..., Path]) -> None:
    """Field by field, in the story, which shows most of them."""
    seen = 0
    for kind, name in fields(finished_run):

        def change(event: dict[str, Any], kind: str = kind, name: str = name) -> None:
            if event["type"] == kind:
                event[name] = poisoned(event[name])

        run = doctored(change)
        done = certreplay("story", run)
        assert_harmless(done.stdout, done.stderr)
        assert done.returncode in (0, 1, 2), done
        seen += SHOWN in done.stdout
        shutil.rmtree(run.parent)
    assert seen > 10


@pytest.mark.parametrize("kind", sorted(BY_NAME))
def test_all_fields_of_an_event_in_every_command(kind: str, doctored: Callable[..., Path]) -> None:
    def change(event: dict[str, Any]) -> None:
        if event["type"] == kind:
            event.update({name: poisoned(value) for name, value in event.items() if name not in (*ENVELOPE, "type")})

    run = doctored(change)
    for verb, *options in VERBS:
        done = certreplay(verb, run, *options)
        assert_harmless(done.stdout, done.stderr)
        assert done.returncode in (0, 1, 2), done


def test_an_address_is_no_shell_command(doctored: Callable[..., Path]) -> None:
    """`explain --recipe` prints a script, and an event's address becomes a part of it."""

    def change(event: dict[str, Any]) -> None:
        if event["type"] == "certificate-captured":
            event["client"] = "1.1.1.1'; id; ':80"

    done = certreplay("explain", doctored(change), "--recipe")
    assert done.returncode == 2
    assert "; id" not in done.stdout


def test_an_unknown_event(doctored: Callable[..., Path]) -> None:
    run = doctored(lambda event: None)
    envelope = {"version": 3, "part": "attacker", "sequence": 9999, "time": "2026-01-01T00:00:00+00:00"}
    with (run / "attacker" / "events.jsonl").open("a") as file:
        file.write(json.dumps({**envelope, "type": IN_EVENTS, IN_EVENTS: IN_EVENTS}) + "\n")
    for verb, *options in VERBS:
        done = certreplay(verb, run, *options)
        assert_harmless(done.stdout, done.stderr)


def test_names_of_files_and_folders(doctored: Callable[..., Path], tmp_path: Path) -> None:
    name = HOSTILE.replace("\x00", "").replace("/", "")
    run = doctored(lambda event: None)
    shutil.copytree(run / "attacker", run / name)
    (run / "attacker" / "stolen" / f"{name}.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    place = tmp_path / name
    place.mkdir()
    run = run.rename(place / name)
    capture = shutil.copy(run / "attacker" / "capture.pcapng", place / f"{name}.pcapng")
    bundle = shutil.copy(run / "victim-client" / "alice-self-signed.pem", place / f"{name}.pem")
    for verb, *options in VERBS:
        assert_harmless(*outputs(certreplay(verb, run, *options)))
        assert_harmless(*outputs(certreplay(verb, "--runs", place, *options)))
    for arguments in (
        ("capture", capture),
        ("capture", capture, "--profile"),
        ("capture", capture, "--json"),
        ("capture", capture, "--pem", place / "pem"),
        ("capture", bundle),
        ("bundle", bundle),
        ("bundle", bundle, "--capture", capture),
        ("bundle", bundle, "--capture", run, "--json"),
        ("bundle", capture),
        ("demo", "--runs", bundle),
        ("show", "--runs", place, "--socket", place / "none" / name),
    ):
        assert_harmless(*outputs(certreplay(*arguments)))


def outputs(done: "subprocess.CompletedProcess[str]") -> tuple[str, str]:
    assert done.returncode in (0, 1, 2), done
    return done.stdout, done.stderr


FINE_WITH = {"demo": ("--runs",), "matrix": ("--runs",), "show": ("--socket",)}
"""Options of verbs that go on with any name of a file or folder: it is tried above."""


def verbs() -> Iterator[tuple[str, str]]:
    """Every verb with every option that takes a value, and with none."""
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    for verb, command in group.commands.items():
        yield verb, ""
        for parameter in command.params:
            option = parameter.opts[0]
            if parameter.param_type_name == "option" and option not in ("--json", "--help", *FINE_WITH.get(verb, ())):
                yield verb, option


@pytest.mark.parametrize(("verb", "option"), list(verbs()))
def test_arguments_of_the_command(verb: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong argument, an option that there is none, a value that is none: one line, status 2."""
    monkeypatch.chdir(tmp_path)
    hostile = HOSTILE.replace("\x00", "").replace("/", "")
    for arguments in ((verb, option, hostile), (verb, f"--{hostile}"), (verb, hostile, hostile, hostile), (hostile,)):
        done = certreplay(*(argument for argument in arguments if argument))
        assert_one_line(done)
        assert done.returncode in (0, 2), done
    done = certreplay(verb, option or hostile, hostile, hostile, "--json")
    assert_harmless(done.stdout, done.stderr)


@pytest.mark.parametrize("part", PARTS)
def test_arguments_of_the_parts(part: str, tmp_path: Path) -> None:
    """Their errors go through one function, which is tried in a process; their parsers are tried here."""
    hostile = HOSTILE.replace("\x00", "").replace("/", "")
    for name, parser in parsers(part, PARTS[part]()):
        leak = name.split()[1:]
        for action in parser._actions[1:]:  # the first is --help
            for words in ([*action.option_strings[:1], hostile], [f"--{hostile}"], [hostile]):
                done = called(partial(run_parser, part, [*leak, *words])) if leak else call(part, *words)
                assert_one_line(done)
                assert done.returncode == 2
    done = call(part, hostile)
    assert_one_line(done)
    assert done.returncode == 2


def run_parser(part: str, words: list[str]) -> None:
    from lab.process import run_part

    async def main() -> int:
        PARTS[part]().parse_args(words)
        raise AssertionError("the call is wrong")

    run_part(part, main)


PRINTS_ITSELF = {
    "lab.printable": "is the one that prints",
    "lab.views.terminal": "prints blocks, made safe",
    "lab.views.json_array": "prints JSON",
    "lab.exits": "prints JSON",
    "lab.cli": "prints JSON",
    "lab.probing.call": "prints Markdown, which is a view",
    "attacker.probe.__main__": "writes JSON to the lab",
    "lab.unlock": "prints JSON to its parent",
    "lab.tls.states": "prints its own tables",
    "attacker.leak.interception_addon": "writes JSON to the attacker",
}


def test_texts_are_printed_in_one_place() -> None:
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called_ = ast.unparse(node.func)
            if called_ == "print" or called_ in ("sys.stdout.write", "sys.stderr.write"):
                assert name in PRINTS_ITSELF, f"{name}, line {node.lineno}: {called_}; use lab.printable"
                if name in ("lab.exits", "lab.cli", "lab.probing.call"):
                    shown = ast.unparse(node.args[0])
                    assert "json" in shown or "markdown" in shown, f"{name}, line {node.lineno}"


def test_the_test_finds_something() -> None:
    with pytest.raises(AssertionError):
        assert_harmless(HOSTILE)
    assert_harmless(printable(HOSTILE))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_knows_few_characters(encoding: str, doctored: Callable[..., Path]) -> None:
    def change(event: dict[str, Any]) -> None:
        if event["type"] == "logged-in":
            event["subject"] = "CN=Ωμέγα"

    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    command = [sys.executable, "-m", "lab", "story", str(doctored(change))]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)
    assert done.returncode in (0, 1)
    assert done.stderr == b""
