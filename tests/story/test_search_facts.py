"""What the lab found in the attacker's capture, in words: counts of one are in the singular."""

from claimed import SEARCHED
from handmade import run_of, with_fields
from lab.story.acts import search_facts


def test_one_of_a_thing_is_counted_in_the_singular() -> None:
    told = dict(search_facts(run_of(), with_fields(SEARCHED, gaps=1, cut=1, alone=2)))
    assert told["alice's certificate"] == "found 1 time, first in here"
    assert told["blind spots"] == (
        "what is in encrypted records; matches split across 1 gap, 1 packet cut short, 2 packets of no connection"
    )
