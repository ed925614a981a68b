"""A JSON array on standard output, item by item, so that a long one need not be kept."""

import json
import textwrap
from typing import Any


class JsonArray:
    """Prints the array; `end` closes it."""

    def __init__(self) -> None:
        self._before = "["

    @property
    def started(self) -> bool:
        return self._before != "["

    def add(self, item: dict[str, Any]) -> None:
        print(self._before, textwrap.indent(json.dumps(item, indent=2), "  "), sep="\n", end="")
        self._before = ","

    def end(self) -> None:
        print("\n]" if self.started else "[]")
