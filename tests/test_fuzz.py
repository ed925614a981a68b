"""Damaged and random bytes at everything that parses, for a short while; `python -m bench.fuzz` does it for longer."""

import random
from pathlib import Path

import pytest

from bench import fuzz

INPUTS = 400
SEED = 7


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, fuzz.FuzzTarget]:
    return {target.name: target for target in fuzz.targets(tmp_path_factory.mktemp("fuzz"))}


NAMES = (
    "messages, TLS 1.2",
    "messages, TLS 1.3",
    "records",
    "protected records",
    "packets",
    "streams of packets",
    "capture files",
    "search",
    "leaked files",
    "certificates",
    "proofs",
    "stolen certificates",
    "Client-Cert",
    "events",
    "server, TLS 1.2",
    "server, TLS 1.3",
    "client, TLS 1.2",
    "client, TLS 1.3",
)


def test_the_targets_are_these(targets: dict[str, fuzz.FuzzTarget]) -> None:
    assert tuple(targets) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_clear_errors(targets: dict[str, fuzz.FuzzTarget], name: str) -> None:
    count = fuzz.fuzz(targets[name], INPUTS, SEED)
    assert count.inputs == INPUTS


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("messages", "protected", "events"))])
def test_what_is_not_damaged_is_taken(targets: dict[str, fuzz.FuzzTarget], name: str) -> None:
    for seed in targets[name].seeds:
        targets[name].take(seed)


def test_a_right_proof_is_taken(targets: dict[str, fuzz.FuzzTarget]) -> None:
    targets["proofs"].take(targets["proofs"].seeds[0])


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("server", "client"))])
def test_an_undamaged_flight_goes_all_the_way(targets: dict[str, fuzz.FuzzTarget], name: str) -> None:
    assert targets[name].take(targets[name].seeds[0]) == ["Established", "Data", "Closed"]


def test_an_input_that_slips_through_is_told_with_all_it_takes_to_repeat_it(tmp_path: Path) -> None:
    def careless(data: bytes) -> int:
        return data[3]

    target = fuzz.FuzzTarget("careless", (b"abcd",), careless, (), 1)
    with pytest.raises(fuzz.Escaped, match=r"careless: IndexError.*\n  input: [0-9a-f]*"):
        fuzz.fuzz(target, 1000, SEED)


def test_the_same_seed_makes_the_same_inputs() -> None:
    one, other, stranger = (random.Random(seed) for seed in (1, 1, 2))
    made = [[fuzz.damaged(chance, (b"certificate" * 9,)) for _ in range(50)] for chance in (one, other, stranger)]
    assert made[0] == made[1] != made[2]
