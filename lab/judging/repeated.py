"""What a run can tell once: the same thing told again would count twice."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from lab.events.run import Run
from lab.events.types import (
    EMBEDDED,
    AccountOpened,
    CaptureSearched,
    CertificateCaptured,
    FileSearched,
    KeyFound,
    LoggedIn,
    PasswordFound,
    RunStarted,
    type_name,
)
from lab.judging.attempts import NAMES_CONNECTIONS

ONCE: Mapping[type[Any], Callable[[Any], Hashable]] = {
    AccountOpened: lambda one: one.customer,
    CaptureSearched: lambda one: "",
    CertificateCaptured: lambda one: (one.leak, one.sha256, one.server, one.tls),
    FileSearched: lambda one: (one.leak, one.file, one.what),
    KeyFound: lambda one: (one.leak, one.file, one.sha256),
    LoggedIn: lambda one: one.connection or one,
    PasswordFound: lambda one: (one.leak, one.customer, one.seen_at, one.form),
}
"""What tells two events of a kind apart."""
_EVEN_IN_A_CLASS = (LoggedIn,)
"""There, parts start again and tell the rest anew."""


def told_twice(run: Run) -> Iterator[str]:
    """The events that say again what an earlier one has said, a sentence each."""
    started = run.first(RunStarted)
    embedded = started is not None and started.mode == EMBEDDED
    times: Counter[tuple[type[Any], Hashable]] = Counter()
    for recorded in run.events:
        kind = type(recorded.event)
        if kind not in ONCE or recorded.version < NAMES_CONNECTIONS or not (embedded or kind in _EVEN_IN_A_CLASS):
            continue
        key = kind, ONCE[kind](recorded.event)
        times[key] += 1
        if times[key] > 1:
            yield f"{recorded.number} tells again what an earlier {type_name(kind)} has told"
