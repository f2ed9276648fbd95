"""How a consumer's code is called: in the loop or in a thread of its own, with a time limit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from heldard.clock import Clock
from heldard.plugin import Consumer


class ConsumeTimeoutError(Exception):
    """A consumer took longer than it may."""


class Driver(Protocol):
    """Calls a consumer's methods wherever it lives."""

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""

    async def call(self, method: Callable[..., Any], *arguments: Any) -> None:
        """Raises what the consumer raises, ConsumeTimeoutError when it takes too long."""

    def close(self) -> None: ...


class LoopDriver:
    """On the event loop. Code that does not await cannot be stopped there: it is timed, and named when it is slow."""

    def __init__(self, clock: Clock, timeout_s: float, blocked_s: float, on_blocked: Callable[[float], None]) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._blocked_s = blocked_s
        self._on_blocked = on_blocked
        self._under_way = 0

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    async def call(self, method: Callable[..., Any], *arguments: Any) -> None:
        self._under_way += 1
        try:
            await self._call(method, *arguments)
        finally:
            self._under_way -= 1

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> None:
        began = self._clock.monotonic()
        answer = method(*arguments)
        took = self._clock.monotonic() - began
        if took > self._blocked_s:
            self._on_blocked(took)
        if inspect.isawaitable(answer):
            try:
                async with asyncio.timeout(self._timeout_s):
                    await answer
            except TimeoutError:
                raise ConsumeTimeoutError(f"took longer than {self._timeout_s} s") from None

    def close(self) -> None:
        """Nothing to give back."""


class ThreadDriver:
    """In one thread of its own. A call that hangs keeps its thread; the next call gets a new one."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._pool = self._new_pool()
        self._under_way = 0

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"consumer-{self._name}")

    async def call(self, method: Callable[..., Any], *arguments: Any) -> None:
        def run() -> None:
            answer = method(*arguments)
            if inspect.isawaitable(answer):
                asyncio.run(_finish(answer))

        future = asyncio.get_running_loop().run_in_executor(self._pool, run)
        self._under_way += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                await future
        except TimeoutError:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._new_pool()
            raise ConsumeTimeoutError(f"took longer than {self._timeout_s} s") from None
        finally:
            self._under_way -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _finish(answer: Any) -> None:
    await answer


def driver_for(
    consumer: Consumer, clock: Clock, timeout_s: float, blocked_s: float, on_blocked: Callable[[float], None]
) -> Driver:
    if consumer.runs_in == "loop":
        return LoopDriver(clock, timeout_s, blocked_s, on_blocked)
    return ThreadDriver(consumer.name, timeout_s)
