"""What the fields of events may hold, and the check that a value read from a file is one of these.

`Hex` is `str` to a type checker. To the reader of events it is a `str` with a check: a function that raises ValueError
for a value that does not fit. Code that gets an event can rely on its fields.
"""

import sys
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from lab.address import find_address

Reader = Callable[[Any], Any]
"""Turns a JSON value into the field's value. TypeError or ValueError where that does not fit."""


RECORD_HEADER_LENGTH = 5


def _is_empty(text: str) -> None:
    if text:
        raise ValueError(f"{text!r} is not empty")


def _is_hex(text: str) -> None:
    if not text or bytes.fromhex(text).hex() != text:
        raise ValueError(f"{text!r} is not hex")


def _is_record_header(text: str) -> None:
    _is_hex(text)
    if len(text) != 2 * RECORD_HEADER_LENGTH:
        raise ValueError(f"{text!r} is not five bytes")


def _is_address(text: str) -> None:
    if find_address(text) is None:
        raise ValueError(f"{text!r} is not HOST:PORT")


def _is_file_name(text: str) -> None:
    if not text or ":" in text:
        raise ValueError(f"{text!r} is not the name of a file")


def _between(least: float, most: float) -> Callable[[float], None]:
    def check(number: float) -> None:
        if not least <= number <= most:
            raise ValueError(f"{number} is not between {least} and {most}")

    return check


Empty = Annotated[str, _is_empty]
"""Stands where there is nothing to say."""
Hex = Annotated[str, _is_hex]
"""One byte or more, two digits each, in lower case."""
RecordHeader = Annotated[str, _is_record_header]
"""The five bytes at the beginning of a TLS record, in hex."""
HostPort = Annotated[str, _is_address]
"""`127.0.0.1:8441`, `[::1]:8441`."""
FileName = Annotated[str, _is_file_name]
"""The name of a file, without a colon: it cannot be mistaken for an address."""
Port = Annotated[int, _between(0, 0xFFFF)]
Count = Annotated[int, _between(0, 2**63)]
AlertNumber = Annotated[int, _between(0, 0xFF)]
"""An alert's number on the wire."""
HttpStatus = Annotated[int, _between(100, 999)]
Milliseconds = Annotated[float, _between(0, 86_400_000)]
"""At most a day."""


def build(kind: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """An event of this dataclass with these values, as JSON has them.

    TypeError or ValueError where a value does not fit its field, where one is missing, or where one has no field.
    """
    readers = _readers(kind)
    if unknown := values.keys() - readers.keys():
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return kind(**{name: readers[name](value) for name, value in values.items()})


@cache
def _readers(kind: Callable[..., Any]) -> dict[str, Reader]:
    return {name: _reader(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


def _reader(hint: Any) -> Reader:
    """The reader of a field of this type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _checked(_reader(arguments[0]), arguments[1])
    if origin in (Union, UnionType):
        either = _one_of([_reader(one) for one in arguments if one is not NoneType])
        return _or_none(either) if NoneType in arguments else either
    if origin is tuple and arguments[1:] == (...,):
        return _items(_reader(arguments[0]))
    if origin is tuple:
        return _row([_reader(one) for one in arguments])
    if hint is float:
        return _float
    if issubclass(hint, Enum):
        return _member(hint)
    return _exactly(hint)


def _exactly(kind: type) -> Reader:
    """Reads str, int and bool; a bool is no int."""

    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")
        return value

    return read


def _float(value: Any) -> float:
    """A float, or an int in its place."""
    if type(value) not in (int, float):
        raise TypeError(f"{type(value).__name__} in the place of a number")
    if not -sys.float_info.max <= value <= sys.float_info.max:
        raise ValueError(f"{value} is no finite number")
    return float(value)


def _member(kind: type[Enum]) -> Reader:
    def read(value: Any) -> Enum:
        if type(value) not in (str, int):
            raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")
        return kind(value)

    return read


def _checked(inner: Reader, check: Callable[[Any], object]) -> Reader:
    def read(value: Any) -> Any:
        found = inner(value)
        check(found)
        return found

    return read


def _or_none(inner: Reader) -> Reader:
    def read(value: Any) -> Any:
        return None if value is None else inner(value)

    return read


def _one_of(readers: list[Reader]) -> Reader:
    if len(readers) == 1:
        return readers[0]

    def read(value: Any) -> Any:
        for reader in readers:
            try:
                return reader(value)
            except (TypeError, ValueError):
                continue
        raise ValueError(f"{value!r} is none of what the field may hold")

    return read


def _items(item: Reader) -> Reader:
    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise TypeError(f"{type(value).__name__} in the place of a list")
        return tuple(map(item, value))

    return read


def _row(items: list[Reader]) -> Reader:
    def read(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise TypeError(f"{type(value).__name__} in the place of a list")
        return tuple(reader(one) for reader, one in zip(items, value, strict=True))

    return read
