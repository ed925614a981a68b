"""The exhibits: what the catalogue says of them, and, with the marker `gallery`, that they do it."""

import asyncio

import pytest

from lab.catalogue.exhibits import EXHIBITS, JAVA, find_exhibit
from lab.catalogue.moves import find_move
from lab.probing.exhibits import ReleasePair, accepted, expected, try_exhibit
from lab.probing.gallery import is_installed
from programs import certreplay, unavailable


@pytest.mark.gallery
@pytest.mark.parametrize("name", [one.id for one in EXHIBITS])
def test_it_takes_what_it_is_said_to_take_and_the_mended_one_nothing(name: str) -> None:
    exhibit = find_exhibit(name)
    assert exhibit
    if not is_installed(JAVA):
        unavailable(f"{name} needs {' '.join(JAVA.packages)}")
    pair = asyncio.run(try_exhibit(exhibit, lambda words: None))
    assert not pair.missing, pair.missing
    assert accepted(pair.shipped) == expected(exhibit)
    assert accepted(pair.mended) == set()


def test_every_row_names_moves_and_pins_its_releases() -> None:
    for exhibit in EXHIBITS:
        assert all(find_move(move) for moves in exhibit.takes.values() for move in moves)
        assert "==" in exhibit.shipped
        assert "==" in exhibit.mended


def test_without_a_verdict_nothing_is_as_written() -> None:
    assert not ReleasePair(EXHIBITS[0], missing="away").as_written
    assert not ReleasePair(EXHIBITS[0]).as_written


def test_an_exhibit_that_is_not_there_is_named() -> None:
    done = certreplay("exhibits", "java-1.0")
    assert done.returncode == 2
    assert "give one of java-11.0.5" in done.stderr
