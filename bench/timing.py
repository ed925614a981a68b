"""Times several contenders in one run, round by round, so that whatever drifts hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WARM_UP_ROUNDS = 2


@dataclass(frozen=True)
class Timing:
    """How long one contender took, a time a round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """The first and the last decile, in seconds; the extremes where there are fewer than ten times."""
        if len(self.seconds) < 10:
            return min(self.seconds), max(self.seconds)
        deciles = statistics.quantiles(self.seconds, n=10)
        return deciles[0], deciles[-1]

    def in_ms(self) -> tuple[str, str]:
        """Median and spread as text, in milliseconds."""
        low, high = self.spread
        return f"{self.median * 1000:.2f}", f"{low * 1000:.2f} to {high * 1000:.2f}"


def side_by_side(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Runs every contender once a round; in each round another one goes first."""
    names = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(WARM_UP_ROUNDS + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            began = time.perf_counter()
            contenders[name]()
            if number >= WARM_UP_ROUNDS:
                taken[name].append(time.perf_counter() - began)
    return {name: Timing(tuple(seconds)) for name, seconds in taken.items()}
