"""An event loop on virtual time, whose steps are counted."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

START_MS = 1_767_268_800_000


class DeadlockError(Exception):
    """Nothing will ever happen again."""


class SimLoop(asyncio.SelectorEventLoop):
    """Time passes only when nothing can be done now, and then at once. Every step is counted, and one may be the last:
    what is scheduled as that step runs after the process has died."""

    def __init__(self) -> None:
        super().__init__(_NoSelector(self))
        self.virtual_s = 0.0
        self.steps = 0
        self.die_at: int | None = None
        self.on_death: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.virtual_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """What would run in a thread is done in a moment, whether or not anybody still waits for it."""
        future = self.create_future()
        self.call_later(0.001, _carry_out, future, func, args)
        return future

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        self.steps += 1
        if self.die_at is not None and self.steps >= self.die_at:
            self.die_at = None
            self.on_death()
        return super().call_soon(callback, *args, context=context)


def _carry_out(future: asyncio.Future[Any], func: Any, args: Any) -> None:
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001 - whoever waits hears of it
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)


class _NoSelector(selectors.SelectSelector):
    """Waits for nobody: moves the loop's time instead."""

    def __init__(self, loop: SimLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("every task waits for another")
        self._loop.virtual_s += max(0.0, timeout)
        return []


class SimClock:
    """The kernel's clock on the loop's time."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + int(self._loop.virtual_s * 1000)

    def monotonic(self) -> float:
        return self._loop.virtual_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is a clock
