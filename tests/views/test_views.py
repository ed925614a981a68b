"""The views: every kind of block can be shown, and no text in one commands the place where it is shown."""

import contextlib
import io
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from lab.document import (
    Block,
    Break,
    ByteField,
    Column,
    Compared,
    Comparison,
    Exchange,
    Facts,
    Heading,
    Items,
    Meaning,
    Octets,
    Paragraph,
    Section,
    Span,
    Table,
    facts,
)
from lab.views import markdown, terminal

FINISHED = Octets(
    "Finished", "server", True, (ByteField(0, b"\x14\x00\x00\x0c", "Finished (20)"), ByteField(4, bytes(90)))
)
COLUMNS = (Column("move", "name"), Column("mtls", "outcome"), Column("packet", "number"), Column("to"))
COMPARISON = Comparison(
    ("", "signed", "checked"),
    (
        Compared("random", bytes(40), bytes(31) + b"\x01" * 9, at=(4, 8)),
        Compared("cookie", None, b""),
        Compared("this signature", "fits", Span("does not fit", strong=True), "(ed25519)"),
    ),
)
BLOCKS: tuple[Block, ...] = (
    Heading("a heading", 1),
    Paragraph(("a sentence, ", Span("strong", strong=True))),
    Items(("one", "two")),
    Break(),
    facts(("name", "value"), ("", "goes on")),
    Table(COLUMNS, (("omit-proof", Span("accepted", "accepted"), "12", "127.0.0.1:4433"),)),
    FINISHED,
    Exchange((FINISHED,)),
    COMPARISON,
    Section("a chapter", (Section("an entry", (Section("a point", (Paragraph("the end"),), "point"),), "entry"),)),
)


def shown(*blocks: Block, all_bytes: bool = False) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        terminal.show(blocks, all_bytes)
    return printed.getvalue()


def kinds(blocks: tuple[Block, ...]) -> set[type]:
    inner = [block.blocks for block in blocks if isinstance(block, Section)]
    return {type(block) for block in blocks}.union(*map(kinds, inner))


def test_every_kind_of_block_is_tried_here() -> None:
    assert kinds(BLOCKS) == set(get_args(Block))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: type(block).__name__)
def test_every_kind_of_block_is_shown_on_a_terminal_and_in_markdown(block: Block) -> None:
    silent = isinstance(block, Break)
    assert bool(shown(block).strip()) is not silent
    assert bool(markdown.text([block]).strip()) is not silent


def test_long_values_are_cut_short_unless_all_bytes_are_asked_for() -> None:
    assert "and 42 bytes more" in shown(FINISHED)
    assert "more" not in shown(FINISHED, all_bytes=True)
    assert "after 31 bytes alike: 01" in shown(COMPARISON)
    assert "message at byte 4 / 8" in shown(COMPARISON)
    assert "alike:" not in shown(COMPARISON, all_bytes=True)


@pytest.mark.parametrize("width", [40, 78, 79, 80, 82, 200])
def test_names_in_a_table_are_never_cut(width: int) -> None:
    from rich.console import Console

    names = ("pinned-certificate-only@instrument", "second-certificate", "rogue-server")
    headings = (Column("gateway", "name"), Column("move", "name"), Column("leak", "name"), Column("evidence"))
    written = io.StringIO()
    console = Console(file=written, width=width, highlight=False)
    words = 'HTTP 200 {"customer":"alice"}'
    terminal.Terminal(console=console).show([Table(headings, ((*names, words),))])
    assert "…" not in written.getvalue()
    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert (names[0] in lines[1]) is (width >= 79)
    assert sorted("".join("".join(lines[1:]).split())) == sorted("".join(names) + words.replace(" ", ""))


def test_each_field_of_a_message_is_shown_where_all_bytes_are_asked_for() -> None:
    lines = shown(Exchange((FINISHED,)), all_bytes=True).splitlines()
    assert lines[1].split() == ["0", "14", "00", "00", "0c", "Finished", "(20)"]
    assert lines[2].split() == ["4", *["00"] * 16]
    assert "Finished (20)" not in shown(Exchange((FINISHED,)))


def test_a_pause_before_anything_was_said_is_silent() -> None:
    assert shown(Break(), Paragraph("text"), Break(), Paragraph("more")) == "text\n\nmore\n"


def test_what_differs_is_marked_in_markdown() -> None:
    assert f"`{'00' * 31}` **`{'01' * 9}`**" in markdown.text([COMPARISON])


def test_a_chapter_is_set_off_from_what_comes_before_it() -> None:
    chapter = Section("a chapter", (Paragraph("text"),))
    assert shown(chapter) == "a chapter\n  text\n"
    assert shown(Paragraph("before"), chapter) == "before\n\na chapter\n  text\n"


def test_the_story_is_set_off_from_what_was_told_of_it_earlier() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        live = terminal.Terminal()
        for block in (Paragraph("before"), Section("a chapter", ())):
            live.show([block])
    assert printed.getvalue() == "before\n\na chapter\n"


def test_quiet_shows_nothing() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        terminal.Terminal(quiet=True).show(BLOCKS)
    assert printed.getvalue() == ""


def test_meanings_have_colours_where_there_are_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert shown(Paragraph(Span("opened", "accepted", strong=True))) == "\x1b[1;31mopened\x1b[0m\n"
    assert shown(Table((Column(""),), ((Span("shut", "refused"),),))) == "\x1b[32mshut\x1b[0m\n"


HOSTILE = st.text() | st.sampled_from(["\x1b[2J", "\u202egnp.exe", "a\nb\r\x00", "[bold]", "<b>&|*_`", ":smile:"])


def everywhere(text: str) -> tuple[Block, ...]:
    """A text in every place where a block has one."""
    span = Span(text, strong=True)
    message = Octets(text, text, True, (ByteField(0, b"\x00", text),), text)
    meanings = tuple(Span(text, meaning) for meaning in get_args(Meaning))
    return (
        Section(text, (Heading(span), Paragraph(meanings), Items((text,)), Facts(((text, text),)))),
        Table((Column(text), Column(text, "outcome"), Column(text, "name")), ((text, span, text),)),
        message,
        Exchange((message,)),
        Comparison((text, text, text), (Compared(text, text, span, text),)),
    )


@given(HOSTILE)
def test_no_text_commands_a_terminal(text: str) -> None:
    printed = shown(*everywhere(text))
    assert all(character.isprintable() for line in printed.split("\n") for character in line)


def parsed(blocks: tuple[Block, ...]) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(markdown.text(blocks))


@given(HOSTILE)
def test_no_text_becomes_markup(text: str) -> None:
    tokens = parsed(everywhere(f"x{text}"))
    assert [token.type for token in tokens] == [token.type for token in parsed(everywhere("x"))]
    inline = {child.type for token in tokens for child in token.children or ()}
    assert inline <= {"text", "text_special", "strong_open", "strong_close", "code_inline"}


@given(st.sampled_from("#>+-=*_~`") | st.sampled_from(["1.", "12)", "    ", "***", "- - -", "&lt;", "[a](b)", "<b>"]))
def test_no_beginning_becomes_markup(text: str) -> None:
    (opening, inline, closing) = parsed((Paragraph(f"{text} x"),))
    assert (opening.type, closing.type) == ("paragraph_open", "paragraph_close")
    assert "".join(child.content for child in inline.children or ()) == f"{text} x".strip()


def test_what_is_printed_says_what_a_text_says() -> None:
    assert shown(Paragraph("[bold] :smile: /red")) == "[bold] :smile: /red\n"


def test_a_command_that_prints_json_does_not_wait_for_rich() -> None:
    script = "import sys, lab.views.terminal, lab.views.progress; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
