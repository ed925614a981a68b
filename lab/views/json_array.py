"""A JSON object on standard output with one long array, printed item by item, so that it need not be kept."""

import json
import textwrap
from typing import Any


class JsonListing:
    """Prints the object; `end` adds what else is in it and closes it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._items = 0

    def add(self, item: dict[str, Any]) -> None:
        before = "," if self._items else f"{{\n  {json.dumps(self._name)}: ["
        print(before, textwrap.indent(json.dumps(item, indent=2), "    "), sep="\n", end="")
        self._items += 1

    def end(self, rest: dict[str, Any]) -> None:
        print("\n  ]" if self._items else f"{{\n  {json.dumps(self._name)}: []", end=",\n")
        print(json.dumps(rest, indent=2).removeprefix("{\n"))
