"""When a daemon in this event loop has come to rest: what is left waits for time, or for somebody outside."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from aiohttp import web

from heldard import keys
from heldard.errors import StoreError

SETTLE_LIMIT_S = 30.0
"""Real seconds that background work may take to come to rest."""

_QUIET_ROUNDS = 2
_TURNS = 10


class CountingPool(ThreadPoolExecutor):
    """The loop's pool for blocking work, which knows whether any is under way."""

    under_way = 0

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.under_way += 1
        future = super().submit(work, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, _future: Future[Any]) -> None:
        self.under_way -= 1


async def settle(app: web.Application, pool: CountingPool, is_dead: Callable[[], bool] = lambda: False) -> None:
    """Return when everything that can happen now has happened. AssertionError when that takes too long.

    pool: the loop's default executor. is_dead: whether a test ended the writer, after which nothing is waited for.
    """
    try:
        async with asyncio.timeout(SETTLE_LIMIT_S):
            quiet = 0
            while quiet < _QUIET_ROUNDS:
                quiet = quiet + 1 if await _round(app, pool, is_dead) else 0
    except TimeoutError:
        raise AssertionError(f"the kernel did not come to rest within {SETTLE_LIMIT_S} s") from None


async def _round(app: web.Application, pool: CountingPool, is_dead: Callable[[], bool]) -> bool:
    """Wait for what is under way; whether there was nothing."""
    db, fanout = app[keys.DB], app[keys.FANOUT]
    units = db.writer.figures.units
    for _ in range(_TURNS):
        await asyncio.sleep(0)  # noqa: TID251 - the virtual clock stands still here
    if pool.under_way or not db.readers.idle or any(member.driver.busy for member in fanout.members()):
        await asyncio.sleep(0.0005)  # noqa: TID251 - other threads need real time
        return False
    if is_dead():
        return True
    try:
        await db.write(_nothing)
    except StoreError:
        if not is_dead():  # it died of a write that was queued before this one
            raise
        return True
    return db.writer.figures.units == units + 1


def _nothing(connection: sqlite3.Connection) -> None:
    """A unit of work that only waits for its turn."""
