"""The one thread that writes. Everything waiting is committed together; callers resume after the commit."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import structlog

from heldard.db.group import Outcome, Unit, commit_group, is_broken
from heldard.errors import StoreError

T = TypeVar("T")

Told = Callable[[Outcome], None]
_Waiting = tuple[Unit, Told, int]
"""A unit, who is told how it ended, and its size in bytes."""

log: Any = structlog.get_logger("heldard.db")

QUEUE_LIMIT = 4096
"""Units that may wait; one more is refused with StoreError."""

QUEUE_BYTES = 256 * 1024 * 1024
"""What the units that wait may hold in memory, as far as who submits them says; one more is refused likewise."""

GROUP_LIMIT = 256
"""Units committed together at most, so that one commit stays short."""

RIDE_S = 0.05
"""How long a unit that nobody waits for looks for a commit to ride in, before it gets one of its own."""


@dataclass(slots=True)
class WriterFigures:
    """What the writer did since it was opened. Only ever rises, except `waiting`."""

    groups: int = 0
    units: int = 0
    failed: int = 0
    refused: int = 0
    largest_group: int = 0


class Writer:
    """Owns the writing connection. `start` and `close` are called once each, `submit` from the event loop only."""

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], queue_limit: int = QUEUE_LIMIT,
        check_file: Callable[[], None] = lambda: None, queue_bytes: int = QUEUE_BYTES,
    ) -> None:  # fmt: skip
        """check_file: called before each commit; raises when what is written would be lost."""
        self._connect = connect
        self._check_file = check_file
        self._queue_limit = queue_limit
        self._queue_bytes = queue_bytes
        self._queue: deque[_Waiting] = deque()
        self._riders: list[_Waiting] = []
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._asleep = False
        self._closing = False
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self.figures = WriterFigures()
        self.waiting_bytes = 0
        """What the units that are not committed yet hold."""

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="heldard-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def submit(self, unit: Callable[[sqlite3.Connection], T], on_commit: Callable[[T], None] | None = None,
               *, hurry: bool = True) -> asyncio.Future[T]:  # fmt: skip
        """Queue a unit; the future has its result after the commit.

        `on_commit(result)` runs on the event loop after the commit, in commit order, even when nobody waits for the
        future any more. Without `hurry` it rides in the commit of the next unit, should one come within RIDE_S.
        Raises StoreError when the queue is full or the writer is closed.
        """
        self._check_open(0)
        future: asyncio.Future[T] = self._loop.create_future()

        def told(outcome: Outcome) -> None:
            if outcome.error is not None:
                if not future.cancelled():
                    future.set_exception(outcome.error)
                return
            try:
                if on_commit is not None:
                    on_commit(outcome.value)
            finally:
                if not future.cancelled():
                    future.set_result(outcome.value)

        waiting = (unit, told, 0)
        if hurry:
            self._queue_up(waiting)
        else:
            self._riders.append(waiting)
            self._loop.call_later(RIDE_S, self._let_ride)
        return future

    def submit_and_tell(self, unit: Unit, told: Told, size: int = 0) -> None:
        """Queue a unit; `told(outcome)` runs on the event loop when it has ended, in commit order, whatever became of
        whoever asked. size: what it holds in memory, in bytes, roughly. Raises as `submit` does, and then `told` is not
        called."""
        self._check_open(size)
        self._queue_up((unit, told, size))

    def _check_open(self, size: int) -> None:
        if self._closing or self._thread is None:
            raise StoreError("the store is closing: nothing was written", code="store_closed")
        if len(self._queue) >= self._queue_limit:
            self._refuse(f"{self._queue_limit} writes")
        if self.waiting_bytes and self.waiting_bytes + size > self._queue_bytes:
            self._refuse(f"writes of {self.waiting_bytes / 2**20:.1f} MiB")

    def _refuse(self, what: str) -> NoReturn:
        self.figures.refused += 1
        raise StoreError(f"{what} are waiting already: retry later", code="writer_full")

    def _queue_up(self, waiting: _Waiting) -> None:
        self.waiting_bytes += waiting[2]
        self._queue.append(waiting)
        self._let_ride()
        self._rouse()

    def _let_ride(self) -> None:
        """Units that were in no hurry go with what waits now."""
        if self._riders:
            self._queue.extend(self._riders)
            self._riders.clear()
            self._rouse()

    def _rouse(self) -> None:
        """The thread looks at the queue once more after it has said that it sleeps, so no call for it is missed."""
        if self._asleep:
            self._asleep = False
            self._wake.put(None)

    async def close(self) -> None:
        """Commit everything that waits, then end the thread. Waits for the commits."""
        if self._thread is None:
            return
        self._let_ride()
        self._closing = True
        self._wake.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while group := self._next_group():
            outcomes = self._commit(group)
            self._loop.call_soon_threadsafe(self._resolve, group, outcomes)
        self._disconnect()

    def _commit(self, group: list[_Waiting]) -> list[Outcome]:
        """One group, on a connection that is opened when there is none and dropped when it is broken."""
        try:
            self._check_file()
            self._connection = self._connection or self._connect()
            outcomes = commit_group(self._connection, [unit for unit, _, _ in group])
        except StoreError as error:
            return [Outcome(error=error)] * len(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            failure = StoreError(f"the database cannot be opened or used ({error}): nothing was written")
            failure.__cause__ = error
            self._disconnect()
            return [Outcome(error=failure)] * len(group)
        if any(outcome.error is not None and is_broken(outcome.error) for outcome in outcomes):
            self._disconnect()
        return outcomes

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _next_group(self) -> list[_Waiting]:
        """What waits, at least one unit; empty when closing and nothing is left."""
        while not self._queue and not self._closing:
            self._asleep = True
            if not self._queue and not self._closing:
                self._wake.get()
            self._asleep = False
        return [self._queue.popleft() for _ in range(min(len(self._queue), GROUP_LIMIT))]

    def _resolve(self, group: list[_Waiting], outcomes: list[Outcome]) -> None:
        figures = self.figures
        figures.groups += 1
        figures.units += len(group)
        figures.largest_group = max(figures.largest_group, len(group))
        for (_, told, size), outcome in zip(group, outcomes, strict=True):
            self.waiting_bytes -= size
            figures.failed += outcome.error is not None
            try:
                told(outcome)
            except Exception:
                log.exception("after_commit_failed")  # one listener's failure must not leave the others waiting
