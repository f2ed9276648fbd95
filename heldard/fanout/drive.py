"""How a consumer's code is called: in the loop or in a thread of its own, with a time limit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from heldard.clock import Clock
from heldard.plugin import Consumer


class ConsumeTimeoutError(Exception):
    """A consumer took longer than it may."""


class ConsumerAbortedError(Exception):
    """A consumer raised what would end more than itself, such as SystemExit or CancelledError; that is its cause."""


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
        try:
            began = self._clock.monotonic()
            answer = method(*arguments)
            took = self._clock.monotonic() - began
            if took > self._blocked_s:
                self._on_blocked(took)
            if inspect.isawaitable(answer):
                await _in_time(answer, self._timeout_s)
        except BaseException as error:
            _contain(error)
            raise

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


async def _in_time(answer: Awaitable[Any], timeout_s: float) -> None:
    """A TimeoutError of the consumer's own passes as it is."""
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            await answer
    except TimeoutError:
        if limit.expired():
            raise ConsumeTimeoutError(f"took longer than {timeout_s} s") from None
        raise


def _contain(error: BaseException) -> None:
    """Raises ConsumerAbortedError for what must not leave a consumer; a cancellation of the lane itself may."""
    if isinstance(error, (Exception, KeyboardInterrupt)):
        return
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        return
    raise ConsumerAbortedError(f"raised {type(error).__name__}: {error}") from error


async def _finish(answer: Any) -> None:
    await answer


def driver_for(
    consumer: Consumer, clock: Clock, timeout_s: float, blocked_s: float, on_blocked: Callable[[float], None]
) -> Driver:
    if consumer.runs_in == "loop":
        return LoopDriver(clock, timeout_s, blocked_s, on_blocked)
    return ThreadDriver(consumer.name, timeout_s)
