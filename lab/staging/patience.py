"""How long a run may take: longer on a machine that is slow, such as an emulated one."""

import time

USUAL_SECONDS = 0.01
"""What an ordinary processor takes for ROUNDS; most take less."""
ROUNDS = 100_000
MOST = 60.0
"""The factor by which a time is made longer is never more than this."""


def out_of_time(seconds: float) -> str:
    """What is said of a run that takes longer than that."""
    return f"the run was not over after {seconds:.0f} seconds; it is judged as far as it got"


def slowness() -> float:
    """How many times slower than an ordinary one this processor is, from 1 to MOST."""
    began = time.process_time()
    counted = 0
    for number in range(ROUNDS):
        counted += number
    return min(max((time.process_time() - began) / USUAL_SECONDS, 1.0), MOST)
