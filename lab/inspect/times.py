"""Times as people read them: in UTC, to the second, in one form everywhere."""

from datetime import UTC, datetime


def moment(time: datetime) -> str:
    """`2026-01-01 12:00:00`; the reader is told elsewhere that it is UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def period(first: datetime, last: datetime) -> str:
    """`2026-01-01 12:00:00 to 2027-01-01 12:00:00 UTC`."""
    return f"{moment(first)} to {moment(last)} UTC"
