"""The one thread that writes. Everything waiting is committed together; callers resume after the commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from heldard.db.group import Outcome, Unit, commit_group, is_broken
from heldard.errors import StoreError

T = TypeVar("T")

Told = Callable[[Outcome], None]

log: Any = structlog.get_logger("heldard.db")

QUEUE_LIMIT = 4096
"""Units that may wait; one more is refused with StoreError."""

GROUP_LIMIT = 256
"""Units committed together at most, so that one commit stays short."""


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
        check_file: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """check_file: called before each commit; raises when what is written would be lost."""
        self._connect = connect
        self._check_file = check_file
        self._queue_limit = queue_limit
        self._queue: deque[tuple[Unit, Told]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self.figures = WriterFigures()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="heldard-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def submit(self, unit: Callable[[sqlite3.Connection], T], on_commit: Callable[[T], None] | None = None
               ) -> asyncio.Future[T]:  # fmt: skip
        """Queue a unit; the future has its result after the commit.

        `on_commit(result)` runs on the event loop after the commit, in commit order, even when nobody waits for the
        future any more. Raises StoreError when the queue is full or the writer is closed.
        """
        self._check_open()
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

        self._queue_up(unit, told)
        return future

    def submit_and_tell(self, unit: Unit, told: Told) -> None:
        """Queue a unit; `told(outcome)` runs on the event loop when it has ended, in commit order, whatever became of
        whoever asked. Raises as `submit` does, and then `told` is not called."""
        self._check_open()
        self._queue_up(unit, told)

    def _check_open(self) -> None:
        if self._closing or self._thread is None:
            raise StoreError("the store is closing: nothing was written", code="store_closed")
        if len(self._queue) >= self._queue_limit:
            self.figures.refused += 1
            raise StoreError(f"{self._queue_limit} writes are waiting already: retry later", code="writer_full")

    def _queue_up(self, unit: Unit, told: Told) -> None:
        with self._wake:
            self._queue.append((unit, told))
            self._wake.notify()

    async def close(self) -> None:
        """Commit everything that waits, then end the thread. Waits for the commits."""
        if self._thread is None:
            return
        self._closing = True
        with self._wake:
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while group := self._next_group():
            outcomes = self._commit(group)
            self._loop.call_soon_threadsafe(self._resolve, group, outcomes)
        self._disconnect()

    def _commit(self, group: list[tuple[Unit, Told]]) -> list[Outcome]:
        """One group, on a connection that is opened when there is none and dropped when it is broken."""
        try:
            self._check_file()
            self._connection = self._connection or self._connect()
            outcomes = commit_group(self._connection, [unit for unit, _ in group])
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

    def _next_group(self) -> list[tuple[Unit, Told]]:
        """What waits, at least one unit; empty when closing and nothing is left."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
            return [self._queue.popleft() for _ in range(min(len(self._queue), GROUP_LIMIT))]

    def _resolve(self, group: list[tuple[Unit, Told]], outcomes: list[Outcome]) -> None:
        figures = self.figures
        figures.groups += 1
        figures.units += len(group)
        figures.largest_group = max(figures.largest_group, len(group))
        for (_, told), outcome in zip(group, outcomes, strict=True):
            figures.failed += outcome.error is not None
            try:
                told(outcome)
            except Exception:
                log.exception("after_commit_failed")  # one listener's failure must not leave the others waiting
