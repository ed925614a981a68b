"""How fast a matrix went: what was made on the wire is counted, and the rest is named."""

import dataclasses

import pytest

from handmade import TRIED, run_of, with_fields
from lab.catalogue.outcomes import INCONCLUSIVE, NOT_APPLICABLE
from lab.events.types import MoveTried
from lab.views.progress import MatrixProgress

EMPTY = with_fields(TRIED, local="", outcome=NOT_APPLICABLE)


@pytest.mark.parametrize(
    ("tried", "told"),
    [
        ((), "0 attempts in 0.0 s"),
        ((TRIED,), "1 attempt in 0.0 s"),
        ((TRIED, TRIED, TRIED), "3 attempts in 2.0 s, 2 a second"),
        (
            (EMPTY, TRIED, with_fields(TRIED, outcome=NOT_APPLICABLE), EMPTY),
            "2 attempts in 1.0 s, 2 a second; 2 more had nothing to send",
        ),
        ((with_fields(TRIED, local="", outcome=INCONCLUSIVE),), "1 attempt in 0.0 s"),
    ],
)
def test_a_matrix_counts_what_it_sent(tried: tuple[MoveTried, ...], told: str) -> None:
    run = run_of(*tried)
    run.events[:] = [dataclasses.replace(one, part="attacker") for one in run.events]
    with MatrixProgress(len(tried)) as progress:
        progress.update(run)
    assert progress.summary() == told
