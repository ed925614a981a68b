"""Runs asynchronous tests."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from programs import PATIENCE_SECONDS

P = ParamSpec("P")


def in_event_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs a test in an event loop of its own, and fails it if it hangs."""

    @functools.wraps(test)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        async def limited() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await test(*arguments, **options)

        asyncio.run(limited())

    return run
