"""How a consumer's code is called: on the event loop, in a thread of its own, or in a process of its own.

All three take one call after the other to the same end: the effects are filled in, or something was raised and the
lane restores the consumer's state before it tries again. What differs is how much of the daemon a bad consumer reaches.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from heldard.clock import SystemClock
from heldard.fanout.watchdog import LoopInterrupt, Watchdog

T = TypeVar("T")

SLICE_S = 0.01
"""How long calls on the event loop may follow one another before everything else has its turn."""

REAL = SystemClock()
"""Limits are real seconds, also where a test moves time by hand."""


class ConsumeTimeoutError(Exception):
    """A consumer took longer than it may."""


class LoopHeldError(ConsumeTimeoutError):
    """A consumer held the event loop until it was interrupted."""


class ConsumerAbortedError(Exception):
    """A consumer raised what would end more than itself, such as SystemExit or CancelledError; that is its cause."""


class ConsumerRestartedError(Exception):
    """The consumer's process is another one than the caller restored; nothing was called."""


class Driver(Protocol):
    """Calls a consumer's methods wherever it lives."""

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""

    @property
    def life(self) -> int:
        """Rises when all that the consumer had in memory is gone, so that every lane has to restore."""

    @property
    def rss_bytes(self) -> int | None:
        """Memory of the consumer's own process; None where it has none of its own."""

    def check(self) -> None:
        """Raises ValueError when this consumer cannot be driven this way."""

    async def call(self, method: Callable[..., Any], *arguments: Any, life: int | None = None) -> None:
        """Raises what the consumer raises, ConsumeTimeoutError when it takes too long, and ConsumerRestartedError,
        with nothing called, when it is not the consumer of this `life` any more."""

    async def close(self) -> None:
        """Give back what it holds; a call that hangs is not waited for."""


class LoopDriver:
    """On the event loop. The watchdog names a call that does not let go of the loop, and interrupts it at its limit."""

    def __init__(self, name: str, watchdog: Watchdog, timeout_s: float, on_blocked: Callable[[float], None]) -> None:
        self._name = name
        self._watchdog = watchdog
        self._timeout_s = timeout_s
        self._on_blocked = on_blocked
        self._under_way = 0
        self.slice_s = SLICE_S
        self._used_s = 0.0
        self.plain: set[str] = set()
        """Methods that had nothing to await when they were last called."""
        self.life = 0
        self.rss_bytes: int | None = None

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    def check(self) -> None:
        """Any consumer can run here."""

    async def call(self, method: Callable[..., Any], *arguments: Any, life: int | None = None) -> None:
        self._under_way += 1
        try:
            answer = self._call(method, *arguments)
            if inspect.isawaitable(answer):
                self.plain.discard(method.__name__)
                await _in_time(answer, self._timeout_s)
                return
            self.plain.add(method.__name__)
            if self._used_s > self.slice_s:
                self._used_s = 0.0
                await asyncio.sleep(0)  # noqa: TID251 - not waiting, only letting others run
        except BaseException as error:
            _contain(error)
            raise
        finally:
            self._under_way -= 1

    def call_at_once(self, method: Callable[..., Any], *arguments: Any) -> bool:
        """Call a method that had nothing to await the last time; False when it has now, and then what it was to do is
        not done. Raises as `call` does."""
        try:
            answer = self._call(method, *arguments)
        except Exception:
            raise
        except BaseException as error:
            raise ConsumerAbortedError(f"raised {type(error).__name__}: {error}") from error
        if inspect.iscoroutine(answer):
            answer.close()
        if inspect.isawaitable(answer):
            self.plain.discard(method.__name__)
            return False
        return True

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        watchdog = self._watchdog
        began = REAL.monotonic()
        try:
            watchdog.enter(self._name, began)
            try:
                return method(*arguments)
            finally:
                watchdog.leave()
        except LoopInterrupt:
            watchdog.leave()
            took = REAL.monotonic() - began
            raise LoopHeldError(
                f"held the event loop for {took:.2f} s and was interrupted: declare runs_in = 'thread' or 'process'"
            ) from None
        finally:
            took = REAL.monotonic() - began
            self._used_s += took
            if took > watchdog.blocked_s:
                self._on_blocked(took)

    async def close(self) -> None:
        """Nothing to give back."""


class ThreadDriver:
    """In one thread of its own, one call at a time. A call that hangs keeps its thread; the next gets a new one."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._worker: _Worker | None = None
        self._turn = asyncio.Lock()
        self._under_way = 0
        self.life = 0
        self.rss_bytes: int | None = None

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    def check(self) -> None:
        """Any consumer can run here."""

    async def call(self, method: Callable[..., Any], *arguments: Any, life: int | None = None) -> None:
        self._under_way += 1
        try:
            async with self._turn:
                await self._call(method, *arguments)
        except BaseException as error:
            _contain(error)
            raise
        finally:
            self._under_way -= 1

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> None:
        def run() -> None:
            answer = method(*arguments)
            if inspect.isawaitable(answer):
                asyncio.run(_finish(answer))

        worker = self._worker = self._worker or _Worker(f"consumer-{self._name}")
        try:
            await _in_time(asyncio.wrap_future(worker.submit(run)), self._timeout_s)
        except (ConsumeTimeoutError, asyncio.CancelledError):
            worker.end()
            self._worker = None
            raise

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.end()


class _Worker:
    """A thread that does not keep the program from ending, whatever hangs in it."""

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Callable[[], None], Future[None]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._work.put((work, future))
        return future

    def end(self) -> None:
        """Stop after what it is at."""
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - whoever waits for the call hears of it
                future.set_exception(_carried(error))
            else:
                future.set_result(None)


def _carried(error: BaseException) -> BaseException:
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    aborted = ConsumerAbortedError(f"raised {type(error).__name__}: {error}")
    aborted.__cause__ = error
    return aborted


async def contained(answer: Awaitable[T], timeout_s: float) -> T:
    """What a plugin's code answers. Raises what it raises, ConsumeTimeoutError when it takes too long and
    ConsumerAbortedError for what would end more than itself."""
    try:
        return await _in_time(answer, timeout_s)
    except BaseException as error:
        _contain(error)
        raise


async def _in_time(answer: Awaitable[T], timeout_s: float) -> T:
    """A TimeoutError of the consumer's own passes as it is."""
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await answer
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
