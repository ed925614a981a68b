"""Whatever is shown fits the width there is, from a phone's to a projector's, and loses no character."""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.document import ByteField, Column, Exchange, Octets, Table, facts
from lab.events.run import open_run
from lab.judging.claims import CLAIMS, settle
from lab.judging.queries import RunQueries
from lab.judging.verdicts import JudgedRun
from lab.story import acts, matrix
from lab.story import claims as claims_told
from lab.story.explain import explain
from lab.views import terminal
from programs import certreplay
from tls_peers import cases

WIDE = 110
NARROW = (40, 61, 71, 80, 100)


@pytest.fixture(scope="module")
def judged(finished_run: Path) -> JudgedRun:
    return JudgedRun(open_run(finished_run))


def printed(blocks: object, width: int, all_bytes: bool = False) -> list[str]:
    written = io.StringIO()
    console = terminal.recording_console(written, width)
    console.no_color = True
    console._color_system = None
    terminal.Terminal(console=console, all_bytes=all_bytes).show(blocks)  # type: ignore[arg-type]
    return written.getvalue().splitlines()


TOLD: dict[str, Callable[[JudgedRun], object]] = {
    "story": acts.tell,
    "explained": lambda judged: [block for verdict in judged.judgement.verdicts[3:6] for block in explain(verdict)],
    "matrix": lambda judged: list(matrix.tell_matrix(judged.judgement)),
    "verdicts": lambda judged: [acts.verdict_table(judged.judgement.verdicts)],
    "claims": lambda judged: list(claims_told.tell_claims(settle(CLAIMS, RunQueries(judged)))),
}


@pytest.mark.parametrize("width", NARROW)
@pytest.mark.parametrize("what", TOLD)
@pytest.mark.parametrize("all_bytes", [False, True])
def test_nothing_is_cut_and_no_line_is_too_long(judged: JudgedRun, what: str, width: int, all_bytes: bool) -> None:
    lines = printed(TOLD[what](judged), width, all_bytes)
    assert max(map(len, lines)) <= width
    wide, narrow = (
        Counter("".join("".join(one).split())) for one in (printed(TOLD[what](judged), WIDE, all_bytes), lines)
    )
    assert wide - narrow == Counter()
    assert "…" not in narrow


def test_where_columns_have_no_room_a_row_is_facts() -> None:
    table = Table(
        (Column("move", "name"), *(Column(f"gateway{n}@openssl", "outcome") for n in range(5))),
        (("omit-proof", *["refused"] * 5),),
    )
    assert printed([table], 40)[:2] == ["move              omit-proof", "gateway0@openssl  refused"]
    assert printed([table], 80)[-1].split() == ["omit-proof", *["refused"] * 5]


@pytest.mark.parametrize(("width", "octets"), [(100, 16), (61, 8), (40, 4)])
def test_a_narrow_terminal_shows_fewer_bytes_on_a_line(width: int, octets: int) -> None:
    message = Octets("Finished", "client", False, (ByteField(0, bytes(20), "a meaning of some length"),))
    (line, *_) = printed([message], width)
    assert line.split("  ")[1] == " ".join(["00"] * octets)
    for line in printed([Exchange((message,))], width)[1:]:
        assert len(line) <= width


@cases(
    ("environment", "width"),
    {
        "as wide as a projector shows": ({}, WIDE),
        "COLUMNS": ({"COLUMNS": "72"}, 72),
        "COLUMNS of a very wide terminal": ({"COLUMNS": "300"}, WIDE),
        "COLUMNS without a meaning": ({"COLUMNS": "many"}, WIDE),
        "CERTREPLAY_WIDTH": ({"COLUMNS": "72", "CERTREPLAY_WIDTH": "130"}, 130),
        "an empty CERTREPLAY_WIDTH": ({"COLUMNS": "72", "CERTREPLAY_WIDTH": ""}, 72),
    },
)
def test_the_environment_says_how_wide_to_print(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], width: int
) -> None:
    for name in ("COLUMNS", "CERTREPLAY_WIDTH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert terminal.new_console().width == width
    prefixed = width if environment.get("CERTREPLAY_WIDTH") else width - 19
    assert terminal.new_console(prefix=19).width == prefixed


@pytest.mark.parametrize("width", ["0", "19", "-80", "wide", "80.5", "٨٠"])
def test_a_width_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    monkeypatch.setenv("CERTREPLAY_WIDTH", width)
    done = certreplay("moves")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"certreplay: CERTREPLAY_WIDTH={width}: give a number of columns, 20 or more\n"


def test_the_facts_of_a_narrow_terminal_fold_their_names() -> None:
    rows = facts(("the same search in her bundle", "found as DER, PEM and everything else that there is"))
    lines = printed([rows], 40)
    assert max(map(len, lines)) <= 40
    assert lines[0].startswith("the same")
